//! The decoded form of a kernel: small, with every name resolved to an index.
//!
//! Immediates and special registers are registers too, filled before a block starts, so that an operand is always an
//! index into one of three register files.

/// A register of 16 or 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct R32(pub u16);

/// A register of 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct R64(pub u16);

/// A predicate register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pred(pub u16);

/// A register of either width.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Register {
    Word(R32),
    Double(R64),
}

/// Integer operations of two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntOp {
    Add,
    Sub,
    Mul,
    MulHi { signed: bool },
    Div { signed: bool },
    Rem { signed: bool },
    Min { signed: bool },
    Max { signed: bool },
    And,
    Or,
    Xor,
    Shl,
    Shr { signed: bool },
}

/// Floating-point operations of two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FloatOp {
    Add,
    Sub,
    Mul,
    Div,
    /// `propagate`: a NaN operand makes the result NaN; otherwise the other operand is the result.
    Min {
        propagate: bool,
    },
    Max {
        propagate: bool,
    },
}

/// Operations of one 32-bit operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnaryOp {
    Not,
    NegInt,
    AbsInt,
    PopCount,
    LeadingZeros,
    ReverseBits,
    Neg,
    Abs,
    Reciprocal,
    Sqrt,
    ReciprocalSqrt,
    Exp2,
    Log2,
    Sine,
    Cosine,
    Tanh,
}

/// Operations of three 32-bit operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TernaryOp {
    /// Multiply-add, low 32 bits.
    Mad,
    Fma {
        flush: bool,
    },
    HalfFma {
        packed: bool,
    },
    /// Bit field extract of `a` from `b`, `c` bits long.
    Extract {
        signed: bool,
    },
    /// Byte permutation of `{b, a}` by the selector `c`.
    Permute,
    /// Bitwise function by truth table.
    Logic {
        table: u8,
    },
    /// Funnel shift of `{b, a}` by `c`.
    FunnelLeft {
        clamp: bool,
    },
    FunnelRight {
        clamp: bool,
    },
}

/// Comparisons. Floating-point ones are ordered unless they end in `OrNan`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    EqOrNan,
    NeOrNan,
    LtOrNan,
    LeOrNan,
    GtOrNan,
    GeOrNan,
    /// Neither operand is NaN.
    Number,
    /// Either operand is NaN.
    Nan,
}

/// How the operands of a comparison are understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    Unsigned(R32, R32),
    Signed(R32, R32),
    Float(R32, R32),
    Half(R32, R32),
    Unsigned64(R64, R64),
    Signed64(R64, R64),
}

/// Operations on predicates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PredOp {
    And,
    Or,
    Xor,
}

/// Conversions between types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Convert {
    /// Integer of `bits` (sign- or zero-extended) into a 32-bit register.
    Extend {
        bits: u32,
        signed: bool,
    },
    FloatFromInt {
        signed: bool,
    },
    IntFromFloat {
        signed: bool,
        rounding: Rounding,
    },
    /// Rounds to an integral value.
    Integral {
        rounding: Rounding,
    },
    HalfFromFloat,
    /// Two halves: the first operand into the upper one.
    HalvesFromFloats,
    FloatFromHalf,
    Tf32FromFloat,
    /// Clamps to [0, 1].
    Saturate,
    Identity,
}

/// Rounding of a float to an integer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

/// Where an access goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    Global {
        /// `.nc`: the kernel promises that nothing writes there while it runs.
        constant: bool,
    },
    Shared,
    Param,
}

/// A register with a constant added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub base: Register,
    pub offset: i64,
}

/// Atomic read-modify-write operations on 32-bit words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtomicOp {
    Add,
    AddFloat,
    Min {
        signed: bool,
    },
    Max {
        signed: bool,
    },
    And,
    Or,
    Xor,
    Exchange,
    /// `old >= operand ? 0 : old + 1`
    Increment,
    CompareAndSwap(R32),
}

/// Which lane a warp shuffle reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shuffle {
    Index,
    Up,
    Down,
    Butterfly,
}

/// What a warp votes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vote {
    All(Pred),
    Any(Pred),
    Ballot(R32),
}

/// The shapes of matrix multiply-add, with f32 accumulators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmaShape {
    /// `m16n8k4`, tf32.
    Tf32K4,
    /// `m16n8k8`, tf32.
    Tf32K8,
    /// `m16n8k8`, f16.
    HalfK8,
    /// `m16n8k16`, f16.
    HalfK16,
    /// `m8n8k4`, f16, four products in a warp.
    HalfQuads { a_by_column: bool, b_by_column: bool },
}

