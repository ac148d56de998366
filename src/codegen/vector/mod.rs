//! The vector loop language: how a kernel is described, once, for every instruction set.
//!
//! A [`Kernel`] is a nest of counted loops around straight-line vector code. Every extent is a constant, every
//! address is affine in the loop indices, every register holds [`Kernel::lanes`] elements of `f32`. That is
//! enough for every kernel kiln needs, and little enough that a kernel can be printed, its memory accesses
//! proven in bounds ([`verify`]), interpreted ([`interpret`]) and lowered by each emitter in a few hundred lines.

mod addressing;
mod builder;
mod interpret;
mod print;
mod verify;

pub use addressing::{Pointer, PointerPlan, visit_addresses};
pub use builder::{Builder, VectorStep};
pub use interpret::interpret;
pub use verify::{VerifyError, verify};

/// A kernel: one function, called once for each point of its grid.
///
/// Points of the grid may run in any order and at the same time on different threads.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    pub name: String,
    /// Elements per vector register.
    pub lanes: usize,
    pub buffers: Vec<Buffer>,
    /// The extent of each [`Index`]: the first three are the grid, the next is of loops that run once.
    pub extents: Vec<usize>,
    /// How many registers there are.
    pub registers: usize,
    pub body: Vec<Stmt>,
}

/// Memory that a kernel works on, bound to a base pointer for each launch.
#[derive(Clone, PartialEq, Debug)]
pub struct Buffer {
    pub name: String,
    pub access: Access,
    /// Elements that may be touched, from the base on.
    pub elements: usize,
}

/// How a kernel uses a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
    /// Private to the thread; holds nothing between calls.
    Scratch,
}

/// Names a buffer of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BufferId(pub usize);

/// Names a loop counter or a grid coordinate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Index(pub usize);

/// How many grid coordinates every kernel has.
pub const GRID_RANK: usize = 3;

/// The index of every loop that runs once: zero, and in no address.
const ZERO: Index = Index(GRID_RANK);

/// Names a vector register: a variable that may be assigned more than once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reg(pub usize);

/// An element of a buffer: `offset + Σ stride · index`, all counted in elements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    pub buffer: BufferId,
    /// Indices in the order in which their loops nest, outermost first; strides are not zero.
    pub terms: Vec<(Index, i64)>,
    pub offset: i64,
}

impl Address {
    pub fn new(buffer: BufferId, offset: usize) -> Self {
        Address { buffer, terms: Vec::new(), offset: offset as i64 }
    }

    /// This address moved by `stride` elements for each step of `index`.
    pub fn along(&self, index: Index, stride: impl Stride) -> Self {
        let mut address = self.clone();
        let stride = stride.elements();
        match address.terms.binary_search_by_key(&index, |term| term.0) {
            Ok(at) => address.terms[at].1 += stride,
            Err(at) => address.terms.insert(at, (index, stride)),
        }
        address.terms.retain(|term| term.1 != 0);
        address
    }

    /// This address moved by a constant number of elements.
    pub fn plus(&self, elements: impl Stride) -> Self {
        let mut address = self.clone();
        address.offset += elements.elements();
        address
    }
}

/// A distance in elements, of whichever integer type is at hand.
pub trait Stride {
    fn elements(self) -> i64;
}

impl Stride for i64 {
    fn elements(self) -> i64 {
        self
    }
}

impl Stride for usize {
    fn elements(self) -> i64 {
        i64::try_from(self).expect("arrays are smaller than 2^63 elements")
    }
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub enum Stmt {
    Inst(Inst),
    /// Runs `body` for each value of `index` from 0 to its extent.
    Loop {
        index: Index,
        body: Vec<Stmt>,
    },
    /// Runs `then` where `index < below`, `otherwise` elsewhere.
    If {
        index: Index,
        below: usize,
        then: Vec<Stmt>,
        otherwise: Vec<Stmt>,
    },
}

/// One vector instruction.
#[derive(Clone, PartialEq, Debug)]
pub enum Inst {
    /// `lanes` consecutive elements; the register's further lanes become zero.
    Load {
        dst: Reg,
        at: Address,
        lanes: usize,
    },
    /// A full vector of `f16` values, widened. A buffer's element holds two of them, the first in its lower half.
    LoadHalf {
        dst: Reg,
        at: Address,
    },
    /// One element in every lane.
    Broadcast {
        dst: Reg,
        at: Address,
    },
    /// A constant in every lane.
    Constant {
        dst: Reg,
        value: f32,
    },
    Unary {
        dst: Reg,
        op: Unary,
        x: Reg,
    },
    Binary {
        dst: Reg,
        op: Binary,
        a: Reg,
        b: Reg,
    },
    /// `a · b + c`, fused where the instruction set can.
    Fma {
        dst: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    /// `yes` in the lanes where `a > b`, `no` elsewhere.
    Select {
        dst: Reg,
        a: Reg,
        b: Reg,
        yes: Reg,
        no: Reg,
    },
    /// All lanes of `x` combined, in every lane: the lower half with the upper, then the halves of that, and so
    /// on, so that every emitter rounds alike.
    Reduce {
        dst: Reg,
        op: Binary,
        x: Reg,
    },
    /// The first `lanes` lanes.
    Store {
        src: Reg,
        at: Address,
        lanes: usize,
    },
    /// A hint that the line at `at` is read soon: brings it to the second-level cache.
    Prefetch {
        at: Address,
    },
}

/// A function of one register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unary {
    Copy,
    Neg,
    Abs,
    Sqrt,
    /// To the nearest integer, ties to even.
    Round,
    /// `2^x` for integral `x` in `-126 ..= 127`.
    Exp2,
    /// The unbiased exponent of a positive normal number, as a float.
    Exponent,
    /// A positive normal number scaled into `[1, 2)`.
    Mantissa,
}

/// A function of two registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// `a > b ? a : b`: `b` where either is NaN.
    Max,
    /// `a < b ? a : b`: `b` where either is NaN.
    Min,
}

