//! NumPy's `.npy` arrays (format versions 1 to 3), read as `f32` and written as `<f4`.
//!
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use half::f16;

use crate::Error;
use crate::tensor::{Shape, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header that is read, as in NumPy itself.
const MAX_HEADER: usize = 10_000;
/// The largest array that is read, in elements: 1 GiB as `f32`.
const MAX_ELEMENTS: usize = 1 << 28;

/// An opened array whose header has been read and checked against the length of the file.
pub struct NpyFile<'a> {
    path: PathBuf,
    data: Box<dyn Read + 'a>,
    header: Header,
}

#[derive(PartialEq, Debug)]
struct Header {
    shape: Shape,
    fortran_order: bool,
    element: Element,
    big_endian: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Element {
    Bool,
    Signed(usize),
    Unsigned(usize),
    Float(usize),
}

impl<'a> NpyFile<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// Where the file is no `.npy` array of numbers, or its length is not what the header declares.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = super::open(path)?;
        let length = file.metadata().map_err(Error::read(path))?.len();
        NpyFile::new(path, BufReader::new(file), length)
    }

    /// [`NpyFile::open`] for the `length` bytes that `data` yields; messages name `path`.
    ///
    /// # Errors
    /// As [`NpyFile::open`].
    pub fn new(path: &Path, mut data: impl Read + 'a, length: u64) -> Result<Self, Error> {
        let (text, start) = read_header(&mut data).map_err(|problem| Error::file(path, problem))?;
        let header = parse_header(&text)
            .map_err(|problem| Error::file(path, format!("a damaged .npy header: {problem}")))?;
        let held = length.saturating_sub(start as u64);
        let elements = header.shape.checked_elements();
        let declared = elements.and_then(|elements| (elements as u64).checked_mul(header.element.size()));
        if declared != Some(held) {
            let declared = declared.map_or("more than 2^64".to_owned(), |bytes| bytes.to_string());
            return Err(Error::file(
                path,
                format!("shape {} takes {declared} bytes, but the file holds {held}", header.shape),
            ));
        }
        if elements.is_none_or(|elements| elements > MAX_ELEMENTS) {
            return Err(Error::file(
                path,
                format!(
                    "an array of shape {} is larger than the {MAX_ELEMENTS} elements kiln reads",
                    header.shape
                ),
            ));
        }
        Ok(NpyFile { path: path.to_owned(), data: Box::new(data), header })
    }

    pub fn shape(&self) -> &Shape {
        &self.header.shape
    }

    /// Reads the array, in row-major order whatever the file's order is.
    ///
    /// # Errors
    /// Where reading fails or an element is not finite as an `f32`.
    pub fn read(mut self) -> Result<Tensor, Error> {
        let Header { shape, fortran_order, element, big_endian } = self.header;
        let count = shape.elements();
        let mut values = Vec::with_capacity(count);
        let size = element.size() as usize;
        let mut chunk = vec![0; size * count.min(1 << 16)];
        while values.len() < count {
            let bytes = &mut chunk[..size * (count - values.len()).min(1 << 16)];
            self.data.read_exact(bytes).map_err(Error::read(&self.path))?;
            for raw in bytes.chunks_exact_mut(size) {
                if big_endian {
                    raw.reverse();
                }
                values.push(element.decode(raw));
            }
        }
        // An archive's entry is checked as a whole at its end.
        if self.data.read(&mut [0]).map_err(Error::read(&self.path))? != 0 {
            return Err(Error::file(&self.path, "goes on after its last element"));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let problem = format!("element {at} in file order is {}, not a finite f32", values[at]);
            return Err(Error::file(&self.path, problem));
        }
        Ok(if fortran_order { from_fortran(shape, &values) } else { Tensor::new(shape, values) })
    }
}

/// The array in row-major order of one in column-major order.
fn from_fortran(shape: Shape, values: &[f32]) -> Tensor {
    let dims = shape.dims().to_vec();
    Tensor::from_fn(shape, |index| {
        values[index.iter().zip(&dims).rev().fold(0, |at, (index, dim)| at * dim + index)]
    })
}

impl Element {
    fn size(self) -> u64 {
        match self {
            Element::Bool => 1,
            Element::Signed(size) | Element::Unsigned(size) | Element::Float(size) => size as u64,
        }
    }

