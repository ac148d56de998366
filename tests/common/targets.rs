//! What kernels are chosen for.

use kiln::codegen::target::{Core, Cpu, InstructionSet};

/// Each instruction set, with each kind of core where that makes a difference.
pub fn all() -> impl Iterator<Item = Cpu> {
    let cores = |isa| match isa {
        InstructionSet::Avx512 => &Core::ALL[..],
        InstructionSet::Avx2 | InstructionSet::Baseline => &[Core::Generic],
    };
    InstructionSet::ALL.into_iter().flat_map(move |isa| cores(isa).iter().map(move |&core| Cpu { isa, core }))
}
