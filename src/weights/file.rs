//! An opened weight file of any format: what arrays it has, where they lie, and reading them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use serde::Deserialize;
use zip::ZipArchive;

use super::{Weights, binding, pytorch, safetensors};
use crate::Error;
use crate::tensor::{Shape, Tensor};

/// An opened weight file whose lists of arrays have been checked; arrays are read one by one as they are asked for,
/// so a file costs no memory beyond what the model needs of it.
///
/// What it may be: safetensors, an index of safetensors files in the same folder, or a checkpoint as PyTorch's
/// `torch.save` writes them (zip files, and the format before version 1.6).
pub struct WeightFile {
    path: PathBuf,
    sources: Vec<Source>,
    arrays: BTreeMap<String, Entry>,
}

/// A file that arrays lie in.
pub(super) enum Source {
    /// Arrays lie at fixed places.
    Plain(PathBuf, File),
    /// Each storage is an entry of an archive.
    Zip(PathBuf, ZipArchive<BufReader<File>>),
}

/// A strided array in a source.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Entry {
    /// Which of the sources.
    pub source: usize,
    /// The entry of an archive; 0 in a plain file.
    pub place: usize,
    /// The first element, in bytes from the start of the place.
    pub start: u64,
    pub element: Element,
    pub shape: Shape,
    /// In elements.
    pub strides: Vec<usize>,
}

/// The type of an array's elements, little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Element {
    F32,
    F16,
    BF16,
    F64,
    /// None of the floating-point types, of that many bytes each.
    Other {
        name: &'static str,
        bytes: usize,
    },
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Element::F16 | Element::BF16 => 2,
            Element::F32 => 4,
            Element::F64 => 8,
            Element::Other { bytes, .. } => bytes,
        }
    }

    fn decoder(self) -> Result<fn(&[u8]) -> f32, String> {
        Ok(match self {
            Element::F32 => |raw| f32::from_le_bytes(fixed(raw)),
            Element::F64 => |raw| f64::from_le_bytes(fixed(raw)) as f32,
            Element::F16 => |raw| f16::from_le_bytes(fixed(raw)).to_f32(),
            Element::BF16 => |raw| bf16::from_le_bytes(fixed(raw)).to_f32(),
            Element::Other { name, .. } => {
                return Err(format!("is of type {name}; F32, F16, BF16 and F64 are read"));
            }
        })
    }
}

fn fixed<const N: usize>(raw: &[u8]) -> [u8; N] {
    raw.try_into().expect("chunks of the element's size")
}

impl Entry {
    /// How many elements of the place the array reaches over, from its first to its last; `None` where that exceeds
    /// `usize`.
    pub fn span(&self) -> Option<usize> {
        if self.shape.dims().contains(&0) {
            return Some(0);
        }
        let steps = self.shape.dims().iter().zip(&self.strides);
        steps
            .map(|(dim, stride)| (dim - 1).checked_mul(*stride))
            .try_fold(1usize, |sum, step| sum.checked_add(step?))
    }

    fn is_row_major(&self) -> bool {
        let natural = self.shape.strides();
        let dims = self.shape.dims().iter();
        dims.zip(&self.strides).zip(natural).all(|((&dim, &stride), natural)| dim <= 1 || stride == natural)
    }
}

