//! Kernels to Cranelift's intermediate representation: 128-bit vectors, on any CPU that Cranelift knows.
//!
//! A register of the loop language is one `F32X4`. The function takes the table of buffer pointers and the grid
//! point: `fn(*const *mut f32, usize, usize, usize)`.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    self, AbiParam, BlockArg, Endianness, InstBuilder, MemFlagsData, Signature, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

use super::vector::{
    Access, Address, Binary, BufferId, Index, Inst, Kernel, Pointer, PointerPlan, Reg, Stmt, Unary,
};
use super::vector::{GRID_RANK, visit_addresses};

/// Elements per vector register of kernels that this emitter takes.
pub const LANES: usize = 4;

/// Bytes per element.
const ELEMENT: i64 = 4;

/// The signature of every kernel function.
pub fn signature(call_convention: CallConv) -> Signature {
    let mut signature = Signature::new(call_convention);
    signature.params = vec![AbiParam::new(types::I64); 1 + GRID_RANK];
    signature
}

/// Writes a verified kernel into `function`, whose signature is [`signature`]'s.
///
/// # Panics
/// If the kernel's vectors are not [`LANES`] wide.
pub fn emit(
    kernel: &Kernel,
    function: &mut ir::Function,
    context: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
    has_fma: bool,
) {
    assert_eq!(kernel.lanes, LANES, "kernel '{}' is not 128 bits wide", kernel.name);
    let mut builder = FunctionBuilder::new(function, context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let params = builder.block_params(entry).to_vec();
    let registers = (0..kernel.registers).map(|_| builder.declare_var(types::F32X4)).collect();
    let mut emitter = Emitter {
        kernel,
        b: builder,
        has_fma,
        registers,
        pointers: HashMap::new(),
        counters: HashMap::new(),
        scope: (0..GRID_RANK).map(Index).collect(),
    };
    for coordinate in 0..GRID_RANK {
        emitter.counters.insert(Index(coordinate), params[1 + coordinate]);
    }
    emitter.entry_pointers(params[0]);
    emitter.block(&kernel.body);
    let mut b = emitter.b;
    b.ins().return_(&[]);
    b.seal_all_blocks();
    b.finalize(config);
}

struct Emitter<'a> {
    kernel: &'a Kernel,
    b: FunctionBuilder<'a>,
    has_fma: bool,
    registers: Vec<Variable>,
    pointers: HashMap<Pointer, Variable>,
    counters: HashMap<Index, Value>,
    /// The indices in scope, outermost first.
    scope: Vec<Index>,
}

