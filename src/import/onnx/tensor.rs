//! `TensorProto`: elements inline, raw or in a file beside the model.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use half::{bf16, f16};
use prost::Message;

use super::known::{Ints, Known};
use super::proto::{ElementType, TensorProto};
use crate::Error;
use crate::tensor::{Shape, Tensor};

/// `TensorProto.DataLocation.EXTERNAL`
const EXTERNAL: i32 = 1;

/// Reads a tensor's elements; `folder` is the model's, below which external data must lie.
///
/// # Errors
/// What is wrong with the tensor, in a sentence that says which one it is.
pub fn decode(tensor: &TensorProto, folder: &Path) -> Result<Known, String> {
    let name = &tensor.name;
    let fail = |problem: String| format!("tensor '{name}': {problem}");
    let kind = ElementType::from_number(tensor.data_type)
        .ok_or_else(|| fail(format!("elements of type {} cannot be read", tensor.data_type)))?;
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| fail(format!("the shape {:?} has a negative extent", tensor.dims)))?;
    let shape = Shape::new(dims);
    let bytes = shape.checked_elements().and_then(|elements| elements.checked_mul(kind.size()));
    let Some(bytes) = bytes.filter(|&bytes| isize::try_from(bytes).is_ok()) else {
        return Err(fail(format!("{shape} is larger than memory can hold")));
    };
    let values = if tensor.data_location == EXTERNAL {
        from_bytes(&read_external(tensor, folder, bytes).map_err(fail)?, kind)
    } else if let Some(raw) = &tensor.raw_data {
        if raw.len() != bytes {
            return Err(fail(format!("{shape} takes {bytes} bytes, but there are {}", raw.len())));
        }
        from_bytes(raw, kind)
    } else {
        from_fields(tensor, kind)
    };
    let count = match &values {
        Values::Float(values) => values.len(),
        Values::Int(values) => values.len(),
    };
    if Some(count) != shape.checked_elements() {
        return Err(fail(format!("{count} elements do not fill {shape}")));
    }
    Ok(match values {
        Values::Float(values) => Tensor::new(shape, values).into(),
        Values::Int(data) => Ints { shape, data }.into(),
    })
}

enum Values {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

/// Little-endian elements, as many as there are whole ones.
fn from_bytes(bytes: &Bytes, kind: ElementType) -> Values {
    macro_rules! each {
        ($type:ty, $map:expr) => {
            bytes
                .chunks_exact(size_of::<$type>())
                .map(|chunk| $map(<$type>::from_le_bytes(chunk.try_into().expect("exact"))))
                .collect()
        };
    }
    match kind {
        ElementType::Float => Values::Float(each!(f32, |v| v)),
        ElementType::Double => Values::Float(each!(f64, |v| v as f32)),
        ElementType::Float16 => Values::Float(each!(u16, |v| f16::from_bits(v).to_f32())),
        ElementType::Bfloat16 => Values::Float(each!(u16, |v| bf16::from_bits(v).to_f32())),
        ElementType::Uint8 | ElementType::Bool => Values::Int(each!(u8, i64::from)),
        ElementType::Int8 => Values::Int(each!(i8, i64::from)),
        ElementType::Uint16 => Values::Int(each!(u16, i64::from)),
        ElementType::Int16 => Values::Int(each!(i16, i64::from)),
        ElementType::Int32 => Values::Int(each!(i32, i64::from)),
        ElementType::Uint32 => Values::Int(each!(u32, i64::from)),
        ElementType::Int64 => Values::Int(each!(i64, |v| v)),
        ElementType::Uint64 => Values::Int(each!(u64, saturated)),
    }
}

/// Elements in the field that the format assigns to their type.
fn from_fields(tensor: &TensorProto, kind: ElementType) -> Values {
    let half = |widen: fn(u16) -> f32| tensor.int32_data.iter().map(|&bits| widen(bits as u16)).collect();
    match kind {
        ElementType::Float => Values::Float(tensor.float_data.clone()),
        ElementType::Double => Values::Float(tensor.double_data.iter().map(|&v| v as f32).collect()),
        ElementType::Float16 => Values::Float(half(|bits| f16::from_bits(bits).to_f32())),
        ElementType::Bfloat16 => Values::Float(half(|bits| bf16::from_bits(bits).to_f32())),
        ElementType::Int64 => Values::Int(tensor.int64_data.clone()),
        ElementType::Uint32 | ElementType::Uint64 => {
            Values::Int(tensor.uint64_data.iter().map(|&v| saturated(v)).collect())
        }
        _ => Values::Int(tensor.int32_data.iter().map(|&v| i64::from(v)).collect()),
    }
}

/// Exporters write "to the end" as the largest number there is.
fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The part of another file where a tensor's elements lie: exactly `bytes` of them.
fn read_external(tensor: &TensorProto, folder: &Path, bytes: usize) -> Result<Bytes, String> {
    let entry = |key: &str| {
        tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("its {key} '{text}' is no number")),
    };
    let location = entry("location").ok_or("its elements are in another file, which is not named")?;
    let path = beside(folder, location)?;
    let (offset, wanted) = (number("offset")?.unwrap_or(0), bytes as u64);
    if let Some(length) = number("length")?
        && length != wanted
    {
        return Err(format!("it takes {wanted} bytes, but '{location}' is said to have {length}"));
    }
    let cannot = |error: std::io::Error| format!("cannot read '{}': {error}", path.display());
    let mut file = File::open(&path).map_err(cannot)?;
    let size = file.metadata().map_err(cannot)?.len();
    if offset.checked_add(wanted).is_none_or(|end| end > size) {
        return Err(format!("bytes {offset} to +{wanted} of '{location}' are beyond its {size} bytes"));
    }
    let mut data = vec![0; bytes];
    file.seek(SeekFrom::Start(offset)).map_err(cannot)?;
    file.read_exact(&mut data).map_err(cannot)?;
    Ok(data.into())
}

/// The file at `location` below the model's folder.
fn beside(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    let plain = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    if location.is_empty() || !relative.components().all(plain) {
        return Err(format!("external data must lie in the model's folder, not at '{location}'"));
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let cannot =
        |error: std::io::Error| format!("cannot read '{}': {error}", folder.join(relative).display());
    let path = folder.join(relative).canonicalize().map_err(cannot)?;
    if !path.starts_with(folder.canonicalize().map_err(cannot)?) {
        return Err(format!("external data must lie in the model's folder; '{location}' leads out of it"));
    }
    if !path.is_file() {
        return Err(format!("'{location}' is no file"));
    }
    Ok(path)
}

/// Reads a file that holds one `TensorProto`, as the test data of ONNX do.
///
/// # Errors
/// Where the file cannot be read or holds no array.
pub fn read_tensor(path: &Path) -> Result<Known, Error> {
    let bytes = fs::read(path).map_err(Error::read(path))?;
    let tensor = TensorProto::decode(Bytes::from(bytes)).map_err(|error| Error::file(path, error))?;
    decode(&tensor, path.parent().unwrap_or(Path::new(""))).map_err(|problem| Error::file(path, problem))
}