impl WeightFile {
    /// Reads the list of arrays.
    ///
    /// # Errors
    /// Where the file cannot be read, is of none of the formats, is damaged, or declares other bytes than it has.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            return WeightFile::open_index(path);
        }
        let is_elsewhere = std::fs::metadata(path).is_ok_and(|data| !data.is_file() && !data.is_dir());
        if is_elsewhere {
            // A pipe would be waited for.
            return Err(Error::file(
                path,
                "arrays are read from their places, so weights must be in a regular file",
            ));
        }
        let mut file = crate::io::open(path)?;
        let mut start = [0; 4];
        let begins = match file.read_exact(&mut start) {
            Ok(()) => start,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => [0; 4],
            Err(error) => return Err(Error::read(path)(error)),
        };
        file.rewind().map_err(Error::read(path))?;
        let (source, arrays) = match begins {
            [b'P', b'K', 3, 4] => pytorch::open_zip(path, file)?,
            // A pickle that begins with a long number.
            [0x80, 1..=5, 0x8a, 10] => pytorch::open_legacy(path, file)?,
            _ => {
                let arrays = safetensors::arrays(path, &mut file)?;
                (Source::Plain(path.to_owned(), file), arrays)
            }
        };
        Ok(WeightFile { path: path.to_owned(), sources: vec![source], arrays })
    }

    /// Opens the files that an index names.
    fn open_index(path: &Path) -> Result<Self, Error> {
        let mut whole = WeightFile { path: path.to_owned(), sources: Vec::new(), arrays: BTreeMap::new() };
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut opened: BTreeMap<&str, (usize, BTreeMap<String, Entry>)> = BTreeMap::new();
        let index = read_index(path)?;
        for (key, name) in &index {
            if !opened.contains_key(name.as_str()) {
                let shard = WeightFile::open(folder.join(name))?;
                opened.insert(name, (whole.sources.len(), shard.arrays));
                whole.sources.extend(shard.sources);
            }
            let (source, arrays) = &opened[name.as_str()];
            let Some(entry) = arrays.get(key) else {
                return Err(Error::file(
                    path,
                    format!("'{key}' should be in '{name}', which has no such array"),
                ));
            };
            let source = source + entry.source;
            whole.arrays.insert(key.clone(), Entry { source, ..entry.clone() });
        }
        Ok(whole)
    }

    /// The key and shape of each array, in the order of keys.
    pub fn arrays(&self) -> impl Iterator<Item = (&str, &Shape)> {
        self.arrays.iter().map(|(key, entry)| (key.as_str(), &entry.shape))
    }

    /// Reads every floating-point array; keys of the same array share it.
    ///
    /// # Errors
    /// As [`WeightFile::read`], or where arrays overlap so much that they take many times the file's size.
    pub fn read_all(&mut self) -> Result<Weights, Error> {
        let is_wanted = |(key, entry): &(&String, &Entry)| {
            !matches!(entry.element, Element::Other { .. }) && !binding::is_bookkeeping(key)
        };
        let wanted = self.arrays.iter().filter(is_wanted).map(|(key, entry)| (key.clone(), entry.clone()));
        let wanted: Vec<(String, Entry)> = wanted.collect();
        let mut lengths = 0;
        for source in &self.sources {
            let (Source::Plain(path, _) | Source::Zip(path, _)) = source;
            lengths += std::fs::metadata(path).map_err(Error::read(path))?.len();
        }
        let allowed = MOST_OVERLAP.saturating_mul(lengths).max(HARMLESS);
        let mut weights = Weights::default();
        let mut read: HashMap<Entry, Arc<Tensor>> = HashMap::new();
        let mut bytes = 0u64;
        for (key, entry) in wanted {
            if let Some(shared) = read.get(&entry) {
                weights.insert(key, Arc::clone(shared));
                continue;
            }
            let value = Arc::new(self.read(&key)?);
            bytes += 4 * value.data().len() as u64;
            if bytes > allowed {
                return Err(Error::file(
                    &self.path,
                    "its arrays overlap: they take many times the file's size",
                ));
            }
            read.insert(entry, Arc::clone(&value));
            weights.insert(key, value);
        }
        Ok(weights)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shape of an array, if there is one of that key.
    pub fn shape(&self, key: &str) -> Option<&Shape> {
        self.arrays.get(key).map(|entry| &entry.shape)
    }

    /// Whether [`WeightFile::read_part`] can read parts of an array: it lies in a file as it is, not compressed.
    pub fn has_parts(&self, key: &str) -> bool {
        self.arrays.get(key).is_some_and(|entry| {
            matches!(self.sources[entry.source], Source::Plain(..)) && entry.is_row_major()
        })
    }

    /// Reads some elements, in row-major order, of an array that [has parts](WeightFile::has_parts) as `f32`.
    ///
    /// # Errors
    /// As [`WeightFile::read`], or where the array has not these elements.
    pub fn read_part(&mut self, key: &str, elements: Range<usize>) -> Result<Vec<f32>, Error> {
        if !self.has_parts(key) {
            return Err(self.problem(key, "cannot be read in parts"));
        }
        let first = elements.start;
        let values = self.read_span(key, Some(elements))?;
        self.check_finite(key, first, &values)?;
        Ok(values)
    }

    /// Reads one array as `f32`.
    ///
    /// # Errors
    /// Where there is no such array, it is not of a floating-point type, its elements overlap, reading fails, or a
    /// value is not finite.
    pub fn read(&mut self, key: &str) -> Result<Tensor, Error> {
        let values = self.read_span(key, None)?;
        let entry = &self.arrays[key];
        let array = if entry.is_row_major() {
            Tensor::new(entry.shape.clone(), values)
        } else {
            let at = |index: &[usize]| -> usize {
                index.iter().zip(&entry.strides).map(|(index, stride)| index * stride).sum()
            };
            Tensor::from_fn(entry.shape.clone(), |index| values[at(index)])
        };
        self.check_finite(key, 0, array.data())?;
        Ok(array)
    }

    /// Checks some elements of an array, from one on.
    fn check_finite(&self, key: &str, first: usize, values: &[f32]) -> Result<(), Error> {
        let Some((at, value)) = first_not_finite(values) else { return Ok(()) };
        let at = first + at;
        Err(self.problem(key, &format!("holds {value} at element {at}, which is not a finite f32")))
    }

    fn problem(&self, key: &str, problem: &str) -> Error {
        Error::file(&self.path, format!("array '{key}' {problem}"))
    }

    /// Reads the elements that an array reaches over, or some of them.
    fn read_span(&mut self, key: &str, part: Option<Range<usize>>) -> Result<Vec<f32>, Error> {
        let problem = |problem: &str| self.problem(key, problem);
        let entry = self.arrays.get(key).ok_or_else(|| problem("is not in the file"))?;
        let decode = entry.element.decoder().map_err(|error| problem(&error))?;
        let span = entry.span().ok_or_else(|| problem("is larger than memory"))?;
        if entry.shape.checked_elements().is_none_or(|elements| elements > span) {
            return Err(problem("has more elements than it stores: it repeats them"));
        }
        let size = entry.element.bytes();
        let Range { start: first, end } = part.unwrap_or(0..span);
        if first > end || end > span {
            return Err(problem(&format!("has no elements {first} to {end}")));
        }
        let count = end - first;
        let start = entry.start + (first * size) as u64;
        match &mut self.sources[entry.source] {
            Source::Plain(path, file) => {
                let read = file.seek(SeekFrom::Start(start)).and_then(|_| match entry.element {
                    Element::F32 => floats(file, count),
                    _ => values(file, count, size, decode),
                });
                read.map_err(Error::read(path))
            }
            Source::Zip(path, archive) => {
                let damaged = |error: &dyn std::fmt::Display| {
                    Error::file(path, format!("array '{key}' cannot be read: {error}"))
                };
                let mut file = archive.by_index(entry.place).map_err(|error| damaged(&error))?;
                let read = io::copy(&mut (&mut file).take(start), &mut io::sink())
                    .and_then(|_| values(&mut file, count, size, decode))
                    // To the end, where the archive's checksum is compared.
                    .and_then(|values| io::copy(&mut file, &mut io::sink()).map(|_| values));
                read.map_err(|error| damaged(&error))
            }
        }
    }
}

