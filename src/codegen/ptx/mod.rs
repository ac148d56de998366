//! PTX, the text that NVIDIA's drivers turn into machine code.
//!
//! [`Builder`] writes one kernel with virtual registers, which `ptxas` or the driver allocates; [`Target`] says what
//! a GPU can do; [`module`] joins kernels to a text that can be loaded.

mod arithmetic;
mod builder;
mod memory;
mod target;
mod value;

pub use builder::{Builder, Entry};
pub use memory::{Element, Matrices, Space};
pub use target::Target;
pub use value::{Address, Class, Comparison, Reg, Value};

/// A module of kernels for one target; `tensor_cores` says whether any of them uses those.
pub fn module<'a>(
    target: Target,
    tensor_cores: bool,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> String {
    let (major, minor) = target.isa(tensor_cores);
    let mut text = format!(".version {major}.{minor}\n.target {}\n.address_size 64\n", target.name());
    for entry in entries {
        text.push('\n');
        text.push_str(&entry.text);
    }
    text
}
