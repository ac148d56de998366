//! Random kernels: every emitter leaves in memory what the interpreter does, bit for bit.

use kiln::codegen::module::CodegenFailure;
use kiln::codegen::target::InstructionSet;
use kiln::codegen::vector::{Access, Address, Binary, Builder, Index, Inst, Kernel, Reg, Stmt, Unary};
use kiln::codegen::x64::EmitError;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::compare::{CompareError, compare, instruction_sets};

/// The choices that make a kernel: each takes the next number, or zero when there are none left.
struct Tape<'a> {
    choices: std::slice::Iter<'a, u16>,
}

impl Tape<'_> {
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.choices.next().copied().unwrap_or(0)) % count
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn is_done(&self) -> bool {
        self.choices.len() == 0
    }
}

/// Makes a kernel that the verifier takes.
struct Generator<'a> {
    tape: Tape<'a>,
    lanes: usize,
    buffers: Vec<Address>,
    /// The elements that accesses to each buffer reach.
    reach: Vec<i64>,
    /// The indices in scope, with their extents.
    scope: Vec<(Index, usize)>,
    /// The registers that hold something.
    assigned: Vec<Reg>,
    /// Loops around the current one.
    depth: usize,
}

const INPUTS: [usize; 2] = [0, 1];
const OUTPUT: usize = 2;
const SCRATCH: usize = 3;

fn generate(choices: &[u16], lanes: usize) -> Kernel {
    let mut tape = Tape { choices: choices.iter() };
    let mut k = Builder::new("random", lanes);
    let buffers = [("x", Access::Read), ("y", Access::Read), ("out", Access::Write), ("s", Access::Scratch)];
    let buffers: Vec<Address> = buffers.iter().map(|(name, access)| k.buffer(name, *access, 0)).collect();
    let scope = (0..3)
        .map(|coordinate| {
            let extent = 1 + tape.below(3);
            (k.grid(coordinate, extent), extent)
        })
        .collect();
    let reach = vec![0; buffers.len()];
    let mut generator = Generator { tape, lanes, buffers, reach, scope, assigned: Vec::new(), depth: 0 };
    while !generator.tape.is_done() {
        generator.statement(&mut k);
    }
    for reg in generator.assigned.clone() {
        generator.store(&mut k, reg);
    }
    let mut kernel = k.finish();
    for (buffer, reach) in kernel.buffers.iter_mut().zip(&generator.reach) {
        buffer.elements = *reach as usize;
    }
    kernel
}

