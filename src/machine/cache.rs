//! Where files that spare work later are kept: beside the user's other caches.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::Machine;
use crate::codegen::target::InstructionSet;
use crate::io::{AtomicFile, read_text};

/// kiln's folder among the user's caches: `$XDG_CACHE_HOME/kiln`, else `~/.cache/kiln`, or `%LOCALAPPDATA%\kiln` where
/// there is one. None where the environment names no such place.
pub fn folder() -> Option<PathBuf> {
    // The XDG base directory specification has relative paths ignored.
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("LOCALAPPDATA"))
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("kiln"))
}

/// The file that remembers the roofs of this machine.
pub fn machine_file(isa: InstructionSet, threads: usize) -> Option<PathBuf> {
    Some(folder()?.join(format!("machine-{isa}-{threads}.json")))
}

/// What was remembered, where it is of this very machine and undamaged.
pub(super) fn load(isa: InstructionSet, threads: usize, cpu: &str) -> Option<Machine> {
    let text = read_text(&machine_file(isa, threads)?).ok()?;
    let machine: Machine = serde_json::from_str(&text).ok()?;
    let is_ours = machine.version == env!("CARGO_PKG_VERSION")
        && machine.cpu == cpu
        && machine.isa == isa
        && machine.threads == threads;
    (is_ours && machine.is_sane()).then_some(machine)
}

/// Remembers a machine where that is possible; where not, it will be measured again.
pub(super) fn store(machine: &Machine) {
    let Some(path) = machine_file(machine.isa, machine.threads) else { return };
    if let Ok(text) = serde_json::to_string_pretty(machine) {
        let _ = write(&path, &(text + "\n"));
    }
}

/// Writes a file whole, making the folder that it stands in.
///
/// # Errors
/// Where that is not possible.
pub fn write(path: &Path, text: &str) -> Result<(), crate::Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(crate::Error::write(path))?;
    }
    AtomicFile::write_all_to(path, text.as_bytes())
}
