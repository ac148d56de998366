//! Output files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::Error;

/// A file that takes its place only when [`AtomicFile::commit`] succeeds; until then, and if it is dropped,
/// whatever stood there stays as it was.
///
/// A pipe or a device is written to directly.
pub struct AtomicFile {
    path: PathBuf,
    target: Target,
}

enum Target {
    /// Renamed to the path in the end.
    Beside(BufWriter<NamedTempFile>, PathBuf),
    Stream(BufWriter<File>),
}

impl AtomicFile {
    /// # Errors
    /// Where the file could not be put there in the end: no such folder, no permission, a folder in its place.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let target = Self::target(path).map_err(Error::write(path))?;
        Ok(AtomicFile { path: path.to_owned(), target })
    }

    /// Whether one of the two files would replace the other.
    pub fn same_place(&self, other: &AtomicFile) -> bool {
        match (&self.target, &other.target) {
            (Target::Beside(_, a), Target::Beside(_, b)) => a == b,
            _ => false,
        }
    }

    fn target(path: &Path) -> io::Result<Target> {
        // A link is followed, so that it is not replaced by a file.
        let (place, old) = match fs::canonicalize(path) {
            Ok(place) => {
                let old = fs::metadata(&place)?;
                (place, Some(old))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
            Err(error) => return Err(error),
        };
        if place.file_name().is_none() || old.as_ref().is_some_and(|old| old.is_dir()) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if let Some(old) = &old {
            if old.permissions().readonly() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is read-only"));
            }
            if !old.is_file() {
                return Ok(Target::Stream(BufWriter::new(File::options().write(true).open(place)?)));
            }
        }
        let folder = match place.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = Builder::new();
        builder.prefix(".kiln-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = old.map_or(0o666, |old| old.permissions().mode());
            builder.permissions(fs::Permissions::from_mode(mode));
        }
        fs::metadata(folder)?;
        let file = builder.tempfile_in(folder).map_err(|error| match error.kind() {
            // Without the name of the temporary file, which the user has not heard of.
            kind @ (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => kind.into(),
            _ => error,
        })?;
        Ok(Target::Beside(BufWriter::new(file), place))
    }

    /// Puts the file in its place.
    pub fn commit(self) -> Result<(), Error> {
        let write = Error::write(&self.path);
        match self.target {
            Target::Stream(mut stream) => stream.flush().map_err(write),
            Target::Beside(buffer, place) => {
                let done = buffer
                    .into_inner()
                    .map_err(|error| error.into_error())
                    .and_then(|file| file.persist(place).map_err(|error| error.error));
                done.map(drop).map_err(write)
            }
        }
    }

    /// Writes `bytes` as the whole file.
    pub fn write_all_to(path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let mut file = AtomicFile::create(path)?;
        file.write_all(bytes).map_err(Error::write(path))?;
        file.commit()
    }

    /// The path it was created with.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            Target::Beside(file, _) => file.write(bytes),
            Target::Stream(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::Beside(file, _) => file.flush(),
            Target::Stream(file) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_file_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.npy");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the unfinished file is gone");
    }

    #[test]
    fn commit_replaces_the_file_and_follows_links() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("out.npy"), folder.path().join("link.npy"));
        AtomicFile::write_all_to(&path, b"old").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&path, &link).unwrap();
        AtomicFile::write_all_to(&link, b"new").unwrap();
        #[cfg(unix)]
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read(&link).unwrap(), b"new");
    }

    #[test]
    fn folders_and_missing_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(AtomicFile::create(folder.path()).is_err());
        assert!(AtomicFile::create(&folder.path().join("absent/out.npy")).is_err());
    }
}
