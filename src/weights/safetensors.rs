//! Weight files in the safetensors format.
//!
//! Source: <https://huggingface.co/docs/safetensors/index>: the length of a JSON header (u64, little-endian),
//! the header, the arrays back to back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::Weights;
use super::file::{Element, Entry};
use crate::Error;
use crate::io::AtomicFile;
use crate::tensor::Shape;

/// The longest header that is read, in bytes; a network of a thousand arrays has one of 100 KB.
const MAX_HEADER: u64 = 16 << 20;

/// Reads the header: every array by its key.
///
/// # Errors
/// Where the file cannot be read, or its header is damaged or declares other bytes than the file has.
pub(super) fn arrays(path: &Path, file: &mut File) -> Result<BTreeMap<String, Entry>, Error> {
    let length = file.metadata().map_err(Error::read(path))?.len();
    let damaged = |problem: String| {
        Error::file(path, format!("not a safetensors file, nor a checkpoint of PyTorch: {problem}"))
    };
    let mut field = [0; 8];
    if length < 8 {
        return Err(damaged(format!("only {length} bytes long")));
    }
    file.read_exact(&mut field).map_err(Error::read(path))?;
    let header_length = u64::from_le_bytes(field);
    if header_length > MAX_HEADER || header_length > length - 8 {
        return Err(damaged(format!("declares a header of {header_length} bytes in a file of {length}")));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header).map_err(Error::read(path))?;
    // Checks too that the arrays lie back to back and that each is as long as its shape and type say.
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(error.to_string()))?;
    let data = 8 + header_length;
    let held = length - data;
    if metadata.data_len() as u64 != held {
        return Err(damaged(format!(
            "declares {} bytes of arrays, but {held} follow the header",
            metadata.data_len()
        )));
    }
    let entries = metadata.tensors().into_iter().map(|(key, info)| {
        let start = data + info.data_offsets.0 as u64;
        let shape = Shape::new(info.shape.clone());
        let strides = shape.strides();
        (key, Entry { source: 0, place: 0, start, element: element(info.dtype), shape, strides })
    });
    Ok(entries.collect())
}

fn element(dtype: Dtype) -> Element {
    let name = match dtype {
        Dtype::F32 => return Element::F32,
        Dtype::F64 => return Element::F64,
        Dtype::F16 => return Element::F16,
        Dtype::BF16 => return Element::BF16,
        Dtype::BOOL => "BOOL",
        Dtype::U8 => "U8",
        Dtype::I8 => "I8",
        Dtype::U16 => "U16",
        Dtype::I16 => "I16",
        Dtype::U32 => "U32",
        Dtype::I32 => "I32",
        Dtype::U64 => "U64",
        Dtype::I64 => "I64",
        _ => "another kind",
    };
    Element::Other { name, bytes: dtype.bitsize().div_ceil(8) }
}

/// Writes all of `weights` as F32 to a file that appears whole or not at all.
///
/// # Errors
/// Where the file cannot be written.
pub fn save(weights: &Weights, path: &Path) -> Result<(), Error> {
    let mut file = AtomicFile::create(path)?;
    write(weights, &mut file).map_err(Error::write(path))?;
    file.commit()
}

