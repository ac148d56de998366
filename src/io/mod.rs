//! Files of arrays, pictures and text, read with every declared size checked before it is believed.

pub mod image;
pub mod npy;
pub mod npz;

mod atomic;

pub use atomic::AtomicFile;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::Error;

/// The largest text file that is read, in bytes.
const MAX_TEXT: u64 = 16 << 20;

/// Reads a UTF-8 text file of at most 16 MiB; a byte order mark at its start is no part of the text.
///
/// # Errors
/// Where the file cannot be read, is larger, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(Error::read(path))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Error::file(path, format!("a text file of more than {} MiB", MAX_TEXT >> 20)));
    }
    // Some editors begin every file with it.
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        Error::file(path, format!("not UTF-8 text (at byte {})", error.utf8_error().valid_up_to()))
    })
}

/// Opens a file to read, but no folder.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    let file = File::open(path).map_err(Error::read(path))?;
    if file.metadata().map_err(Error::read(path))?.is_dir() {
        return Err(Error::file(path, "is a folder, not a file"));
    }
    Ok(file)
}
