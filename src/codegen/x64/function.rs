//! Whole functions: entry, loops, branches, and the addresses that instructions use.

use iced_x86::{Code, Instruction, MemoryOperand, Register};
use rustc_hash::FxHashMap;

use super::assembler::{Assembler, Condition, Label, Operand};
use super::instructions::narrow;
use super::isa::Isa;
use super::scalars::{Home, SCRATCH, Scalar, Scalars};
use super::steps::{Step, flatten};
use super::vectors::Vectors;
use super::{EmitError, Width, folding, scalars, vectors};
use crate::codegen::vector::{Address, Index, Inst, Kernel, Pointer};

/// Bytes per element.
const ELEMENT: i64 = 4;

/// Bytes per stack slot of a scalar.
const SCALAR: usize = 8;

/// The most stack that a function takes, in bytes: less than the guard below a thread's stack.
const STACK_LIMIT: usize = 4096;

/// What the heads of innermost loops are aligned to, in bytes.
const LOOP_ALIGNMENT: usize = 32;

/// See [`emit`](super::emit()).
pub fn emit(kernel: &Kernel, width: Width) -> Result<Vec<u8>, EmitError> {
    if kernel.lanes != width.lanes() {
        let kernel_name = kernel.name.clone();
        return Err(EmitError::Lanes { kernel: kernel_name, lanes: kernel.lanes, expected: width.lanes() });
    }
    let steps = flatten(kernel);
    let folded = folding::fold(&steps, kernel, width);
    let scalars = scalars::place(&steps, &folded);
    let vectors = vectors::place(&steps, kernel, &folded, width);
    let stack = SCALAR * scalars.slots + width.lanes() * ELEMENT as usize * vectors.slots;
    if stack > STACK_LIMIT {
        return Err(EmitError::Stack { kernel: kernel.name.clone(), bytes: stack, limit: STACK_LIMIT });
    }
    let mut function = Function {
        kernel,
        width,
        isa: Isa::of(width),
        asm: Assembler::new(),
        scalars,
        vectors,
        masks: Vec::new(),
        labels: FxHashMap::default(),
    };
    function.entry(stack, &steps);
    for (position, step) in steps.iter().enumerate() {
        function.step(position, step, &steps);
    }
    function.leave(stack);
    function.asm.finish().map_err(|reason| EmitError::Encoding { kernel: kernel.name.clone(), reason })
}

/// A function being written.
pub struct Function<'k> {
    pub kernel: &'k Kernel,
    pub width: Width,
    pub isa: &'static Isa,
    pub asm: Assembler,
    scalars: Scalars,
    pub vectors: Vectors<'k>,
    /// AVX-512: the numbers of lanes whose masks are in `k1` and so on.
    pub masks: Vec<usize>,
    /// The labels of the steps that are jumped to, by position.
    labels: FxHashMap<usize, Label>,
}