    /// The value of [`Element::size`] little-endian bytes.
    fn decode(self, raw: &[u8]) -> f32 {
        let mut wide = [0; 8];
        wide[..raw.len()].copy_from_slice(raw);
        let bits = u64::from_le_bytes(wide);
        match self {
            Element::Bool => f32::from(bits != 0),
            Element::Unsigned(_) => bits as f32,
            Element::Signed(size) => {
                let unused = 64 - 8 * size as u32;
                ((bits << unused) as i64 >> unused) as f32
            }
            Element::Float(2) => f16::from_bits(bits as u16).to_f32(),
            Element::Float(4) => f32::from_bits(bits as u32),
            Element::Float(_) => f64::from_bits(bits) as f32,
        }
    }
}

/// The header's text, and the position of the data behind it.
fn read_header(data: &mut impl Read) -> Result<(Vec<u8>, usize), String> {
    let truncated = |_: io::Error| "ends before its .npy header does".to_owned();
    let mut start = [0; 8];
    data.read_exact(&mut start).map_err(|_| "not a .npy file (too short)".to_owned())?;
    if !start.starts_with(MAGIC) {
        return Err("not a .npy file (it does not start with \\x93NUMPY)".to_owned());
    }
    let field = match start[6] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(format!("has the .npy format version {other}, which is not known")),
    };
    let mut length = [0; 4];
    data.read_exact(&mut length[..field]).map_err(truncated)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER {
        return Err(format!("a .npy header of {length} bytes is longer than the {MAX_HEADER} allowed"));
    }
    let mut header = vec![0; length];
    data.read_exact(&mut header).map_err(truncated)?;
    Ok((header, start.len() + field + length))
}

/// Parses the Python dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
fn parse_header(header: &[u8]) -> Result<Header, String> {
    let text = std::str::from_utf8(header).map_err(|_| "not text".to_owned())?;
    let mut rest = Cursor(text);
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    rest.expect('{')?;
    while !rest.take('}') {
        let key = rest.string()?;
        rest.expect(':')?;
        match key {
            "descr" => descr = Some(rest.string().map_err(|_| "records are not supported".to_owned())?),
            "fortran_order" => fortran_order = Some(rest.boolean()?),
            "shape" => shape = Some(rest.tuple()?),
            other => return Err(format!("unknown key '{other}'")),
        }
        if !rest.take(',') {
            rest.expect('}')?;
            break;
        }
    }
    let descr = descr.ok_or("no 'descr'")?;
    let (element, big_endian) = parse_descr(descr)
        .ok_or_else(|| format!("elements of type '{descr}' are not supported (use float32)"))?;
    Ok(Header {
        shape: Shape::new(shape.ok_or("no 'shape'")?),
        fortran_order: fortran_order.ok_or("no 'fortran_order'")?,
        element,
        big_endian,
    })
}

/// An array-interface type string such as `<f4`: byte order, kind, bytes.
fn parse_descr(descr: &str) -> Option<(Element, bool)> {
    let order = descr.chars().next()?;
    let kind = descr.get(1..)?;
    let element = match kind {
        "b1" => Element::Bool,
        "i1" | "i2" | "i4" | "i8" => Element::Signed(kind[1..].parse().ok()?),
        "u1" | "u2" | "u4" | "u8" => Element::Unsigned(kind[1..].parse().ok()?),
        "f2" | "f4" | "f8" => Element::Float(kind[1..].parse().ok()?),
        _ => return None,
    };
    match order {
        '<' | '|' => Some((element, false)),
        '>' => Some((element, true)),
        '=' => Some((element, cfg!(target_endian = "big"))),
        _ => None,
    }
}

/// What is left of the header's text.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn take(&mut self, token: char) -> bool {
        self.0 = self.0.trim_start();
        self.0.strip_prefix(token).map(|rest| self.0 = rest).is_some()
    }

    fn expect(&mut self, token: char) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(format!("expected '{token}' at '{}'", self.near())) }
    }

    fn near(&self) -> String {
        self.0.chars().take(20).collect()
    }

    /// The longest start whose characters are all `wanted`.
    fn run(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        self.0 = self.0.trim_start();
        let end = self.0.find(|c| !wanted(c)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at(end);
        self.0 = rest;
        run
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.take('\'') { '\'' } else { '"' };
        if quote == '"' {
            self.expect('"')?;
        }
        let (string, rest) =
            self.0.split_once(quote).ok_or_else(|| format!("no end of the string at '{}'", self.near()))?;
        self.0 = rest;
        Ok(string)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        match self.run(char::is_alphabetic) {
            "True" => Ok(true),
            "False" => Ok(false),
            other => Err(format!("'{other}' is neither True nor False")),
        }
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        let mut items = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            let digits = self.run(|c| c.is_ascii_digit());
            items.push(digits.parse().map_err(|_| format!("no extent at '{digits}{}'", self.near()))?);
            self.take('L'); // Python 2 wrote long integers so.
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(items)
    }
}

