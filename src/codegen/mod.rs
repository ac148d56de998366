//! Emitters: from a plan's kernels to machine code.
//!
//! Kernels are written in the vector loop language of [`vector`]; [`clif`] compiles it for any CPU that
//! Cranelift knows, at 128 bits.

pub mod clif;
pub mod jit;
pub mod module;
pub mod ptx;
pub mod target;
pub mod vector;
pub mod x64;
