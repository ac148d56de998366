//! PyTorch's checkpoints, as `torch.save` writes a `state_dict`: read without executing anything.
//!
//! A checkpoint is a pickle that describes arrays, and the storages that the arrays are views of. Since version 1.6
//! it is a zip archive with the pickle as `NAME/data.pkl` and each storage as `NAME/data/KEY`; before, a file of five
//! pickles with the storages behind them. Source: `torch/serialization.py`.

mod globals;
mod pickle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::file::{Entry, Source};
use crate::Error;
use pickle::{Heap, Value, kind};

type Arrays = BTreeMap<String, Entry>;

/// The arrays of a checkpoint that is a zip archive.
///
/// # Errors
/// Where the file is damaged or holds anything but arrays.
pub fn open_zip(path: &Path, file: File) -> Result<(Source, Arrays), Error> {
    let length = file.metadata().map_err(Error::read(path))?.len();
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|error| Error::file(path, format!("a damaged zip archive: {error}")))?;
    let arrays = zip_arrays(&mut archive, length).map_err(|problem| Error::file(path, problem))?;
    Ok((Source::Zip(path.to_owned(), archive), arrays))
}

fn zip_arrays<R: Read + Seek>(archive: &mut ZipArchive<R>, length: u64) -> Result<Arrays, String> {
    let mut folder = None;
    for name in archive.file_names().filter_map(Result::ok) {
        if name.ends_with("constants.pkl") {
            return Err("a TorchScript program, not a state_dict; save model.state_dict()".to_owned());
        }
        if let Some(start) = name.strip_suffix("data.pkl") {
            folder = Some(start.to_owned());
        }
    }
    let folder = folder.ok_or("a zip archive without data.pkl: not a PyTorch checkpoint")?;
    if let Some(index) = archive.index_for_name(&format!("{folder}byteorder")) {
        let mut order = String::new();
        let entry = archive.by_index(index).map_err(|error| format!("a damaged byteorder: {error}"))?;
        entry.take(16).read_to_string(&mut order).map_err(|error| format!("a damaged byteorder: {error}"))?;
        if order != "little" {
            return Err(format!(
                "written on a machine of byte order '{order}'; little-endian files are read"
            ));
        }
    }
    let mut pickle = archive
        .by_name(&format!("{folder}data.pkl"))
        .map_err(|error| format!("cannot read its data.pkl: {error}"))?;
    let (heap, root) = pickle::read(&mut pickle)?;
    drop(pickle);
    let mut places: HashMap<&str, (usize, u64)> = HashMap::new();
    arrays(&heap, root, |key, bytes| {
        let &mut (place, held) = match places.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(zip_storage(archive, &format!("{folder}data/{key}"), length)?)
            }
        };
        if bytes > held {
            return Err(format!("storage '{key}' should have {bytes} bytes and has {held}"));
        }
        Ok((place, 0))
    })
}

/// The index and size of a storage's entry.
fn zip_storage<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    name: &str,
    length: u64,
) -> Result<(usize, u64), String> {
    let index = archive.index_for_name(name).ok_or_else(|| format!("lacks its storage '{name}'"))?;
    let entry = archive.by_index(index).map_err(|error| format!("its storage '{name}': {error}"))?;
    let (packed, size) = (entry.compressed_size(), entry.size());
    if packed > length || (entry.compression() == CompressionMethod::Stored && packed != size) {
        return Err(format!("declares {packed} bytes of storage '{name}' in a file of {length}"));
    }
    if size > HARMLESS && size / MOST_SHRUNK > packed {
        return Err(format!("storage '{name}' claims to grow from {packed} to {size} bytes: a zip bomb"));
    }
    Ok((index, size))
}

/// A storage of up to this many bytes may be compressed as far as it goes.
const HARMLESS: u64 = 16 << 20;
/// Trained numbers do not shrink to a hundredth.
const MOST_SHRUNK: u64 = 100;

/// The arrays of a checkpoint of a version before 1.6.
///
/// # Errors
/// As [`open_zip`].
pub fn open_legacy(path: &Path, mut file: File) -> Result<(Source, Arrays), Error> {
    let length = file.metadata().map_err(Error::read(path))?.len();
    let arrays = legacy_arrays(BufReader::new(&mut file), length);
    let arrays = arrays.map_err(|problem| Error::file(path, problem))?;
    Ok((Source::Plain(path.to_owned(), file), arrays))
}