impl Function<'_> {
    fn entry(&mut self, stack: usize, steps: &[Step<'_>]) {
        for register in self.scalars.saved() {
            self.asm.push(Instruction::with1(Code::Push_r64, register));
        }
        self.move_stack(-(stack as i64));
        for (register, slot) in self.scalars.stored_parameters() {
            let slot = stack_slot(slot);
            self.asm.push(Instruction::with2(Code::Mov_rm64_r64, slot, register));
        }
        if self.width == Width::Avx512 {
            self.load_masks(steps);
        }
    }

    fn leave(&mut self, stack: usize) {
        self.move_stack(stack as i64);
        for &register in self.scalars.saved().iter().rev() {
            self.asm.push(Instruction::with1(Code::Pop_r64, register));
        }
        self.asm.push(Ok(Instruction::with(Code::VEX_Vzeroupper)));
        self.asm.push(Ok(Instruction::with(Code::Retnq)));
    }

    fn move_stack(&mut self, bytes: i64) {
        if bytes != 0 {
            self.add(Home::Register(Register::RSP), bytes);
        }
    }

    fn step(&mut self, position: usize, step: &Step<'_>, steps: &[Step<'_>]) {
        match step {
            Step::Base(pointer) => self.base(pointer),
            Step::Start { to, from } => {
                let from = self.pointer(from);
                let to = self.pointer(to);
                self.copy(to, from);
            }
            Step::Enter { index, exit } => self.enter(position, *index, &steps[position + 1..*exit]),
            Step::Advance { pointer, stride } => {
                let pointer = self.pointer(pointer);
                self.add(pointer, stride * ELEMENT);
            }
            Step::Exit { index, enter } => self.exit(*index, *enter),
            Step::Inst(inst) => self.inst(position, inst),
            Step::If { index, below, otherwise } => {
                let index = self.scalars.home(&Scalar::Index(*index));
                self.compare(index, *below);
                let label = self.label(*otherwise);
                self.asm.jump(Condition::GreaterOrEqual, label);
            }
            Step::Else { end } => {
                let label = self.label(*end);
                self.asm.jump(Condition::Always, label);
                let label = self.label(position);
                self.asm.bind(label);
            }
            Step::EndIf => {
                let label = self.label(position);
                self.asm.bind(label);
            }
        }
    }

    fn label(&mut self, position: usize) -> Label {
        *self.labels.entry(position).or_insert_with(|| self.asm.label())
    }

    fn base(&mut self, pointer: &Pointer) {
        let table = self.scalars.home(&Scalar::Table);
        let table = self.in_register(table);
        let to = self.pointer(pointer);
        let entry = memory(table, SCALAR as i64 * pointer.buffer.0 as i64, false);
        match to {
            Home::Register(register) => {
                self.asm.push(Instruction::with2(Code::Mov_r64_rm64, register, entry));
            }
            Home::Slot(slot) => {
                self.asm.push(Instruction::with2(Code::Mov_r64_rm64, SCRATCH, entry));
                self.asm.push(Instruction::with2(Code::Mov_rm64_r64, stack_slot(slot), SCRATCH));
            }
        }
        for &(index, stride) in &pointer.terms {
            let coordinate = operand(self.scalars.home(&Scalar::Index(index)));
            match (i32::try_from(stride * ELEMENT), coordinate) {
                (Ok(bytes), Operand::Register(coordinate)) => {
                    let code = Code::Imul_r64_rm64_imm32;
                    self.asm.push(Instruction::with3(code, SCRATCH, coordinate, bytes));
                }
                (Ok(bytes), Operand::Memory(coordinate)) => {
                    let code = Code::Imul_r64_rm64_imm32;
                    self.asm.push(Instruction::with3(code, SCRATCH, coordinate, bytes));
                }
                (Err(_), coordinate) => {
                    self.set(SCRATCH, stride * ELEMENT);
                    self.asm.two(Code::Imul_r64_rm64, SCRATCH, coordinate);
                }
            }
            match operand(to) {
                Operand::Register(to) => self.asm.push(Instruction::with2(Code::Add_rm64_r64, to, SCRATCH)),
                Operand::Memory(to) => self.asm.push(Instruction::with2(Code::Add_rm64_r64, to, SCRATCH)),
            }
        }
    }

    fn enter(&mut self, position: usize, index: Index, body: &[Step<'_>]) {
        let extent = self.kernel.extents[index.0];
        let first = if self.scalars.counts_up(index) { 0 } else { extent as i64 };
        match self.scalars.home(&Scalar::Index(index)) {
            Home::Register(register) => self.set(register, first),
            Home::Slot(slot) => {
                self.set(SCRATCH, first);
                self.asm.push(Instruction::with2(Code::Mov_rm64_r64, stack_slot(slot), SCRATCH));
            }
        }
        if !body.iter().any(|step| matches!(step, Step::Enter { .. })) {
            self.asm.align(LOOP_ALIGNMENT);
        }
        let label = self.label(position);
        self.asm.bind(label);
    }

    fn exit(&mut self, index: Index, enter: usize) {
        let extent = self.kernel.extents[index.0];
        let counter = self.scalars.home(&Scalar::Index(index));
        let label = self.label(enter);
        if self.scalars.counts_up(index) {
            self.add(counter, 1);
            self.compare(counter, extent);
            self.asm.jump(Condition::Less, label);
        } else {
            self.asm.push(match operand(counter) {
                Operand::Register(counter) => Instruction::with1(Code::Dec_rm64, counter),
                Operand::Memory(counter) => Instruction::with1(Code::Dec_rm64, counter),
            });
            self.asm.jump(Condition::NotEqual, label);
        }
    }

    fn pointer(&self, pointer: &Pointer) -> Home {
        self.scalars.home(&Scalar::Pointer(pointer.clone()))
    }

    /// The memory at an address. Valid until the scratch register is used again.
    pub fn address(&mut self, at: &Address, broadcast: bool) -> MemoryOperand {
        let pointer = self.pointer(&Pointer::of(at));
        let base = self.in_register(pointer);
        memory(base, at.offset * ELEMENT, broadcast)
    }

    /// The memory of a vector's stack slot.
    pub fn vector_slot(&self, slot: usize) -> MemoryOperand {
        let vector = self.width.lanes() * ELEMENT as usize;
        memory(Register::RSP, (SCALAR * self.scalars.slots + vector * slot) as i64, false)
    }

    fn in_register(&mut self, home: Home) -> Register {
        match home {
            Home::Register(register) => register,
            Home::Slot(_) => {
                self.asm.two(Code::Mov_r64_rm64, SCRATCH, operand(home));
                SCRATCH
            }
        }
    }

    fn copy(&mut self, to: Home, from: Home) {
        match to {
            _ if to == from => {}
            Home::Register(register) => self.asm.two(Code::Mov_r64_rm64, register, operand(from)),
            Home::Slot(slot) => {
                let from = self.in_register(from);
                self.asm.push(Instruction::with2(Code::Mov_rm64_r64, stack_slot(slot), from));
            }
        }
    }

    /// Loads a constant.
    pub fn set(&mut self, register: Register, value: i64) {
        let low = Register::EAX + (register as u32 - Register::RAX as u32);
        let instruction = match u32::try_from(value) {
            Ok(0) => Instruction::with2(Code::Xor_r32_rm32, low, low),
            Ok(value) => Instruction::with2(Code::Mov_r32_imm32, low, value),
            Err(_) => Instruction::with2(Code::Mov_r64_imm64, register, value),
        };
        self.asm.push(instruction);
    }

    fn add(&mut self, to: Home, value: i64) {
        match i32::try_from(value) {
            Ok(value) => self.with_immediate([Code::Add_rm64_imm8, Code::Add_rm64_imm32], to, value),
            Err(_) => {
                self.set(SCRATCH, value);
                self.with_scratch(Code::Add_rm64_r64, to);
            }
        }
    }

    fn compare(&mut self, home: Home, value: usize) {
        match i32::try_from(value) {
            Ok(value) => self.with_immediate([Code::Cmp_rm64_imm8, Code::Cmp_rm64_imm32], home, value),
            Err(_) => {
                self.set(SCRATCH, value as i64);
                self.with_scratch(Code::Cmp_rm64_r64, home);
            }
        }
    }

    fn with_immediate(&mut self, [short, long]: [Code; 2], home: Home, value: i32) {
        let code = if i8::try_from(value).is_ok() { short } else { long };
        self.asm.push(match operand(home) {
            Operand::Register(register) => Instruction::with2(code, register, value),
            Operand::Memory(memory) => Instruction::with2(code, memory, value),
        });
    }

    fn with_scratch(&mut self, code: Code, home: Home) {
        self.asm.push(match operand(home) {
            Operand::Register(register) => Instruction::with2(code, register, SCRATCH),
            Operand::Memory(memory) => Instruction::with2(code, memory, SCRATCH),
        });
    }

    /// The masks of the steps' partial vectors, as many as fit, in `k1` to `k6`.
    fn load_masks(&mut self, steps: &[Step<'_>]) {
        for step in steps {
            let Step::Inst(Inst::Load { lanes, .. } | Inst::Store { lanes, .. }) = step else { continue };
            let is_masked = *lanes < self.kernel.lanes && narrow(*lanes).is_none();
            if is_masked && !self.masks.contains(lanes) && self.masks.len() < 6 {
                self.masks.push(*lanes);
                self.set_mask(Register::K0 + self.masks.len() as u32, *lanes);
            }
        }
    }

    /// Makes the mask of the first `lanes` lanes.
    pub fn set_mask(&mut self, register: Register, lanes: usize) {
        self.set(SCRATCH, (1 << lanes) - 1);
        self.asm.push(Instruction::with2(Code::VEX_Kmovw_kr_r32, register, Register::EAX));
    }
}

/// The memory at a register plus a number of bytes.
pub fn memory(base: Register, displacement: i64, broadcast: bool) -> MemoryOperand {
    let size = u32::from(displacement != 0);
    MemoryOperand::new(base, Register::None, 1, displacement, size, broadcast, Register::None)
}

fn stack_slot(slot: usize) -> MemoryOperand {
    memory(Register::RSP, (SCALAR * slot) as i64, false)
}

fn operand(home: Home) -> Operand {
    match home {
        Home::Register(register) => Operand::Register(register),
        Home::Slot(slot) => Operand::Memory(stack_slot(slot)),
    }
}