impl Inst {
    /// The register that the instruction writes.
    pub fn dst(&self) -> Option<Reg> {
        match *self {
            Inst::Load { dst, .. }
            | Inst::LoadHalf { dst, .. }
            | Inst::Broadcast { dst, .. }
            | Inst::Constant { dst, .. }
            | Inst::Unary { dst, .. }
            | Inst::Binary { dst, .. }
            | Inst::Fma { dst, .. }
            | Inst::Select { dst, .. }
            | Inst::Reduce { dst, .. } => Some(dst),
            Inst::Store { .. } | Inst::Prefetch { .. } => None,
        }
    }

    /// The registers that the instruction reads.
    pub fn sources(&self) -> impl Iterator<Item = Reg> + use<> {
        let sources = match *self {
            Inst::Load { .. }
            | Inst::LoadHalf { .. }
            | Inst::Broadcast { .. }
            | Inst::Constant { .. }
            | Inst::Prefetch { .. } => [None; 4],
            Inst::Unary { x, .. } | Inst::Reduce { x, .. } => [Some(x), None, None, None],
            Inst::Binary { a, b, .. } => [Some(a), Some(b), None, None],
            Inst::Fma { a, b, c, .. } => [Some(a), Some(b), Some(c), None],
            Inst::Select { a, b, yes, no, .. } => [a, b, yes, no].map(Some),
            Inst::Store { src, .. } => [Some(src), None, None, None],
        };
        sources.into_iter().flatten()
    }

    /// The address that the instruction touches.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Inst::Load { at, .. }
            | Inst::LoadHalf { at, .. }
            | Inst::Broadcast { at, .. }
            | Inst::Store { at, .. }
            | Inst::Prefetch { at } => Some(at),
            _ => None,
        }
    }
}

impl Kernel {
    /// The extents of the grid.
    pub fn grid(&self) -> [usize; GRID_RANK] {
        [self.extents[0], self.extents[1], self.extents[2]]
    }

    /// The scratch memory each thread must bring, in elements.
    pub fn scratch_elements(&self) -> usize {
        self.buffers.iter().filter(|b| b.access == Access::Scratch).map(|b| b.elements).sum()
    }
}

/// An integer that is affine in the loop indices: a coordinate in a view.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Affine {
    pub terms: Vec<(Index, i64)>,
    pub offset: i64,
}

impl Affine {
    pub fn constant(offset: usize) -> Self {
        Affine { terms: Vec::new(), offset: offset.elements() }
    }

    /// This coordinate times `factor`.
    pub fn times(&self, factor: impl Stride) -> Self {
        let factor = factor.elements();
        let terms = self.terms.iter().map(|&(index, stride)| (index, stride * factor)).collect();
        Affine { terms, offset: self.offset * factor }
    }

    /// This coordinate, which steps by multiples of `unit`, counted in those.
    pub fn divided_by(&self, unit: usize) -> Self {
        let unit = unit.elements();
        let terms = self.terms.iter().map(|&(index, stride)| (index, stride / unit)).collect();
        Affine { terms, offset: self.offset / unit }
    }

    /// This coordinate moved by `stride` for each step of `index`.
    pub fn along(&self, index: Index, stride: impl Stride) -> Self {
        let mut terms = self.terms.clone();
        terms.push((index, stride.elements()));
        Affine { terms, offset: self.offset }
    }

    /// The sum of two coordinates.
    pub fn sum(&self, other: &Affine) -> Self {
        let moved = self.plus(other.offset);
        other.terms.iter().fold(moved, |sum, &(index, stride)| sum.along(index, stride))
    }

    /// This coordinate moved by a constant.
    pub fn plus(&self, distance: impl Stride) -> Self {
        Affine { terms: self.terms.clone(), offset: self.offset + distance.elements() }
    }
}

impl From<Index> for Affine {
    fn from(index: Index) -> Self {
        Affine { terms: vec![(index, 1)], offset: 0 }
    }
}

impl Address {
    /// This address moved by `coordinate` steps of `stride` elements.
    pub fn at(&self, coordinate: &Affine, stride: impl Stride) -> Self {
        let stride = stride.elements();
        let moved = self.plus(coordinate.offset * stride);
        coordinate.terms.iter().fold(moved, |address, &(index, step)| address.along(index, step * stride))
    }
}
