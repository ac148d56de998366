//! Compiled kernels against interpreted ones.

use kiln::codegen::module::CodegenFailure;
use kiln::codegen::target::InstructionSet;
use kiln::codegen::vector::{Kernel, interpret};

use crate::harness::run;

/// Whether compiled code leaves in memory what the interpreter does, bit for bit; all NaNs count as the same.
pub fn compare(isa: InstructionSet, kernel: &Kernel, buffers: &[Vec<f32>]) -> Result<(), CompareError> {
    let mut expected = buffers.to_vec();
    let mut actual = buffers.to_vec();
    run(isa, kernel, &mut actual)?;
    interpret(kernel, &mut expected);
    for (buffer, (expected, actual)) in kernel.buffers.iter().zip(expected.iter().zip(&actual)) {
        for (element, (e, a)) in expected.iter().zip(actual).enumerate() {
            if e.to_bits() != a.to_bits() && !(e.is_nan() && a.is_nan()) {
                let place = format!("{isa}: {}[{element}]", buffer.name);
                return Err(CompareError::Differs(format!("{place} is {a:?}, not {e:?}, in\n{kernel}")));
            }
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Refused(#[from] CodegenFailure),
    #[error("{0}")]
    Differs(String),
}

/// The instruction sets that this machine runs.
pub fn instruction_sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::ALL.into_iter().filter(|isa| isa.is_available())
}