impl Generator<'_> {
    fn block(&mut self, k: &mut Builder) {
        let known = self.assigned.len();
        for _ in 0..1 + self.tape.below(12) {
            self.statement(k);
        }
        self.assigned.truncate(known);
    }

    fn statement(&mut self, k: &mut Builder) {
        match self.tape.below(20) {
            0 | 1 => self.new_value(k),
            2 if self.depth < 3 => self.repeat(k),
            3 => self.branch(k),
            4 | 5 => self.tile(k),
            6..=8 => {
                let src = self.any(k);
                self.store(k, src);
            }
            9 => {
                let buffer = self.tape.below(self.buffers.len());
                let at = self.address(buffer, 1);
                k.prefetch(at);
            }
            10..=13 => {
                let (acc, a, b) = (self.any(k), self.any(k), self.any(k));
                match self.tape.below(4) {
                    0 => k.assign(acc, a),
                    1 => k.assign_constant(acc, 0.5),
                    2 => k.combine(Binary::Add, acc, a),
                    _ => k.accumulate(acc, a, b),
                }
            }
            _ => self.computed(k),
        }
    }

    /// A value from memory, or a constant.
    fn new_value(&mut self, k: &mut Builder) {
        let buffer = self.tape.pick(&[INPUTS[0], INPUTS[1], SCRATCH]);
        let reg = match self.tape.below(8) {
            0 => k.constant(0.0),
            1 => {
                let value = self.tape.pick(&[1.0, -0.0, 1e30, f32::INFINITY, f32::NAN, -2.5]);
                k.constant(value)
            }
            2 | 3 => {
                let at = self.address(buffer, 1);
                k.broadcast(at)
            }
            4 => {
                let lanes = 1 + self.tape.below(self.lanes);
                let at = self.address(buffer, lanes);
                k.load_lanes(at, lanes)
            }
            _ => {
                let at = self.address(buffer, self.lanes);
                k.load(at)
            }
        };
        self.assigned.push(reg);
    }

    fn computed(&mut self, k: &mut Builder) {
        let [a, b, c, d] = [(); 4].map(|()| self.any(k));
        let op =
            self.tape.pick(&[Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min]);
        let reg = match self.tape.below(16) {
            0 => k.unary(Unary::Neg, a),
            1 => k.unary(Unary::Abs, a),
            2 => k.unary(Unary::Sqrt, a),
            3 => k.unary(Unary::Round, a),
            4 => {
                let exponent = self.clamped(k, a, [-126.0, 127.0]);
                let exponent = k.unary(Unary::Round, exponent);
                k.unary(Unary::Exp2, exponent)
            }
            5 => {
                let normal = self.clamped(k, a, [1e-30, 1e30]);
                k.unary(Unary::Exponent, normal)
            }
            6 => {
                let normal = self.clamped(k, a, [1e-30, 1e30]);
                k.unary(Unary::Mantissa, normal)
            }
            7 | 8 => k.select(a, b, c, d),
            9 => k.reduce(op, a),
            10..=12 => k.fma(a, b, c),
            _ => k.binary(op, a, b),
        };
        self.assigned.push(reg);
    }

    /// Between the bounds, the lower one for NaN.
    fn clamped(&mut self, k: &mut Builder, x: Reg, [low, high]: [f32; 2]) -> Reg {
        let (low, high) = (k.constant(low), k.constant(high));
        let x = k.max(x, low);
        k.min(x, high)
    }

    /// Accumulators that a loop keeps up to date, as in a matrix product: more than there are registers, at times.
    fn tile(&mut self, k: &mut Builder) {
        if self.depth > 2 {
            return self.computed(k);
        }
        let rows = 1 + self.tape.below(12);
        let columns = 1 + self.tape.below(3);
        let extent = 1 + self.tape.below(4);
        let tile: Vec<Reg> = (0..rows * columns).map(|_| k.constant(0.0)).collect();
        k.repeat(extent, |k, index| {
            self.scope.push((index, extent));
            let weights: Vec<Reg> = (0..columns)
                .map(|_| {
                    let at = self.address(INPUTS[1], self.lanes);
                    k.load(at)
                })
                .collect();
            for row in tile.chunks(columns) {
                let at = self.address(INPUTS[0], 1);
                let x = k.broadcast(at);
                for (&acc, &weight) in row.iter().zip(&weights) {
                    k.accumulate(acc, x, weight);
                }
            }
            self.scope.pop();
        });
        let bias = self.any(k);
        for &acc in &tile {
            k.combine(Binary::Max, acc, bias);
            self.store(k, acc);
        }
        self.assigned.extend(tile.first());
    }

    fn repeat(&mut self, k: &mut Builder) {
        let extent = self.tape.below(5);
        k.repeat(extent, |k, index| {
            self.scope.push((index, extent));
            self.depth += 1;
            self.block(k);
            self.depth -= 1;
            self.scope.pop();
        });
    }

    fn branch(&mut self, k: &mut Builder) {
        let (index, extent) = self.tape.pick(&self.scope.clone());
        let below = self.tape.below(extent + 1);
        let generator = std::cell::RefCell::new(self);
        k.branch(index, below, |k| generator.borrow_mut().block(k), |k| generator.borrow_mut().block(k));
    }

    fn store(&mut self, k: &mut Builder, src: Reg) {
        let buffer = self.tape.pick(&[OUTPUT, SCRATCH]);
        let lanes = if self.tape.below(2) == 0 { self.lanes } else { 1 + self.tape.below(self.lanes) };
        let at = self.address(buffer, lanes);
        k.store_lanes(src, at, lanes);
    }

    fn any(&mut self, k: &mut Builder) -> Reg {
        if self.assigned.is_empty() {
            self.new_value(k);
        }
        let recent = self.tape.below(self.assigned.len());
        self.assigned[self.assigned.len() - 1 - recent]
    }

    /// An address such that `lanes` elements stay in the buffer, which grows as needed.
    fn address(&mut self, buffer: usize, lanes: usize) -> Address {
        let mut at = self.buffers[buffer].clone();
        let mut low = 0;
        let mut high = 0;
        for (index, extent) in self.scope.clone() {
            let stride = self.tape.pick(&[0, 0, 1, self.lanes as i64, -1, 37, -(self.lanes as i64), 1000]);
            at = at.along(index, stride);
            let last = stride * (extent as i64 - 1).max(0);
            low += last.min(0);
            high += last.max(0);
        }
        let start = self.tape.pick(&[0, 1, self.lanes, 50]) as i64;
        self.reach[buffer] = self.reach[buffer].max(start - low + high + lanes as i64);
        at.plus(start - low)
    }
}

/// Values of every size, with zeros and infinities among them.
fn fill(kernel: &Kernel, seed: u32) -> Vec<Vec<f32>> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let unit = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        match state % 64 {
            3 => 0.0,
            5 => -0.0,
            7 => f32::INFINITY,
            9 => unit * 1e20,
            _ => unit * 4.0,
        }
    };
    kernel.buffers.iter().map(|buffer| (0..buffer.elements).map(|_| next()).collect()).collect()
}

fn check(isa: InstructionSet, choices: &[u16], seed: u32) -> Result<(), TestCaseError> {
    let kernel = generate(choices, isa.lanes());
    match compare(isa, &kernel, &fill(&kernel, seed)) {
        // Hundreds of live values are refused; whatever else is a fault.
        Ok(()) | Err(CompareError::Refused(CodegenFailure::Assembler(EmitError::Stack { .. }))) => Ok(()),
        Err(error) => Err(TestCaseError::fail(error.to_string())),
    }
}

#[test]
fn emitters_agree_with_the_interpreter() {
    for isa in instruction_sets() {
        let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
        let strategy = (proptest::collection::vec(any::<u16>(), 0..400), any::<u32>());
        let result = TestRunner::new(config).run(&strategy, |(choices, seed)| check(isa, &choices, seed));
        if let Err(error) = result {
            panic!("{error}");
        }
    }
}

/// The generator reaches every instruction; without this, the property above could become empty unnoticed.
#[test]
fn random_kernels_have_every_instruction() {
    let mut seen = std::collections::HashSet::new();
    let mut runner = TestRunner::deterministic();
    let strategy = (proptest::collection::vec(any::<u16>(), 0..400),);
    for _ in 0..200 {
        let (choices,) = strategy.new_tree(&mut runner).expect("a strategy without filters").current();
        visit(&generate(&choices, 8).body, &mut |inst| {
            seen.insert(std::mem::discriminant(inst));
        });
    }
    const KINDS: usize = 10;
    assert_eq!(seen.len(), KINDS);
}

fn visit(body: &[Stmt], seen: &mut impl FnMut(&Inst)) {
    for stmt in body {
        match stmt {
            Stmt::Inst(inst) => seen(inst),
            Stmt::Loop { body, .. } => visit(body, seen),
            Stmt::If { then, otherwise, .. } => {
                visit(then, seen);
                visit(otherwise, seen);
            }
        }
    }
}
