//! NumPy's `.npz` archives: a zip file of `.npy` arrays by name.
//!
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.savez.html>

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::{self, NpyFile};
use crate::Error;
use crate::tensor::Tensor;

/// An opened archive; arrays are read one by one as they are asked for.
pub struct NpzFile {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

impl NpzFile {
    /// Reads the list of arrays.
    ///
    /// # Errors
    /// Where the file cannot be read or is no zip archive.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = BufReader::new(super::open(path)?);
        let archive = ZipArchive::new(file)
            .map_err(|error| Error::file(path, format!("not an .npz archive: {error}")))?;
        Ok(NpzFile { path: path.to_owned(), archive })
    }

    /// The names of the arrays, without `.npy`, in the order of the archive.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let names = self.archive.file_names().filter_map(Result::ok);
        names.map(|name| name.strip_suffix(EXTENSION).unwrap_or(&name).to_owned())
    }

    /// The array of this name, if there is one, with its header read.
    ///
    /// # Errors
    /// Where its entry is damaged or does not hold as many bytes as the array's header declares.
    pub fn array(&mut self, name: &str) -> Result<Option<NpyFile<'_>>, Error> {
        let entry = format!("{name}{EXTENSION}");
        let Some(index) = self.archive.index_for_name(&entry) else { return Ok(None) };
        // What messages name.
        let place = self.path.join(&entry);
        let file = self.archive.by_index(index).map_err(|error| Error::file(&place, error))?;
        let length = file.size();
        NpyFile::new(&place, BufReader::new(file), length).map(Some)
    }
}

const EXTENSION: &str = ".npy";

/// Writes arrays, uncompressed, under their names.
///
/// # Errors
/// Where `out` cannot be written, or two arrays have the same name.
pub fn write<'a>(
    out: &mut impl Write,
    arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> io::Result<()> {
    let mut archive = ZipWriter::new_stream(out);
    for (name, tensor) in arrays {
        // Sizes of 4 GiB and more take wider fields.
        let large = tensor.data().len() >= 1 << 29;
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
        archive.start_file(format!("{name}{EXTENSION}"), options).map_err(io::Error::other)?;
        npy::write(&mut archive, tensor)?;
    }
    archive.finish().map_err(io::Error::other)?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let arrays = [("layer1.0.conv1", Tensor::new([2], vec![1.0, -0.5])), ("a/b", Tensor::scalar(3.0))];
        let mut bytes = Vec::new();
        write(&mut bytes, arrays.iter().map(|(name, tensor)| (*name, tensor))).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let mut file = NpzFile::open(&path).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["layer1.0.conv1", "a/b"]);
        for (name, tensor) in arrays {
            assert_eq!(file.array(name).unwrap().expect("it is there").read().unwrap(), tensor);
        }
        assert!(file.array("absent").unwrap().is_none());
    }

    #[test]
    fn damaged_archives_are_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let mut whole = Vec::new();
        write(&mut whole, [("x", &Tensor::zeros([4]))]).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 10]).unwrap();
        let error = NpzFile::open(&path).err().expect("refused").to_string();
        assert!(error.contains("not an .npz archive"), "{error}");
        // The last of the array's bytes: the entry's checksum no longer holds.
        let at = whole.windows(4).position(|bytes| bytes == b"PK\x07\x08").unwrap() - 1;
        whole[at] ^= 1;
        std::fs::write(&path, &whole).unwrap();
        let error =
            NpzFile::open(&path).unwrap().array("x").unwrap().unwrap().read().unwrap_err().to_string();
        assert!(error.contains("x.npy"), "{error}");
    }
}
