//! Writing kernels: a builder whose calls read like the loop nest they make.

use super::{
    Access, Address, Affine, Binary, Buffer, BufferId, GRID_RANK, Index, Inst, Kernel, Reg, Stmt, Unary, ZERO,
};

/// Builds a [`Kernel`] statement by statement.
pub struct Builder {
    kernel: Kernel,
    /// The statement lists being filled, outermost first.
    blocks: Vec<Vec<Stmt>>,
}

impl Builder {
    /// A kernel of one grid point until [`Builder::grid`] says otherwise.
    pub fn new(name: impl Into<String>, lanes: usize) -> Self {
        Builder {
            kernel: Kernel {
                name: name.into(),
                lanes,
                buffers: Vec::new(),
                extents: vec![1; GRID_RANK + 1],
                registers: 0,
                body: Vec::new(),
            },
            blocks: vec![Vec::new()],
        }
    }

    pub fn lanes(&self) -> usize {
        self.kernel.lanes
    }

    /// Declares the extent of a grid coordinate (0, 1 or 2) and names it.
    pub fn grid(&mut self, coordinate: usize, extent: usize) -> Index {
        assert!(coordinate < GRID_RANK, "a grid has {GRID_RANK} coordinates");
        self.kernel.extents[coordinate] = extent;
        Index(coordinate)
    }

    /// Declares a buffer; its first element.
    pub fn buffer(&mut self, name: &str, access: Access, elements: usize) -> Address {
        self.kernel.buffers.push(Buffer { name: name.to_owned(), access, elements });
        Address::new(BufferId(self.kernel.buffers.len() - 1), 0)
    }

    /// A loop over `0 .. extent`. An extent of one makes no loop, zero no code.
    pub fn repeat(&mut self, extent: usize, body: impl FnOnce(&mut Self, Index)) {
        if extent == 0 {
            return;
        }
        if extent == 1 {
            return body(self, ZERO);
        }
        let index = Index(self.kernel.extents.len());
        self.kernel.extents.push(extent);
        let body = self.block(|k| body(k, index));
        self.push(Stmt::Loop { index, body });
    }

    /// An address without the indices that are always zero, so that equal addresses are written alike.
    fn reduced(&self, mut at: Address) -> Address {
        at.terms.retain(|(index, _)| self.kernel.extents[index.0] > 1);
        at
    }

    /// Code for `index < below` and for the rest. A branch that the extent of `index` rules out makes no code.
    pub fn branch(
        &mut self,
        index: Index,
        below: usize,
        then: impl FnOnce(&mut Self),
        otherwise: impl FnOnce(&mut Self),
    ) {
        if below >= self.kernel.extents[index.0] {
            return then(self);
        }
        if below == 0 {
            return otherwise(self);
        }
        let then = self.block(then);
        let otherwise = self.block(otherwise);
        self.push(Stmt::If { index, below, then, otherwise });
    }

    fn block(&mut self, fill: impl FnOnce(&mut Self)) -> Vec<Stmt> {
        self.blocks.push(Vec::new());
        fill(self);
        self.blocks.pop().expect("pushed above")
    }

    fn push(&mut self, stmt: Stmt) {
        self.blocks.last_mut().expect("the outermost block stays").push(stmt);
    }

    /// A new register; it holds nothing until assigned.
    pub fn register(&mut self) -> Reg {
        self.kernel.registers += 1;
        Reg(self.kernel.registers - 1)
    }

    fn define(&mut self, inst: impl FnOnce(Reg) -> Inst) -> Reg {
        let dst = self.register();
        self.push(Stmt::Inst(inst(dst)));
        dst
    }

    /// A full vector.
    pub fn load(&mut self, at: Address) -> Reg {
        let lanes = self.lanes();
        self.load_lanes(at, lanes)
    }

    /// The first `lanes` elements; zeros in the other lanes.
    pub fn load_lanes(&mut self, at: Address, lanes: usize) -> Reg {
        let at = self.reduced(at);
        self.define(|dst| Inst::Load { dst, at, lanes })
    }

    /// A full vector of `f16` values, two in each element of the buffer.
    pub fn load_half(&mut self, at: Address) -> Reg {
        let at = self.reduced(at);
        self.define(|dst| Inst::LoadHalf { dst, at })
    }

    pub fn broadcast(&mut self, at: Address) -> Reg {
        let at = self.reduced(at);
        self.define(|dst| Inst::Broadcast { dst, at })
    }

