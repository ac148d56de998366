//! The loop language's instructions in machine code.

use iced_x86::{Code, Instruction, MemoryOperand, Register};

use super::Width;
use super::assembler::Operand;
use super::function::Function;
use super::isa::{binary_128, binary_256};
use super::vectors::{Home, Temporaries};
use crate::codegen::vector::{Address, Binary, Inst, Reg, Unary};

/// Bytes per element.
const ELEMENT: i64 = 4;

/// The mask register for what one instruction needs; the others hold [`Function::masks`].
const SCRATCH_MASK: Register = Register::K7;

/// Predicate of comparisons: greater than, false for NaN, without exceptions.
const GREATER: i32 = 0x1e;

/// Rounding to nearest, ties to even, without exceptions.
const NEAREST: i32 = 0x08;

/// Shuffles within 128 bits.
const SWAP_PAIRS: i32 = 0x4e;
const SWAP_NEIGHBOURS: i32 = 0xb1;

const EXPONENT_BIAS: u32 = 127;
const MANTISSA_BITS: i32 = 23;
const MANTISSA_MASK: u32 = 0x007f_ffff;
const SIGN: u32 = 0x8000_0000;

impl Function<'_> {
    pub fn inst(&mut self, position: usize, inst: &Inst) {
        let home = inst.dst().map(|dst| self.vectors.homes[&dst]);
        if matches!(home, Some(Home::Constant(_) | Home::Folded(_))) {
            return;
        }
        let temporaries = self.vectors.temporaries.remove(&position).unwrap_or_default();
        for &(reg, register) in &temporaries.loaded {
            let register = self.isa.register(register);
            self.load_value(register, reg);
        }
        match home {
            None => self.effect(inst, &temporaries),
            Some(Home::Slot(slot)) => {
                let result = self.isa.register(temporaries.result.expect("placed for spilled results"));
                self.value(result, inst, &temporaries);
                let slot = self.vector_slot(slot);
                self.asm.push(Instruction::with2(self.isa.store, slot, result));
            }
            Some(home) => {
                let Home::Register(register) = home else { unreachable!("returned above") };
                self.value(self.isa.register(register), inst, &temporaries);
            }
        }
    }

    fn effect(&mut self, inst: &Inst, temporaries: &Temporaries) {
        match inst {
            Inst::Store { src, at, lanes } => {
                let src = self.register(*src, temporaries);
                self.store(src, at, *lanes, temporaries);
            }
            Inst::Prefetch { at } => {
                let at = self.address(at, false);
                self.asm.push(Instruction::with1(Code::Prefetcht1_m8, at));
            }
            _ => unreachable!("{inst:?} has a result"),
        }
    }

    /// Computes the instruction's value in `dst`, which may be the register of any source.
    fn value(&mut self, dst: Register, inst: &Inst, temporaries: &Temporaries) {
        let isa = self.isa;
        match *inst {
            Inst::Load { ref at, lanes, .. } => self.load(dst, at, lanes),
            Inst::LoadHalf { ref at, .. } => {
                let at = self.address(at, false);
                self.asm.push(Instruction::with2(isa.widen, dst, at));
            }
            Inst::Broadcast { ref at, .. } => {
                let at = self.address(at, false);
                self.asm.push(Instruction::with2(isa.broadcast, dst, at));
            }
            Inst::Constant { value, .. } => self.constant(dst, value.to_bits()),
            Inst::Unary { op, x, .. } => {
                let x = self.operand(x, temporaries);
                self.unary(dst, op, x);
            }
            Inst::Binary { op, a, b, .. } => {
                let (a, b) = (self.operand(a, temporaries), self.operand(b, temporaries));
                // Only the operands of commutative operations are left in memory on either side.
                let (a, b) = match (a, b) {
                    (Operand::Register(a), b) => (a, b),
                    (a, Operand::Register(b)) => (b, a),
                    _ => unreachable!("one operand is loaded first"),
                };
                self.asm.three(isa.binary(op), dst, a, b);
            }
            Inst::Fma { a, b, c, .. } => {
                let [a, b, c] = [a, b, c].map(|reg| self.operand(reg, temporaries));
                self.fma(dst, a, b, c);
            }
            Inst::Select { a, b, yes, no, .. } => {
                let a = self.register(a, temporaries);
                let no = self.register(no, temporaries);
                let b = self.operand(b, temporaries);
                let yes = self.operand(yes, temporaries);
                self.select(dst, [a, no], [b, yes], temporaries);
            }
            Inst::Reduce { op, x, .. } => {
                let x = self.operand(x, temporaries);
                self.reduce(dst, op, x, temporaries);
            }
            Inst::Store { .. } | Inst::Prefetch { .. } => unreachable!("{inst:?} has no result"),
        }
    }

    /// A source where it lives, or where it has been loaded.
    fn operand(&mut self, reg: Reg, temporaries: &Temporaries) -> Operand {
        if let Some(&(_, register)) = temporaries.loaded.iter().find(|(loaded, _)| *loaded == reg) {
            return Operand::Register(self.isa.register(register));
        }
        match self.vectors.homes[&reg] {
            Home::Register(register) => Operand::Register(self.isa.register(register)),
            Home::Slot(slot) => Operand::Memory(self.vector_slot(slot)),
            Home::Constant(value) => Operand::Memory(self.pool(value.to_bits())),
            Home::Folded(load) => Operand::Memory(self.address(load.at, load.broadcast)),
        }
    }

    fn register(&mut self, reg: Reg, temporaries: &Temporaries) -> Register {
        match self.operand(reg, temporaries) {
            Operand::Register(register) => register,
            Operand::Memory(_) => unreachable!("{reg:?} is loaded first"),
        }
    }

    /// 32 bits in every lane, as a memory operand.
    fn pool(&mut self, bits: u32) -> MemoryOperand {
        match self.width {
            Width::Avx2 => self.asm.constant(&bits.to_le_bytes().repeat(self.width.lanes()), false),
            Width::Avx512 => self.asm.constant(&bits.to_le_bytes(), true),
        }
    }

    /// 32 bits in every lane of a register.
    fn constant(&mut self, dst: Register, bits: u32) {
        if bits == 0 {
            return self.asm.three(self.isa.xor, dst, dst, Operand::Register(dst));
        }
        let bits = self.asm.constant(&bits.to_le_bytes(), false);
        self.asm.push(Instruction::with2(self.isa.broadcast, dst, bits));
    }

    /// Brings a value that lives in memory into a register.
    fn load_value(&mut self, dst: Register, reg: Reg) {
        match self.vectors.homes[&reg] {
            Home::Constant(value) => self.constant(dst, value.to_bits()),
            _ => {
                let value = self.operand(reg, &Temporaries::default());
                self.copy_value(dst, value);
            }
        }
    }

    fn copy_value(&mut self, dst: Register, value: Operand) {
        match value {
            Operand::Register(value) if value == dst => {}
            Operand::Register(value) => self.asm.push(Instruction::with2(self.isa.copy, dst, value)),
            Operand::Memory(mut at) => {
                let code = if at.is_broadcast { self.isa.broadcast } else { self.isa.load };
                at.is_broadcast = false;
                self.asm.push(Instruction::with2(code, dst, at));
            }
        }
    }

    fn fma(&mut self, dst: Register, a: Operand, b: Operand, c: Operand) {
        use Operand::{Memory, Register};
        let isa = self.isa;
        match (a, b, c) {
            (Register(a), b, Register(c)) if c == dst => self.asm.three(isa.fma231, dst, a, b),
            (a, Register(b), Register(c)) if c == dst => self.asm.three(isa.fma231, dst, b, a),
            (Register(a), Register(b), c) if a == dst => self.asm.three(isa.fma213, dst, b, c),
            (Register(a), Register(b), c) if b == dst => self.asm.three(isa.fma213, dst, a, c),
            (Register(a), b, Register(c)) if a == dst => self.asm.three(isa.fma132, dst, c, b),
            (a, Register(b), Register(c)) if b == dst => self.asm.three(isa.fma132, dst, c, a),
            (a, b, c) => {
                self.copy_value(dst, c);
                match (a, b) {
                    (Register(a), b) => self.asm.three(isa.fma231, dst, a, b),
                    (a, Register(b)) => self.asm.three(isa.fma231, dst, b, a),
                    (Memory(_), Memory(_)) => unreachable!("one operand is loaded first"),
                }
            }
        }
    }

    fn unary(&mut self, dst: Register, op: Unary, x: Operand) {
        let isa = self.isa;
        let result = Operand::Register(dst);
        match op {
            Unary::Copy => self.copy_value(dst, x),
            Unary::Sqrt => self.asm.two(isa.sqrt, dst, x),
            Unary::Round => self.asm.two_immediate(isa.round, dst, x, NEAREST),
            Unary::Neg => self.bits(isa.xor, dst, x, SIGN),
            Unary::Abs => self.bits(isa.and, dst, x, !SIGN),
            Unary::Exp2 => {
                self.asm.two(isa.to_integers, dst, x);
                self.bits(isa.add_integers, dst, result, EXPONENT_BIAS);
                self.asm.two_immediate(isa.shift_left, dst, result, MANTISSA_BITS);
            }
            Unary::Exponent => {
                let x = self.loaded(dst, x);
                self.asm.two_immediate(isa.shift_right, dst, Operand::Register(x), MANTISSA_BITS);
                self.bits(isa.sub_integers, dst, result, EXPONENT_BIAS);
                self.asm.two(isa.from_integers, dst, result);
            }
            Unary::Mantissa => {
                self.bits(isa.and, dst, x, MANTISSA_MASK);
                self.bits(isa.or, dst, result, 1.0f32.to_bits());
            }
        }
    }

    /// `x ∘ bits` in every lane.
    fn bits(&mut self, code: Code, dst: Register, x: Operand, bits: u32) {
        let x = self.loaded(dst, x);
        let bits = self.pool(bits);
        self.asm.three(code, dst, x, Operand::Memory(bits));
    }

    /// The register that holds `x`: `free` if it was in memory.
    fn loaded(&mut self, free: Register, x: Operand) -> Register {
        match x {
            Operand::Register(x) => x,
            Operand::Memory(_) => {
                self.copy_value(free, x);
                free
            }
        }
    }

    fn select(
        &mut self,
        dst: Register,
        [a, no]: [Register; 2],
        [b, yes]: [Operand; 2],
        temporaries: &Temporaries,
    ) {
        let isa = self.isa;
        match self.width {
            Width::Avx2 => {
                let mask = self.scratch(temporaries);
                self.asm.three_immediate(isa.compare, mask, a, b, GREATER);
                self.asm.push(match yes {
                    Operand::Register(yes) => Instruction::with4(isa.blend, dst, no, yes, mask),
                    Operand::Memory(yes) => Instruction::with4(isa.blend, dst, no, yes, mask),
                });
            }
            Width::Avx512 => {
                self.asm.three_immediate(isa.compare, SCRATCH_MASK, a, b, GREATER);
                self.asm.push(masked(
                    SCRATCH_MASK,
                    match yes {
                        Operand::Register(yes) => Instruction::with3(isa.blend, dst, no, yes),
                        Operand::Memory(yes) => Instruction::with3(isa.blend, dst, no, yes),
                    },
                ));
            }
        }
    }

    /// Combines the halves, then the halves of the half, and so on; the first lane then goes into all.
    fn reduce(&mut self, dst: Register, op: Binary, x: Operand, temporaries: &Temporaries) {
        let isa = self.isa;
        let code = isa.binary(op);
        let upper = self.scratch(temporaries);
        let x = self.loaded(dst, x);
        if self.width == Width::Avx512 {
            return self.reduce_narrowing(dst, op, x, upper);
        }
        const SWAP_HALVES: i32 = 0x01;
        let halves = Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8;
        self.asm.three_immediate(halves, upper, x, Operand::Register(x), SWAP_HALVES);
        self.asm.three(code, dst, x, Operand::Register(upper));
        for selection in [SWAP_PAIRS, SWAP_NEIGHBOURS] {
            let permute = Code::VEX_Vpermilps_ymm_ymmm256_imm8;
            self.asm.two_immediate(permute, upper, Operand::Register(dst), selection);
            self.asm.three(code, dst, dst, Operand::Register(upper));
        }
        self.asm.push(Instruction::with2(isa.broadcast_lane, dst, xmm(dst)));
    }

    /// The same by halves, each as wide as what is left: a register of 512 bits takes twice the time of one of 256.
    fn reduce_narrowing(&mut self, dst: Register, op: Binary, x: Register, upper: Register) {
        const UPPER: i32 = 1;
        let half = Code::EVEX_Vextractf32x8_ymmm256_k1z_zmm_imm8;
        self.asm.two_immediate(half, ymm(upper), Operand::Register(x), UPPER);
        self.asm.three(binary_256(op), ymm(dst), ymm(x), Operand::Register(ymm(upper)));
        let quarter = Code::EVEX_Vextractf32x4_xmmm128_k1z_ymm_imm8;
        self.asm.two_immediate(quarter, xmm(upper), Operand::Register(ymm(dst)), UPPER);
        let (dst_128, upper_128) = (xmm(dst), xmm(upper));
        self.asm.three(binary_128(op), dst_128, dst_128, Operand::Register(upper_128));
        for selection in [SWAP_PAIRS, SWAP_NEIGHBOURS] {
            let permute = Code::EVEX_Vpermilps_xmm_k1z_xmmm128b32_imm8;
            self.asm.two_immediate(permute, upper_128, Operand::Register(dst_128), selection);
            self.asm.three(binary_128(op), dst_128, dst_128, Operand::Register(upper_128));
        }
        self.asm.push(Instruction::with2(self.isa.broadcast_lane, dst, dst_128));
    }

    fn scratch(&self, temporaries: &Temporaries) -> Register {
        self.isa.register(temporaries.scratch.expect("placed for instructions that need one"))
    }

    /// The mask register of the first `lanes` lanes.
    fn mask(&mut self, lanes: usize) -> Register {
        match self.masks.iter().position(|&other| other == lanes) {
            Some(number) => Register::K1 + number as u32,
            None => {
                self.set_mask(SCRATCH_MASK, lanes);
                SCRATCH_MASK
            }
        }
    }

    fn load(&mut self, dst: Register, at: &Address, lanes: usize) {
        let isa = self.isa;
        if lanes == self.kernel.lanes {
            let at = self.address(at, false);
            return self.asm.push(Instruction::with2(isa.load, dst, at));
        }
        if self.width == Width::Avx512 {
            if let Some(Narrow { register, load, .. }) = narrow(lanes) {
                let at = self.address(at, false);
                return self.asm.push(Instruction::with2(load, register(dst), at));
            }
            let mask = self.mask(lanes);
            let at = self.address(at, false);
            let load = masked(mask, Instruction::with2(isa.load, dst, at)).map(|mut load| {
                load.set_zeroing_masking(true);
                load
            });
            return self.asm.push(load);
        }
        let at = self.address(at, false);
        // Loads of less than a register set the rest of it to zero.
        match lanes {
            1 => self.asm.push(Instruction::with2(Code::VEX_Vmovss_xmm_m32, xmm(dst), at)),
            2 => self.asm.push(Instruction::with2(Code::VEX_Vmovsd_xmm_m64, xmm(dst), at)),
            4 => self.asm.push(Instruction::with2(Code::VEX_Vmovups_xmm_xmmm128, xmm(dst), at)),
            _ => {
                let mask: Vec<u8> = (0..self.kernel.lanes)
                    .flat_map(|lane| if lane < lanes { [0xff; 4] } else { [0; 4] })
                    .collect();
                let mask = self.asm.constant(&mask, false);
                self.asm.push(Instruction::with2(isa.load, dst, mask));
                self.asm.push(Instruction::with3(Code::VEX_Vmaskmovps_ymm_ymm_m256, dst, dst, at));
            }
        }
    }

    fn store(&mut self, src: Register, at: &Address, lanes: usize, temporaries: &Temporaries) {
        let isa = self.isa;
        if lanes == self.kernel.lanes {
            let at = self.address(at, false);
            return self.asm.push(Instruction::with2(isa.store, at, src));
        }
        if self.width == Width::Avx512 {
            if let Some(Narrow { register, store, .. }) = narrow(lanes) {
                let at = self.address(at, false);
                return self.asm.push(Instruction::with2(store, at, register(src)));
            }
            let mask = self.mask(lanes);
            let at = self.address(at, false);
            return self.asm.push(masked(mask, Instruction::with2(isa.store, at, src)));
        }
        let at = self.address(at, false);
        if lanes < 4 {
            return self.store_quarter(xmm(src), at, lanes);
        }
        self.asm.push(Instruction::with2(Code::VEX_Vmovups_xmmm128_xmm, at, xmm(src)));
        if lanes > 4 {
            let upper = xmm(self.scratch(temporaries));
            self.asm.push(Instruction::with3(Code::VEX_Vextractf128_xmmm128_ymm_imm8, upper, src, 1));
            self.store_quarter(upper, plus(at, 4), lanes - 4);
        }
    }

    /// Up to three elements. Masked stores would do, but are slow on many processors.
    fn store_quarter(&mut self, src: Register, at: MemoryOperand, lanes: usize) {
        if lanes == 1 {
            return self.asm.push(Instruction::with2(Code::VEX_Vmovss_m32_xmm, at, src));
        }
        self.asm.push(Instruction::with2(Code::VEX_Vmovlps_m64_xmm, at, src));
        if lanes == 3 {
            self.asm.push(Instruction::with3(Code::VEX_Vextractps_rm32_xmm_imm8, plus(at, 2), src, 2));
        }
    }
}