/// One operation.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    Int {
        op: IntOp,
        d: R32,
        a: R32,
        b: R32,
    },
    Int64 {
        op: IntOp,
        d: R64,
        a: R64,
        b: R64,
    },
    Shift64 {
        op: IntOp,
        d: R64,
        a: R64,
        b: R32,
    },
    Mad64 {
        d: R64,
        a: R64,
        b: R64,
        c: R64,
    },
    MulWide {
        signed: bool,
        d: R64,
        a: R32,
        b: R32,
        c: Option<R64>,
    },
    Float {
        op: FloatOp,
        flush: bool,
        d: R32,
        a: R32,
        b: R32,
    },
    Half {
        op: FloatOp,
        packed: bool,
        d: R32,
        a: R32,
        b: R32,
    },
    Unary {
        op: UnaryOp,
        flush: bool,
        d: R32,
        a: R32,
    },
    Not64 {
        d: R64,
        a: R64,
    },
    Neg64 {
        d: R64,
        a: R64,
    },
    Ternary {
        op: TernaryOp,
        d: R32,
        a: R32,
        b: R32,
        c: R32,
    },
    /// Bit field insert of `a` into `b`.
    Insert {
        d: R32,
        a: R32,
        b: R32,
        position: R32,
        length: R32,
    },
    Convert {
        op: Convert,
        d: R32,
        a: R32,
        b: R32,
    },
    Widen {
        signed: bool,
        d: R64,
        a: R32,
    },
    Narrow {
        d: R32,
        a: R64,
        shift: u32,
    },
    Pack64 {
        d: R64,
        low: R32,
        high: R32,
    },
    PackHalves {
        d: R32,
        low: R32,
        high: R32,
    },
    HalfOf {
        d: R32,
        a: R32,
        upper: bool,
    },
    Unpack64 {
        low: R32,
        high: R32,
        a: R64,
    },
    UnpackHalves {
        low: R32,
        high: R32,
        a: R32,
    },
    Move {
        d: R32,
        a: R32,
    },
    Move64 {
        d: R64,
        a: R64,
    },
    Compare {
        comparison: Comparison,
        operands: Compared,
        /// Combines the result with a predicate.
        combine: Option<(PredOp, Pred)>,
        d: Pred,
        /// Receives the combination with the negated result.
        complement: Option<Pred>,
    },
    Select {
        d: R32,
        a: R32,
        b: R32,
        p: Pred,
    },
    Select64 {
        d: R64,
        a: R64,
        b: R64,
        p: Pred,
    },
    Predicates {
        op: PredOp,
        d: Pred,
        a: Pred,
        b: Pred,
    },
    NotPred {
        d: Pred,
        a: Pred,
    },
    MovePred {
        d: Pred,
        a: Pred,
    },
    /// `bytes` and `signed` of one element.
    Load {
        space: Space,
        bytes: u32,
        signed: bool,
        d: Box<[Register]>,
        address: Address,
    },
    Store {
        space: Space,
        bytes: u32,
        values: Box<[Register]>,
        address: Address,
    },
    Atomic {
        op: AtomicOp,
        d: Option<R32>,
        address: Address,
        b: R32,
    },
    Shuffle {
        mode: Shuffle,
        d: R32,
        valid: Option<Pred>,
        a: R32,
        b: R32,
        clamp: R32,
        members: R32,
    },
    Vote {
        vote: Vote,
        a: Pred,
        members: R32,
    },
    /// `size`: the bytes to copy, the rest up to `bytes` being zero.
    CopyAsync {
        bytes: u32,
        to: Address,
        from: Address,
        size: Option<R32>,
    },
    CommitGroup,
    WaitGroup {
        pending: u32,
    },
    WaitAll,
    LoadMatrix {
        transposed: bool,
        d: Box<[R32]>,
        address: Address,
    },
    Mma {
        shape: MmaShape,
        d: Box<[R32]>,
        a: Box<[R32]>,
        b: Box<[R32]>,
        c: Box<[R32]>,
    },
    Branch {
        target: u32,
        uniform: bool,
    },
    Exit,
    Barrier,
    WarpBarrier {
        members: R32,
    },
    /// Hints and fences that change nothing here.
    Nothing,
    Trap,
}

/// An operation under its guard.
#[derive(Clone, PartialEq, Debug)]
pub struct Instruction {
    pub guard: Option<(Pred, bool)>,
    pub op: Op,
    pub line: u32,
}