/// Writes `tensor` as a version-1 array of `<f4`.
pub fn write(out: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    let dims: Vec<String> = tensor.shape().dims().iter().map(usize::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{comma}), }}", dims.join(", "));
    // The data starts at a multiple of 64 bytes, after a line break.
    let start = MAGIC.len() + 4;
    let padded = (start + header.len() + 1).next_multiple_of(64) - start;
    header.push_str(&" ".repeat(padded - header.len() - 1));
    header.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for value in tensor.data() {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Tensor, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        std::fs::write(&path, bytes).unwrap();
        NpyFile::open(&path).and_then(NpyFile::read).map_err(|error| error.to_string())
    }

    fn check(descr: &str, data: &[u8], expected: &[f32]) {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({},), }}\n", expected.len());
        assert_eq!(read(&file(&header, data)).unwrap().data(), expected, "{descr}");
    }

    #[test]
    fn every_number_type_becomes_f32() {
        check("|b1", &[0, 1, 1], &[0.0, 1.0, 1.0]);
        check("|u1", &[0, 255], &[0.0, 255.0]);
        check("|i1", &[1, 255], &[1.0, -1.0]);
        check("<i4", &(-7i32).to_le_bytes(), &[-7.0]);
        check(">i2", &(-300i16).to_be_bytes(), &[-300.0]);
        check("<u8", &(1u64 << 40).to_le_bytes(), &[(1u64 << 40) as f32]);
        check("<f2", &f16::from_f32(0.5).to_le_bytes(), &[0.5]);
        check("<f4", &1.25f32.to_le_bytes(), &[1.25]);
        check(">f8", &(-2.5f64).to_be_bytes(), &[-2.5]);
    }

    #[test]
    fn fortran_order_is_transposed() {
        let data: Vec<u8> = [1f32, 4., 2., 5., 3., 6.].iter().flat_map(|v| v.to_le_bytes()).collect();
        let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}";
        let tensor = read(&file(header, &data)).unwrap();
        assert_eq!(tensor, Tensor::new([2, 3], vec![1., 2., 3., 4., 5., 6.]));
    }

    #[test]
    fn what_is_written_reads_back() {
        for shape in [Shape::default(), Shape::from([3]), Shape::from([2, 3, 4]), Shape::from([0, 5])] {
            let tensor = Tensor::from_fn(shape, |index| index.iter().sum::<usize>() as f32 - 0.5);
            let mut bytes = Vec::new();
            write(&mut bytes, &tensor).unwrap();
            assert_eq!((bytes.len() - 4 * tensor.data().len()) % 64, 0);
            assert_eq!(read(&bytes).unwrap(), tensor);
        }
    }

    #[test]
    fn damaged_files_are_refused_with_the_reason() {
        let ok = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let cases: [(&[u8], &str); 12] = [
            (b"", "too short"),
            (b"\x93NUMPY\x01\x00", "ends before its .npy header"),
            (b"PK\x03\x04........", "does not start with"),
            (b"\x93NUMPY\x09\x00aaaa", "version 9"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "longer than the 10000 allowed"),
            (&file(ok, &[0; 7]), "takes 8 bytes, but the file holds 7"),
            (&file(ok, &[0; 9]), "takes 8 bytes, but the file holds 9"),
            (&file(&ok.replace("2,", "1000000000000,"), &[0; 8]), "takes 4000000000000 bytes"),
            (&file(&ok.replace("2,", "4294967296,4294967296,4294967296"), &[]), "more than 2^64"),
            (&file(&ok.replace("<f4", "<c8"), &[0; 16]), "'<c8' are not supported"),
            (&file(&"(".repeat(9000), &[]), "damaged .npy header"),
            (&file(ok, &[0, 0, 0xc0, 0x7f, 0, 0, 0, 0]), "element 0 in file order is NaN"),
        ];
        for (bytes, expected) in cases {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