/// Moves of a part of an AVX-512 register without a mask. Masked stores are slow, and what they wrote cannot be forwarded
/// to loads that follow soon.
pub struct Narrow {
    /// The part of a register.
    register: fn(Register) -> Register,
    load: Code,
    store: Code,
}

/// The moves of so many lanes, if they make up a part that can be named.
pub fn narrow(lanes: usize) -> Option<Narrow> {
    let (register, load, store): (fn(Register) -> Register, Code, Code) = match lanes {
        1 => (xmm, Code::EVEX_Vmovss_xmm_k1z_m32, Code::EVEX_Vmovss_m32_k1_xmm),
        2 => (xmm, Code::EVEX_Vmovsd_xmm_k1z_m64, Code::EVEX_Vmovsd_m64_k1_xmm),
        4 => (xmm, Code::EVEX_Vmovups_xmm_k1z_xmmm128, Code::EVEX_Vmovups_xmmm128_k1z_xmm),
        8 => (ymm, Code::EVEX_Vmovups_ymm_k1z_ymmm256, Code::EVEX_Vmovups_ymmm256_k1z_ymm),
        _ => return None,
    };
    Some(Narrow { register, load, store })
}

/// The instruction under a mask.
fn masked(
    mask: Register,
    instruction: Result<Instruction, iced_x86::IcedError>,
) -> Result<Instruction, iced_x86::IcedError> {
    instruction.map(|mut instruction| {
        instruction.set_op_mask(mask);
        instruction
    })
}

/// The memory some elements further on.
fn plus(at: MemoryOperand, elements: i64) -> MemoryOperand {
    super::function::memory(at.base, at.displacement + elements * ELEMENT, false)
}

/// The lower 256 bits of an AVX-512 register.
fn ymm(register: Register) -> Register {
    Register::YMM0 + (register as u32 - Register::ZMM0 as u32)
}

/// The lowest 128 bits of a register.
fn xmm(register: Register) -> Register {
    let number = (register as u32 - Register::XMM0 as u32) % (Register::YMM0 as u32 - Register::XMM0 as u32);
    Register::XMM0 + number
}
