//! Choices in a file, for the machines that they were measured on.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::codegen::target::InstructionSet;
use crate::lower::Tuning;
use crate::machine::cache;

/// The choices of several machines.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuningFile {
    /// The version of kiln whose kernels were measured.
    version: String,
    machines: Vec<Entry>,
}

/// What was measured on one processor with one instruction set. Choices decide how sums are rounded, so they hold for
/// every number of threads: answers stay the same whatever it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    cpu: String,
    isa: InstructionSet,
    problems: Tuning,
}

/// Why a tuning file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TuningFileError {
    #[error(transparent)]
    Read(Error),
    #[error("'{}' is no tuning file of kiln: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("'{}' was measured with kiln {version}, whose kernels were others; 'kiln tune' measures again", path.display())]
    Stale { path: PathBuf, version: String },
}

impl Default for TuningFile {
    fn default() -> Self {
        TuningFile { version: env!("CARGO_PKG_VERSION").to_owned(), machines: Vec::new() }
    }
}

impl TuningFile {
    /// Where choices are remembered if no other file is named; none where the environment names no cache folder.
    pub fn default_path() -> Option<PathBuf> {
        Some(cache::folder()?.join("tuning.json"))
    }

    /// # Errors
    /// Where the file cannot be read, is no tuning file, or of another version of kiln.
    pub fn load(path: &Path) -> Result<Self, TuningFileError> {
        let text = crate::io::read_text(path).map_err(TuningFileError::Read)?;
        let damaged = |problem: String| TuningFileError::Damaged { path: path.to_owned(), problem };
        let file: TuningFile = serde_json::from_str(&text).map_err(|error| {
            // Only a file that says it is of another version is stale; everything else is damaged.
            match serde_json::from_str::<Version>(&text) {
                Ok(Version { version }) if version != env!("CARGO_PKG_VERSION") => {
                    TuningFileError::Stale { path: path.to_owned(), version }
                }
                _ => damaged(error.to_string()),
            }
        })?;
        if file.version != env!("CARGO_PKG_VERSION") {
            return Err(TuningFileError::Stale { path: path.to_owned(), version: file.version });
        }
        for entry in &file.machines {
            for (problem, choice) in &entry.problems.0 {
                if !choice.is_sane(entry.isa) {
                    return Err(damaged(format!("{choice:?} of {problem} is impossible with {}", entry.isa)));
                }
            }
        }
        Ok(file)
    }

    /// [`TuningFile::load`], or a new one where there is no file yet.
    ///
    /// # Errors
    /// As [`TuningFile::load`].
    pub fn load_or_new(path: &Path) -> Result<Self, TuningFileError> {
        match TuningFile::load(path) {
            Err(TuningFileError::Read(Error::Read { source, .. }))
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(TuningFile::default())
            }
            loaded => loaded,
        }
    }

    /// The choices for a machine; none if it was not tuned.
    pub fn tuning(&self, cpu: &str, isa: InstructionSet) -> Tuning {
        let entry = self.machines.iter().find(|entry| entry.is_of(cpu, isa));
        entry.map(|entry| entry.problems.clone()).unwrap_or_default()
    }

    /// The choices for a machine, to be changed.
    pub fn tuning_mut(&mut self, cpu: &str, isa: InstructionSet) -> &mut Tuning {
        let at = self.machines.iter().position(|entry| entry.is_of(cpu, isa));
        let at = at.unwrap_or_else(|| {
            let cpu = cpu.to_owned();
            self.machines.push(Entry { cpu, isa, problems: Tuning::default() });
            self.machines.len() - 1
        });
        &mut self.machines[at].problems
    }

    /// Writes the file whole, making the folder that it stands in.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).map_err(Error::input)?;
        cache::write(path, &(text + "\n"))
    }
}

impl Entry {
    fn is_of(&self, cpu: &str, isa: InstructionSet) -> bool {
        self.cpu == cpu && self.isa == isa
    }
}

/// What every version of a tuning file says of itself.
#[derive(Deserialize)]
struct Version {
    version: String,
}