/// Writes all of `weights` as F32.
///
/// # Errors
/// Where `out` cannot be written.
pub fn write(weights: &Weights, out: &mut impl Write) -> io::Result<()> {
    let mut end = 0;
    let arrays = weights
        .iter()
        .map(|(key, tensor)| {
            let start = end;
            end += 4 * tensor.data().len();
            let shape = tensor.shape().dims().to_vec();
            (key.to_owned(), TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })
        })
        .collect();
    let metadata = Metadata::new(None, arrays).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (_, tensor) in weights.iter() {
        for value in tensor.data() {
            out.write_all(&value.to_le_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::super::WeightFile;
    use super::*;
    use crate::tensor::Tensor;

    fn open(bytes: &[u8]) -> Result<WeightFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        std::fs::write(&path, bytes).unwrap();
        WeightFile::open(&path).map_err(|error| error.to_string())
    }

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn what_is_saved_loads_bit_for_bit() {
        let mut weights = Weights::default();
        weights.insert("b", Tensor::new([2], vec![f32::MIN_POSITIVE / 4.0, -0.0]));
        weights.insert("a.weight", Tensor::from_fn([2, 3], |at| at[0] as f32 + 0.1 * at[1] as f32));
        weights.insert("scalar", Tensor::scalar(3.5));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        save(&weights, &path).unwrap();
        let loaded = Weights::load(&path).unwrap();
        assert_eq!(loaded.iter().count(), 3);
        for (key, tensor) in weights.iter() {
            let bits = |tensor: &Tensor| tensor.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(loaded.get(key).unwrap()), bits(tensor), "{key}");
            assert_eq!(loaded.get(key).unwrap().shape(), tensor.shape());
        }
    }

    #[test]
    fn half_precision_and_double_become_f32() {
        for (dtype, data) in [
            ("F16", f16::from_f32(-1.5).to_le_bytes().to_vec()),
            ("BF16", bf16::from_f32(-1.5).to_le_bytes().to_vec()),
            ("F64", (-1.5f64).to_le_bytes().to_vec()),
        ] {
            let header =
                format!(r#"{{"w":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{}]}}}}"#, data.len());
            assert_eq!(open(&file(&header, &data)).unwrap().read("w").unwrap().data(), [-1.5], "{dtype}");
        }
    }

    #[test]
    fn parts_are_parts_of_the_whole() {
        for (dtype, data) in [
            ("F32", [1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat()),
            ("F16", [1.0, 2.0, 3.0, 4.0].map(|value| f16::from_f32(value).to_le_bytes()).concat()),
        ] {
            let end = data.len();
            let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[2,2],"data_offsets":[0,{end}]}}}}"#);
            let mut file = open(&file(&header, &data)).unwrap();
            assert!(file.has_parts("w") && !file.has_parts("v"));
            assert_eq!(file.read_part("w", 1..3).unwrap(), [2.0, 3.0], "{dtype}");
            assert!(file.read_part("w", 4..4).unwrap().is_empty(), "{dtype}");
            #[expect(clippy::reversed_empty_ranges)]
            for beyond in [3..5, 5..5, 3..2] {
                let error = file.read_part("w", beyond).unwrap_err().to_string();
                assert!(error.contains("'w' has no elements"), "{error}");
            }
        }
    }

    #[test]
    fn damaged_files_are_refused_with_the_reason() {
        let one = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                          "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
        let huge = format!(r#"{{"w":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, 1u64 << 60);
        let cases: [(Vec<u8>, &str); 9] = [
            (vec![], "only 0 bytes long"),
            ((1u64 << 60).to_le_bytes().to_vec(), "a header of 1152921504606846976 bytes"),
            (file("{", &[]), "EOF"),
            (file(one, &[0; 7]), "declares 8 bytes of arrays, but 7 follow"),
            (file(one, &[0; 9]), "declares 8 bytes of arrays, but 9 follow"),
            (file(overlap, &[0; 12]), "invalid offset"),
            (file(&one.replace("[2]", "[3]"), &[0; 8]), "invalid shape"),
            (file(&one.replace("[2]", "[4294967296,4294967296,4]"), &[0; 8]), "overflow"),
            (file(&huge, &[0; 8]), "declares 1152921504606846976 bytes of arrays, but 8 follow"),
        ];
        for (bytes, expected) in cases {
            let error = open(&bytes).err().expect("refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn values_that_are_not_finite_are_named() {
        let header = r#"{"bn.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut data = 1f32.to_le_bytes().to_vec();
        data.extend(f32::NAN.to_le_bytes());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        std::fs::write(&path, file(header, &data)).unwrap();
        let error = Weights::load(&path).unwrap_err().to_string();
        assert!(error.contains("'bn.weight' holds NaN at element 1"), "{error}");
    }
}