impl Emitter<'_> {
    /// Loads the base pointers and adds the grid's terms to them.
    fn entry_pointers(&mut self, table: Value) {
        for id in 0..self.kernel.buffers.len() {
            let offset = i32::try_from(8 * id).expect("kernels have few buffers");
            let base = self.b.ins().load(types::I64, MemFlagsData::trusted().with_readonly(), table, offset);
            self.set_pointer(Pointer::base(BufferId(id)), base);
        }
        let mut wanted = Vec::new();
        visit_addresses(&self.kernel.body, &mut |address| {
            let terms = address.terms.iter().filter(|term| term.0.0 < GRID_RANK).copied().collect();
            let pointer = Pointer { buffer: address.buffer, terms };
            if !wanted.contains(&pointer) {
                wanted.push(pointer);
            }
        });
        for pointer in wanted {
            if pointer.terms.is_empty() {
                continue;
            }
            let mut value = self.pointer(&Pointer::base(pointer.buffer));
            for &(index, stride) in &pointer.terms {
                let distance = self.b.ins().imul_imm_s(self.counters[&index], stride * ELEMENT);
                value = self.b.ins().iadd(value, distance);
            }
            self.set_pointer(pointer, value);
        }
    }

    fn set_pointer(&mut self, pointer: Pointer, value: Value) {
        let variable = self.b.declare_var(types::I64);
        self.b.def_var(variable, value);
        self.pointers.insert(pointer, variable);
    }

    fn pointer(&mut self, pointer: &Pointer) -> Value {
        self.b.use_var(self.pointers[pointer])
    }

    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Inst(inst) => self.inst(inst),
                Stmt::Loop { index, body } => self.repeat(*index, body),
                Stmt::If { index, below, then, otherwise } => self.branch(*index, *below, then, otherwise),
            }
        }
    }

    fn repeat(&mut self, index: Index, body: &[Stmt]) {
        let extent = self.kernel.extents[index.0];
        let plans = PointerPlan::for_loop(index, body, &self.scope);
        for plan in &plans {
            let start = self.pointer(&plan.start);
            self.set_pointer(plan.pointer.clone(), start);
        }
        let head = self.b.create_block();
        let after = self.b.create_block();
        let counter = self.b.append_block_param(head, types::I64);
        let zero = self.b.ins().iconst(types::I64, 0);
        self.b.ins().jump(head, &[BlockArg::Value(zero)]);
        self.b.switch_to_block(head);
        self.counters.insert(index, counter);
        self.scope.push(index);
        self.block(body);
        self.scope.pop();
        for plan in &plans {
            let variable = self.pointers[&plan.pointer];
            let value = self.b.use_var(variable);
            let next = self.b.ins().iadd_imm_s(value, plan.stride * ELEMENT);
            self.b.def_var(variable, next);
        }
        let next = self.b.ins().iadd_imm_s(counter, 1);
        let again = self.b.ins().icmp_imm_s(IntCC::NotEqual, next, extent as i64);
        self.b.ins().brif(again, head, &[BlockArg::Value(next)], after, &[]);
        self.b.switch_to_block(after);
    }

    fn branch(&mut self, index: Index, below: usize, then: &[Stmt], otherwise: &[Stmt]) {
        let [then_block, else_block, after] = [(); 3].map(|()| self.b.create_block());
        let below = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, self.counters[&index], below as i64);
        self.b.ins().brif(below, then_block, &[], else_block, &[]);
        for (block, body) in [(then_block, then), (else_block, otherwise)] {
            self.b.switch_to_block(block);
            self.block(body);
            self.b.ins().jump(after, &[]);
        }
        self.b.switch_to_block(after);
    }

    fn get(&mut self, reg: Reg) -> Value {
        self.b.use_var(self.registers[reg.0])
    }

    /// The pointer of an address's class, and the constant number of bytes that remains.
    fn address(&mut self, at: &Address) -> (Value, i32) {
        let pointer = self.pointer(&Pointer::of(at));
        (pointer, i32::try_from(at.offset * ELEMENT).expect("verified"))
    }

    fn inst(&mut self, inst: &Inst) {
        let value = match inst {
            Inst::Load { at, lanes, .. } => self.load(at, *lanes),
            Inst::LoadHalf { at, .. } => self.load_half(at),
            Inst::Broadcast { at, .. } => {
                let (base, offset) = self.address(at);
                let flags = self.load_flags(at);
                let scalar = self.b.ins().load(types::F32, flags, base, offset);
                self.b.ins().splat(types::F32X4, scalar)
            }
            Inst::Constant { value, .. } => self.constant(*value),
            Inst::Unary { op, x, .. } => {
                let x = self.get(*x);
                self.unary(*op, x)
            }
            Inst::Binary { op, a, b, .. } => {
                let (a, b) = (self.get(*a), self.get(*b));
                self.binary(*op, a, b)
            }
            Inst::Fma { a, b, c, .. } => {
                let [a, b, c] = [*a, *b, *c].map(|reg| self.get(reg));
                if self.has_fma {
                    self.b.ins().fma(a, b, c)
                } else {
                    let product = self.b.ins().fmul(a, b);
                    self.b.ins().fadd(product, c)
                }
            }
            Inst::Select { a, b, yes, no, .. } => {
                let [a, b, yes, no] = [*a, *b, *yes, *no].map(|reg| self.get(reg));
                self.select_less(b, a, yes, no)
            }
            Inst::Reduce { op, x, .. } => {
                let x = self.get(*x);
                let swapped = self.shuffle(x, [2, 3, 0, 1]);
                let pairs = self.binary(*op, x, swapped);
                let swapped = self.shuffle(pairs, [1, 0, 3, 2]);
                let all = self.binary(*op, pairs, swapped);
                self.shuffle(all, [0; LANES])
            }
            Inst::Store { src, at, lanes } => {
                let src = self.get(*src);
                return self.store(src, at, *lanes);
            }
            // Cranelift has no prefetch; it is a hint.
            Inst::Prefetch { .. } => return,
        };
        let dst = inst.dst().expect("stores and prefetches returned");
        self.b.def_var(self.registers[dst.0], value);
    }

    fn constant(&mut self, value: f32) -> Value {
        let bytes: Vec<u8> = value.to_le_bytes().repeat(LANES);
        let handle = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(types::F32X4, handle)
    }

    fn integers(&mut self, value: i32) -> Value {
        let bytes: Vec<u8> = value.to_le_bytes().repeat(LANES);
        let handle = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(types::I32X4, handle)
    }

    fn cast(&mut self, to: ir::Type, value: Value) -> Value {
        self.b.ins().bitcast(to, lane_order(), value)
    }

    fn shuffle(&mut self, x: Value, lanes: [u8; LANES]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|lane| (0..4).map(move |byte| 4 * lane + byte)).collect();
        let mask = self.b.func.dfg.immediates.push(bytes.into());
        let x = self.cast(types::I8X16, x);
        let shuffled = self.b.ins().shuffle(x, x, mask);
        self.cast(types::F32X4, shuffled)
    }

    /// `yes` where `a < b`: the form that Cranelift turns into one `minps` or `maxps` where it is one.
    fn select_less(&mut self, a: Value, b: Value, yes: Value, no: Value) -> Value {
        let less = self.b.ins().fcmp(FloatCC::LessThan, a, b);
        let less = self.cast(types::F32X4, less);
        self.b.ins().bitselect(less, yes, no)
    }

    fn binary(&mut self, op: Binary, a: Value, b: Value) -> Value {
        match op {
            Binary::Add => self.b.ins().fadd(a, b),
            Binary::Sub => self.b.ins().fsub(a, b),
            Binary::Mul => self.b.ins().fmul(a, b),
            Binary::Div => self.b.ins().fdiv(a, b),
            Binary::Max => self.select_less(b, a, a, b),
            Binary::Min => self.select_less(a, b, a, b),
        }
    }

    fn unary(&mut self, op: Unary, x: Value) -> Value {
        match op {
            Unary::Copy => x,
            Unary::Neg => self.b.ins().fneg(x),
            Unary::Abs => self.b.ins().fabs(x),
            Unary::Sqrt => self.b.ins().sqrt(x),
            Unary::Round => self.b.ins().nearest(x),
            Unary::Exp2 => {
                let n = self.b.ins().fcvt_to_sint_sat(types::I32X4, x);
                let bias = self.integers(127);
                let biased = self.b.ins().iadd(n, bias);
                let bits = self.b.ins().ishl_imm_u(biased, 23);
                self.cast(types::F32X4, bits)
            }
            Unary::Exponent => {
                let bits = self.cast(types::I32X4, x);
                let biased = self.b.ins().ushr_imm_u(bits, 23);
                let bias = self.integers(127);
                let exponent = self.b.ins().isub(biased, bias);
                self.b.ins().fcvt_from_sint(types::F32X4, exponent)
            }
            Unary::Mantissa => {
                let bits = self.cast(types::I32X4, x);
                let mask = self.integers(0x007f_ffff);
                let fraction = self.b.ins().band(bits, mask);
                let one = self.integers(0x3f80_0000);
                let scaled = self.b.ins().bor(fraction, one);
                self.cast(types::F32X4, scaled)
            }
        }
    }

    fn load(&mut self, at: &Address, lanes: usize) -> Value {
        let (base, offset) = self.address(at);
        let flags = self.load_flags(at);
        if lanes == LANES {
            return self.b.ins().load(types::F32X4, flags, base, offset);
        }
        let mut value = self.constant(0.0);
        for lane in 0..lanes {
            let element = self.b.ins().load(types::F32, flags, base, offset + (lane as i64 * ELEMENT) as i32);
            value = self.b.ins().insertlane(value, element, lane as u8);
        }
        value
    }

    /// Four `f16` values, widened by integer operations: the exponent and mantissa move up to those of an `f32` and
    /// the exponent's bias is made up for by a multiplication, which is exact for subnormal numbers too. Infinities
    /// and NaN do not occur in what kernels read so.
    fn load_half(&mut self, at: &Address) -> Value {
        let (base, offset) = self.address(at);
        let flags = self.load_flags(at);
        let bits = self.b.ins().uload16x4(flags, base, offset);
        let magnitude_mask = self.integers(0x7fff);
        let magnitude = self.b.ins().band(bits, magnitude_mask);
        let sign = self.b.ins().bxor(bits, magnitude);
        let scaled = self.b.ins().ishl_imm_u(magnitude, 13);
        let scaled = self.cast(types::F32X4, scaled);
        let bias = self.constant(f32::from_bits((127 + 127 - 15) << 23));
        let magnitude = self.b.ins().fmul(scaled, bias);
        let sign = self.b.ins().ishl_imm_u(sign, 16);
        let sign = self.cast(types::F32X4, sign);
        self.b.ins().bor(magnitude, sign)
    }

    /// Nobody writes a buffer that is read while the kernel runs, so loads from it may move to their use.
    fn load_flags(&self, at: &Address) -> MemFlagsData {
        match self.kernel.buffers[at.buffer.0].access {
            Access::Read => flags().with_readonly().with_can_move(),
            Access::Write | Access::Scratch => flags(),
        }
    }

    fn store(&mut self, src: Value, at: &Address, lanes: usize) {
        let (base, offset) = self.address(at);
        if lanes == LANES {
            self.b.ins().store(flags(), src, base, offset);
            return;
        }
        for lane in 0..lanes {
            let element = self.b.ins().extractlane(src, lane as u8);
            self.b.ins().store(flags(), element, base, offset + (lane as i64 * ELEMENT) as i32);
        }
    }
}

/// Accesses are in bounds, which the kernel verifier has proven, but only element-aligned.
fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

fn lane_order() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}
