//! kiln compiles convolutional model graphs into native kernels.

pub mod cli;
pub mod codegen;
pub mod dsl;
pub mod graph;
pub mod interpreter;
pub mod io;
mod json_float;
pub mod kernels;
pub mod lower;
pub mod ops;
mod parallel;
pub mod passes;
pub mod runtime;
mod spelling;
pub mod tensor;
pub mod weights;
