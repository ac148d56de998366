//! PTX without a GPU: an emulator of the machine, its own tests, and emitted kernels run on it.

#[path = "../common/mod.rs"]
mod common;
mod emitted;
mod emulator;
mod machine;
