//! Bytes: instructions, labels, the constant pool, and what is still open between them.

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};

/// The source of an instruction: a register or memory.
#[derive(Clone, Copy, Debug)]
pub enum Operand {
    Register(Register),
    Memory(MemoryOperand),
}

/// A place in the code that jumps go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(usize);

/// When a jump is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    Always,
    NotEqual,
    Less,
    GreaterOrEqual,
}

/// A 32-bit distance to fill in: from the end of its instruction to the target.
struct Fixup {
    /// Where the four bytes stand.
    at: usize,
    /// Where the instruction ends.
    from: usize,
    target: Target,
}

enum Target {
    Label(Label),
    /// An entry of the pool.
    Constant(usize),
}

/// Encodes instructions one after the other, from address zero on.
pub struct Assembler {
    encoder: Encoder,
    position: usize,
    labels: Vec<Option<usize>>,
    fixups: Vec<Fixup>,
    /// The distinct constants, which follow the code.
    pool: Vec<Vec<u8>>,
    error: Option<IcedError>,
}

impl Assembler {
    pub fn new() -> Self {
        Assembler {
            encoder: Encoder::new(64),
            position: 0,
            labels: Vec::new(),
            fixups: Vec::new(),
            pool: Vec::new(),
            error: None,
        }
    }

    /// Appends an instruction. The first that cannot be encoded is the error of [`Assembler::finish`].
    pub fn push(&mut self, instruction: Result<Instruction, IcedError>) {
        if let Err(error) = instruction.and_then(|instruction| self.encode(instruction)) {
            self.error.get_or_insert(error);
        }
    }

    fn encode(&mut self, mut instruction: Instruction) -> Result<(), IcedError> {
        let constant = instruction.is_ip_rel_memory_operand().then(|| instruction.memory_displacement64());
        if constant.is_some() {
            instruction.set_memory_displacement64(self.position as u64);
        }
        let start = self.position;
        self.position += self.encoder.encode(&instruction, start as u64)?;
        if let Some(constant) = constant {
            let at = start + self.encoder.get_constant_offsets().displacement_offset();
            self.fixups.push(Fixup { at, from: self.position, target: Target::Constant(constant as usize) });
        }
        Ok(())
    }

    /// The memory operand of a constant in the pool.
    pub fn constant(&mut self, bytes: &[u8], broadcast: bool) -> MemoryOperand {
        let id = self.pool.iter().position(|other| other == bytes).unwrap_or_else(|| {
            self.pool.push(bytes.to_vec());
            self.pool.len() - 1
        });
        // The displacement names the entry until its distance is known.
        MemoryOperand::new(Register::RIP, Register::None, 1, id as i64, 8, broadcast, Register::None)
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label here.
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.position);
    }

    pub fn jump(&mut self, condition: Condition, label: Label) {
        let (short, near) = match condition {
            Condition::Always => (Code::Jmp_rel8_64, Code::Jmp_rel32_64),
            Condition::NotEqual => (Code::Jne_rel8_64, Code::Jne_rel32_64),
            Condition::Less => (Code::Jl_rel8_64, Code::Jl_rel32_64),
            Condition::GreaterOrEqual => (Code::Jge_rel8_64, Code::Jge_rel32_64),
        };
        match self.labels[label.0] {
            Some(target) => {
                const SHORT_JUMP: usize = 2;
                let is_near = self.position + SHORT_JUMP - target <= 128;
                let code = if is_near { short } else { near };
                self.push(Instruction::with_branch(code, target as u64));
            }
            None => {
                self.push(Instruction::with_branch(near, self.position as u64));
                let target = Target::Label(label);
                self.fixups.push(Fixup { at: self.position - 4, from: self.position, target });
            }
        }
    }

    /// Fills up with instructions that do nothing until the position is a multiple of `alignment`.
    pub fn align(&mut self, alignment: usize) {
        /// The recommended instructions of one to nine bytes.
        const NOPS: [&[u8]; 9] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        let mut missing = self.position.next_multiple_of(alignment) - self.position;
        while missing > 0 {
            let nop = NOPS[missing.min(NOPS.len()) - 1];
            self.bytes(nop);
            missing -= nop.len();
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.encoder.write_u8(byte);
        }
        self.position += bytes.len();
    }

    /// The code, with the pool behind it, or why it cannot be encoded.
    pub fn finish(mut self) -> Result<Vec<u8>, String> {
        if let Some(error) = self.error {
            return Err(error.to_string());
        }
        let mut order: Vec<usize> = (0..self.pool.len()).collect();
        order.sort_by_key(|&id| std::cmp::Reverse(self.pool[id].len()));
        let mut offsets = vec![0; self.pool.len()];
        for id in order {
            let constant = std::mem::take(&mut self.pool[id]);
            let start = self.position.next_multiple_of(constant.len());
            const BREAKPOINT: u8 = 0xcc;
            self.bytes(&vec![BREAKPOINT; start - self.position]);
            offsets[id] = self.position;
            self.bytes(&constant);
        }
        let mut code = self.encoder.take_buffer();
        for Fixup { at, from, target } in self.fixups {
            let target = match target {
                Target::Label(label) => self.labels[label.0].expect("every label is placed"),
                Target::Constant(id) => offsets[id],
            };
            let distance = i32::try_from(target as i64 - from as i64)
                .map_err(|_| format!("a jump at {from} reaches too far"))?;
            code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(code)
    }
}

/// Vector instructions by the number of their operands; `a` and `b` are read, `dst` is written.
impl Assembler {
    pub fn two(&mut self, code: Code, dst: Register, a: Operand) {
        self.push(match a {
            Operand::Register(a) => Instruction::with2(code, dst, a),
            Operand::Memory(a) => Instruction::with2(code, dst, a),
        });
    }

    pub fn two_immediate(&mut self, code: Code, dst: Register, a: Operand, immediate: i32) {
        self.push(match a {
            Operand::Register(a) => Instruction::with3(code, dst, a, immediate),
            Operand::Memory(a) => Instruction::with3(code, dst, a, immediate),
        });
    }

    pub fn three(&mut self, code: Code, dst: Register, a: Register, b: Operand) {
        self.push(match b {
            Operand::Register(b) => Instruction::with3(code, dst, a, b),
            Operand::Memory(b) => Instruction::with3(code, dst, a, b),
        });
    }

    pub fn three_immediate(&mut self, code: Code, dst: Register, a: Register, b: Operand, immediate: i32) {
        self.push(match b {
            Operand::Register(b) => Instruction::with4(code, dst, a, b, immediate),
            Operand::Memory(b) => Instruction::with4(code, dst, a, b, immediate),
        });
    }
}
