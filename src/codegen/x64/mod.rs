//! Kernels to x86-64 machine code: AVX2 with FMA at 256 bits, AVX-512 at 512.
//!
//! Cranelift has no vectors wider than 128 bits, so these kernels are assembled here, whole functions of the
//! System V ABI: `extern "C" fn(table: *const *mut f32, g0: usize, g1: usize, g2: usize)`. The way through:
//!
//! 1. [`steps`] flattens the loop nest into a list and makes the pointers' arithmetic explicit;
//! 2. [`folding`] finds the loads that become memory operands;
//! 3. [`scalars`] and [`vectors`] place pointers, counters and values in registers by [linear scan](linear_scan)
//!    over the [live intervals](liveness);
//! 4. [`function`] and [`instructions`] walk the steps and write machine code through the [`assembler`], in the
//!    instructions of an [`isa`] table.

mod assembler;
mod disassemble;
mod folding;
mod function;
mod instructions;
mod isa;
mod linear_scan;
mod liveness;
mod scalars;
mod steps;
mod vectors;

pub use disassemble::disassemble;

use super::vector::Kernel;

/// What the code of [`emit`] must be aligned to, in bytes, for its loops to be aligned as intended.
pub const ALIGNMENT: u64 = 64;

/// An instruction set, named by its vectors' width.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// 256 bits: AVX2 and FMA.
    Avx2,
    /// 512 bits: AVX-512 F.
    Avx512,
}

impl Width {
    /// Elements of `f32` per register.
    pub const fn lanes(self) -> usize {
        match self {
            Width::Avx2 => 8,
            Width::Avx512 => 16,
        }
    }

    /// How many registers there are.
    pub const fn vector_registers(self) -> usize {
        match self {
            Width::Avx2 => 16,
            Width::Avx512 => 32,
        }
    }
}

/// Why a kernel has no machine code.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EmitError {
    #[error("kernel '{kernel}' has vectors of {lanes} elements, not the instruction set's {expected}")]
    Lanes { kernel: String, lanes: usize, expected: usize },
    #[error("kernel '{kernel}' needs {bytes} bytes of stack, more than {limit}")]
    Stack { kernel: String, bytes: usize, limit: usize },
    #[error("kernel '{kernel}' cannot be encoded: {reason}")]
    Encoding { kernel: String, reason: String },
}

impl EmitError {
    /// The kernel at fault.
    pub fn kernel(&self) -> &str {
        match self {
            EmitError::Lanes { kernel, .. }
            | EmitError::Stack { kernel, .. }
            | EmitError::Encoding { kernel, .. } => kernel,
        }
    }
}

/// The machine code of a [verified](super::vector::verify()) kernel, position-independent, its constants behind it.
///
/// Values that do not fit the registers live on the stack: correct, but slow. [`spills`] tells.
///
/// # Errors
/// Where the kernel's vectors are not as wide as the instruction set's, or its code exceeds the limits of
/// addressing (gigabytes) or of the stack.
pub fn emit(kernel: &Kernel, width: Width) -> Result<Vec<u8>, EmitError> {
    function::emit(kernel, width)
}

/// How many of a kernel's values would live on the stack: none in a kernel whose tile fits the registers.
pub fn spills(kernel: &Kernel, width: Width) -> usize {
    let steps = steps::flatten(kernel);
    let folded = folding::fold(&steps, kernel, width);
    vectors::place(&steps, kernel, &folded, width).slots
}