    pub fn constant(&mut self, value: f32) -> Reg {
        self.define(|dst| Inst::Constant { dst, value })
    }

    pub fn unary(&mut self, op: Unary, x: Reg) -> Reg {
        self.define(|dst| Inst::Unary { dst, op, x })
    }

    pub fn binary(&mut self, op: Binary, a: Reg, b: Reg) -> Reg {
        self.define(|dst| Inst::Binary { dst, op, a, b })
    }

    pub fn add(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Binary::Add, a, b)
    }

    pub fn sub(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Binary::Sub, a, b)
    }

    pub fn mul(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Binary::Mul, a, b)
    }

    pub fn div(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Binary::Div, a, b)
    }

    pub fn max(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Binary::Max, a, b)
    }

    pub fn min(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Binary::Min, a, b)
    }

    /// `a · b + c`
    pub fn fma(&mut self, a: Reg, b: Reg, c: Reg) -> Reg {
        self.define(|dst| Inst::Fma { dst, a, b, c })
    }

    /// `yes` where `a > b`, `no` elsewhere.
    pub fn select(&mut self, a: Reg, b: Reg, yes: Reg, no: Reg) -> Reg {
        self.define(|dst| Inst::Select { dst, a, b, yes, no })
    }

    /// All lanes of `x` combined, in every lane.
    pub fn reduce(&mut self, op: Binary, x: Reg) -> Reg {
        self.define(|dst| Inst::Reduce { dst, op, x })
    }

    /// Assigns `dst = src`.
    pub fn assign(&mut self, dst: Reg, src: Reg) {
        self.push(Stmt::Inst(Inst::Unary { dst, op: Unary::Copy, x: src }));
    }

    /// Assigns a constant.
    pub fn assign_constant(&mut self, dst: Reg, value: f32) {
        self.push(Stmt::Inst(Inst::Constant { dst, value }));
    }

    /// `acc = a · b + acc`
    pub fn accumulate(&mut self, acc: Reg, a: Reg, b: Reg) {
        self.push(Stmt::Inst(Inst::Fma { dst: acc, a, b, c: acc }));
    }

    /// `acc = acc ∘ x`
    pub fn combine(&mut self, op: Binary, acc: Reg, x: Reg) {
        self.push(Stmt::Inst(Inst::Binary { dst: acc, op, a: acc, b: x }));
    }

    pub fn store(&mut self, src: Reg, at: Address) {
        let lanes = self.lanes();
        self.store_lanes(src, at, lanes);
    }

    /// The first `lanes` lanes.
    pub fn store_lanes(&mut self, src: Reg, at: Address, lanes: usize) {
        let at = self.reduced(at);
        self.push(Stmt::Inst(Inst::Store { src, at, lanes }));
    }

    pub fn prefetch(&mut self, at: Address) {
        let at = self.reduced(at);
        self.push(Stmt::Inst(Inst::Prefetch { at }));
    }

    /// Runs `body` for each vector of `extent` contiguous elements: a loop over the full vectors, then the
    /// rest with fewer lanes. `body` gets the step's index (none for the rest), the offset of a step's first
    /// element apart from the index, and the lanes.
    pub fn vectors(&mut self, extent: usize, mut body: impl FnMut(&mut Self, VectorStep)) {
        let lanes = self.lanes();
        self.repeat(extent / lanes, |k, index| {
            body(k, VectorStep { index: Some(index), offset: 0, lanes, stride: lanes })
        });
        if !extent.is_multiple_of(lanes) {
            let offset = extent / lanes * lanes;
            body(self, VectorStep { index: None, offset, lanes: extent - offset, stride: lanes });
        }
    }

    /// The finished kernel.
    pub fn finish(mut self) -> Kernel {
        self.kernel.body = self.blocks.pop().expect("the outermost block stays");
        self.kernel
    }
}

/// One step of [`Builder::vectors`].
#[derive(Clone, Copy, Debug)]
pub struct VectorStep {
    index: Option<Index>,
    offset: usize,
    /// How many elements this step covers.
    pub lanes: usize,
    stride: usize,
}

impl VectorStep {
    /// The step's first element as a coordinate.
    pub fn coordinate(&self) -> Affine {
        match self.index {
            Some(index) => Affine::default().along(index, self.stride),
            None => Affine::constant(self.offset),
        }
    }

    /// The step's first element, counted from `base`.
    pub fn at(&self, base: &Address) -> Address {
        match self.index {
            Some(index) => base.along(index, self.stride),
            None => base.plus(self.offset),
        }
    }
}
