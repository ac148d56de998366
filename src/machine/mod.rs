//! What this machine can do at most: multiply-adds a second, and bytes a second from each level of its memory.
//!
//! Measured by kernels in the vector loop language on the very instruction set and number of threads that a model is
//! compiled for, and remembered in a file, since it takes some tenths of a second.

pub mod cache;
mod measure;
mod roofline;
mod topology;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use roofline::{Demand, Roof, Traffic};
pub use topology::cpu_name;

use measure::measure;

use crate::codegen::target::InstructionSet;
use crate::runtime::CompileError;

/// The roofs of a machine for one instruction set and number of threads.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The version of kiln that measured.
    pub version: String,
    pub cpu: String,
    pub isa: InstructionSet,
    pub threads: usize,
    /// 10⁹ floating-point operations a second of independent multiply-adds, each of which counts as two.
    pub peak_gflops: f64,
    /// From the nearest cache to memory, which is the last and holds any amount.
    pub levels: Vec<Level>,
}

/// Measures this machine, and remembers the figures where files can be written.
///
/// # Errors
/// Where the CPU lacks the instruction set or the system the memory to measure.
pub fn remeasure(isa: InstructionSet, threads: usize) -> Result<Machine, CompileError> {
    let machine = measure(isa, threads)?;
    cache::store(&machine);
    Ok(machine)
}

impl fmt::Display for Machine {
    /// `AMD EPYC: at most 118 GFLOP/s, L1 250 GB/s, …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: at most {:.0} GFLOP/s", self.cpu, self.peak_gflops)?;
        for Level { name, gb_per_s, .. } in &self.levels {
            let digits = usize::from(*gb_per_s < 100.0);
            write!(f, ", {name} {gb_per_s:.digits$} GB/s")?;
        }
        Ok(())
    }
}

/// A cache, or memory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// `L1`, `L2`, … or `memory`
    pub name: String,
    /// Bytes that all threads together can keep in it; none where there is no limit that counts.
    pub bytes: Option<u64>,
    /// 10⁹ bytes a second that all threads together read from it.
    pub gb_per_s: f64,
}

impl Machine {
    /// The machine as it was measured before, or measured now and remembered where files can be written.
    ///
    /// # Errors
    /// Where the CPU lacks the instruction set or the system the memory to measure.
    pub fn get(isa: InstructionSet, threads: usize) -> Result<Machine, CompileError> {
        let cpu = cpu_name();
        if let Some(machine) = cache::load(isa, threads, &cpu) {
            return Ok(machine);
        }
        remeasure(isa, threads)
    }

    /// Whether the figures are such as measuring gives.
    fn is_sane(&self) -> bool {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let (last, caches) = match self.levels.split_last() {
            Some(parts) => parts,
            None => return false,
        };
        positive(self.peak_gflops)
            && self.levels.iter().all(|level| positive(level.gb_per_s))
            && last.bytes.is_none()
            && caches.iter().all(|level| level.bytes.is_some_and(|bytes| bytes > 0))
    }
}