/// The first value that is no number or infinite, and where it is.
fn first_not_finite(values: &[f32]) -> Option<(usize, f32)> {
    // Whole runs are looked at without a branch for each value.
    const RUN: usize = 1024;
    let is_sound = |run: &&[f32]| !run.iter().fold(false, |found, value| found | !value.is_finite());
    let sound = values.chunks(RUN).take_while(is_sound).count() * RUN;
    let rest = values.get(sound..)?.iter().enumerate();
    rest.map(|(at, &value)| (sound + at, value)).find(|(_, value)| !value.is_finite())
}

/// All arrays together may take that many times the file's size: half precision and compression grow.
const MOST_OVERLAP: u64 = 16;
/// Arrays of up to this many bytes may overlap as they like.
const HARMLESS: u64 = 64 << 20;

/// The file of each array, from an index `{"weight_map": {"key": "file", …}}`.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = crate::io::read_text(path)?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|error| Error::file(path, format!("not an index of weight files: {error}")))?;
    for name in index.weight_map.values() {
        let mut components = Path::new(name).components();
        let is_beside = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
        if !is_beside || name.ends_with(".json") {
            return Err(Error::file(path, format!("'{name}' is no weight file of the index's own folder")));
        }
    }
    Ok(index.weight_map)
}

/// The files that an index names, each once.
pub(super) fn shards(path: &Path) -> Result<BTreeSet<String>, Error> {
    Ok(read_index(path)?.into_values().collect())
}

/// The next `count` elements of a file that has that many, read to where they stay.
fn floats(file: &mut File, count: usize) -> io::Result<Vec<f32>> {
    let left = file.metadata()?.len().saturating_sub(file.stream_position()?);
    if (count as u64).checked_mul(4).is_none_or(|bytes| bytes > left) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut values = vec![0.0f32; count];
    file.read_exact(bytemuck::cast_slice_mut(&mut values))?;
    for value in &mut values {
        *value = f32::from_bits(u32::from_le(value.to_bits()));
    }
    Ok(values)
}

/// The next `count` elements; memory is taken only as they arrive.
fn values(data: &mut impl Read, count: usize, size: usize, decode: fn(&[u8]) -> f32) -> io::Result<Vec<f32>> {
    const CHUNK: usize = 1 << 18;
    let mut values = Vec::with_capacity(count.min(CHUNK));
    let mut chunk = vec![0; size * count.min(CHUNK)];
    while values.len() < count {
        let bytes = &mut chunk[..size * (count - values.len()).min(CHUNK)];
        data.read_exact(bytes)?;
        values.extend(bytes.chunks_exact(size).map(decode));
    }
    Ok(values)
}
