//! An emulator of the PTX that kiln emits, for tests on machines without a GPU: see `tests/ptx/README.md`.

mod access;
mod block;
mod decode;
mod device;
mod execute;
mod fault;
mod instruction;
mod kernel;
mod lanes;
mod launch;
mod module;
mod order;
mod shared;
mod syntax;
mod tensor;
mod warp;

pub use block::Counts;
pub use device::{Access, Argument, Buffer, Device};
pub use fault::{Fault, FaultKind};
pub use launch::{Launch, MAX_INSTRUCTIONS};
pub use module::Module;
