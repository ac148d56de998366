//! What can go wrong: text that does not parse, and what a kernel must not do.

use std::fmt;

/// A place in PTX text that cannot be read, or that uses what the emulator does not have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Counted from 1.
    pub line: u32,
    pub problem: String,
}

impl ParseError {
    pub fn new(line: u32, problem: impl Into<String>) -> Self {
        ParseError { line, problem: problem.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for ParseError {}

/// The kinds of mistakes that the machine detects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum FaultKind {
    /// An access outside the buffer that the pointer was made for, or outside shared memory or the parameters.
    OutOfBounds,
    /// An address that is not a multiple of the access's width.
    Misaligned,
    /// A store to what the kernel may only read, or a load from what it may only write.
    Forbidden,
    /// A read of memory that nothing was written to.
    Uninitialised,
    /// A read of a register that nothing was written to.
    UndefinedRegister,
    /// Two threads reach the same bytes, one of them writes, and nothing orders them.
    Race,
    /// An access to the destination of a `cp.async` that was not waited for.
    NotWaitedFor,
    /// A barrier or a warp-wide instruction that some of its threads do not reach.
    Divergence,
    /// A launch that does not fit the kernel: arguments, block size, shared memory.
    Launch,
    /// More instructions than the launch may execute.
    Endless,
    /// What the ISA leaves undefined, such as an asynchronous copy of more bytes than its size.
    Undefined,
}

/// A mistake of a running kernel, and where it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub problem: String,
    /// The line of the instruction in the module's text; 0 where no instruction is at fault.
    pub line: u32,
    /// Kernel, block and warp, once known.
    pub place: String,
}

impl Fault {
    pub fn new(kind: FaultKind, problem: impl Into<String>) -> Box<Self> {
        Box::new(Fault { kind, problem: problem.into(), line: 0, place: String::new() })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.problem)?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        if !self.place.is_empty() {
            write!(f, " ({})", self.place)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// What a step of a kernel yields, or the fault that ends it.
pub type Outcome<T = ()> = Result<T, Box<Fault>>;
