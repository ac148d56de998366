//! PTX without a GPU: an emulator of the machine, its own tests, and emitted kernels run on it.

mod emulator;
mod machine;
