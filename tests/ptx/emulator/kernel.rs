//! A decoded kernel: its instructions, and what its registers, parameters and shared memory are.

use super::instruction::{Instruction, R32, R64};

/// The registers that hold a thread's and a launch's coordinates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Special {
    /// Axis 0 is x.
    ThreadIndex(u8),
    BlockExtent(u8),
    BlockIndex(u8),
    GridExtent(u8),
    Lane,
    Warp,
    LanesBelow,
}

/// What a register holds before the first instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Initial {
    Immediate(u64),
    Special(Special),
    /// The address of a shared variable.
    Shared(u32),
    /// The address of the launch's dynamic shared memory.
    DynamicShared,
}

/// A parameter of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    pub name: String,
    pub bytes: u32,
    pub offset: u32,
}

/// A kernel, ready to run.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    pub name: String,
    pub parameters: Vec<Parameter>,
    /// The product of `.maxntid` or `.reqntid`.
    pub max_threads: Option<u32>,
    /// `.minnctapersm`
    pub min_blocks: Option<u32>,
    pub instructions: Vec<Instruction>,
    /// How many registers of each file there are: those declared, then those that hold a value from the start.
    pub words: usize,
    pub doubles: usize,
    pub predicates: usize,
    pub declared_words: usize,
    pub declared_doubles: usize,
    pub initial_words: Vec<(R32, Initial)>,
    pub initial_doubles: Vec<(R64, Initial)>,
    /// Bytes of static shared memory.
    pub static_shared: u32,
}