fn legacy_arrays(mut data: BufReader<&mut File>, length: u64) -> Result<Arrays, String> {
    // A magic number, which has been seen; the format's version; the machine that wrote it; the arrays; the storages.
    pickle::read(&mut data)?;
    let (_, version) = pickle::read(&mut data)?;
    if version != Value::Int(1001) {
        return Err("a checkpoint of an unknown version".to_owned());
    }
    let (machine, description) = pickle::read(&mut data)?;
    let is_big_endian = |&(key, value): &(Value, Value)| {
        machine.text(key) == Some("little_endian") && value == Value::Bool(false)
    };
    if machine.entries(description).is_some_and(|entries| entries.iter().any(is_big_endian)) {
        return Err("written on a big-endian machine; little-endian files are read".to_owned());
    }
    let (heap, root) = pickle::read(&mut data)?;
    let (key_heap, keys) = pickle::read(&mut data)?;
    let keys = key_heap.items(keys).ok_or("its list of storages is none")?;
    let elements: HashMap<&str, _> = heap
        .storages()
        .iter()
        .filter_map(|storage| Some((heap.text(storage.key)?, storage.element)))
        .collect();

    // For each storage its number of elements and the elements.
    let mut places: HashMap<&str, (u64, u64)> = HashMap::new();
    for &key in keys {
        let key = key_heap.text(key).ok_or("its list of storages holds something that is no name")?;
        let element =
            elements.get(key).ok_or_else(|| format!("stores '{key}', which it does not describe"))?;
        let mut field = [0; 8];
        data.read_exact(&mut field).map_err(|_| format!("ends before storage '{key}'"))?;
        let count = u64::from_le_bytes(field);
        let start = data.stream_position().map_err(|error| error.to_string())?;
        let bytes = count.checked_mul(element.bytes() as u64).filter(|bytes| *bytes <= length - start);
        let Some(bytes) = bytes else {
            return Err(format!("declares {count} elements of storage '{key}' in a file of {length} bytes"));
        };
        places.insert(key, (start, bytes));
        data.seek_relative(bytes.cast_signed()).map_err(|error| error.to_string())?;
    }
    arrays(&heap, root, |key, bytes| {
        let &(start, held) = places.get(key).ok_or_else(|| format!("lacks its storage '{key}'"))?;
        if bytes > held {
            return Err(format!("storage '{key}' should have {bytes} bytes and has {held}"));
        }
        Ok((0, start))
    })
}

/// The arrays of the `state_dict` in a pickle. `place` finds a storage by its key, given the bytes that it must have,
/// and answers with its [`Entry::place`] and its start there.
fn arrays<'h>(
    heap: &'h Heap,
    root: Value,
    mut place: impl FnMut(&'h str, u64) -> Result<(usize, u64), String>,
) -> Result<Arrays, String> {
    let mut arrays = Arrays::new();
    for (key, value) in state_dict(heap, root)? {
        let (Some(key), Some(tensor)) = (heap.text(*key), heap.tensor(*value)) else { continue };
        let storage = heap.storages()[tensor.storage];
        let name = heap.text(storage.key).expect("storages are named by texts");
        let outside = || format!("array '{key}' reaches beyond its storage '{name}'");
        let bytes = |elements: usize| (elements as u64).checked_mul(storage.element.bytes() as u64);
        let (held, offset) = bytes(storage.elements).zip(bytes(tensor.offset)).ok_or_else(outside)?;
        let (place, start) = place(name, held)?;
        let entry = Entry {
            source: 0,
            place,
            start: start.checked_add(offset).ok_or_else(outside)?,
            element: storage.element,
            shape: tensor.shape.clone(),
            strides: tensor.strides.clone(),
        };
        let end = entry.span().and_then(|span| span.checked_add(tensor.offset)).ok_or_else(outside)?;
        if end > storage.elements {
            return Err(outside());
        }
        arrays.insert(key.to_owned(), entry);
    }
    Ok(arrays)
}

/// The dictionary of arrays: the pickle's own value, or one that it holds beside an epoch and the like.
fn state_dict(heap: &Heap, root: Value) -> Result<&[(Value, Value)], String> {
    let entries = heap
        .entries(root)
        .ok_or_else(|| format!("holds {}, not a state_dict; save model.state_dict()", kind(root)))?;
    let has_arrays = |entries: &[(Value, Value)]| {
        entries.iter().any(|&(key, value)| heap.text(key).is_some() && heap.tensor(value).is_some())
    };
    if has_arrays(entries) || entries.is_empty() {
        return Ok(entries);
    }
    let nested: Vec<(&str, &[(Value, Value)])> = entries
        .iter()
        .filter_map(|&(key, value)| Some((heap.text(key)?, heap.entries(value)?)))
        .filter(|(_, entries)| has_arrays(entries))
        .collect();
    let usual = ["state_dict", "model_state_dict", "model"];
    let named = usual.iter().find_map(|name| nested.iter().find(|(key, _)| key == name));
    match (named, &nested[..]) {
        (Some((_, entries)), _) | (None, [(_, entries)]) => Ok(entries),
        (None, []) => Err("holds no arrays by name; save model.state_dict()".to_owned()),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            Err(format!("holds several state_dicts ({}), none of them called 'state_dict'", names.join(", ")))
        }
    }
}
