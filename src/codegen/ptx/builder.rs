//! One kernel while it is written.

use std::fmt::{self, Write};

use super::value::{Class, Comparison, Reg, Value};

/// The text of a kernel and how it is launched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub name: String,
    /// `.visible .entry …`
    pub text: String,
    /// Bytes of shared memory that the kernel declares.
    pub shared_bytes: u32,
}

/// Writes a kernel: virtual registers by counter, loops and conditions as closures, arithmetic on known numbers
/// done at once.
pub struct Builder {
    name: String,
    threads: u32,
    /// Blocks that a multiprocessor should hold, if the assembler is not to decide.
    resident_blocks: Option<u32>,
    parameters: u32,
    registers: [u32; Class::ALL.len()],
    pub(super) body: String,
    shared_bytes: u32,
    labels: u32,
    /// The condition of the instructions being written, if they have one.
    guard: Option<Reg>,
}

impl Builder {
    /// A kernel of blocks of `threads` threads.
    pub fn new(name: impl Into<String>, threads: u32) -> Self {
        Builder {
            name: name.into(),
            threads,
            resident_blocks: None,
            parameters: 0,
            registers: [0; Class::ALL.len()],
            body: String::new(),
            shared_bytes: 0,
            labels: 0,
            guard: None,
        }
    }

    /// The whole kernel.
    pub fn finish(mut self) -> Entry {
        self.line(format_args!("ret;"));
        let parameters: Vec<String> = (0..self.parameters).map(|at| format!("  .param .u64 p{at}")).collect();
        let mut text = format!(
            ".visible .entry {}(\n{}\n)\n.maxntid {}, 1, 1\n",
            self.name,
            parameters.join(",\n"),
            self.threads
        );
        if let Some(blocks) = self.resident_blocks {
            let _ = writeln!(text, ".minnctapersm {blocks}");
        }
        text.push_str("{\n");
        for (class, count) in Class::ALL.into_iter().zip(self.registers) {
            if count > 0 {
                let _ = writeln!(text, "  .reg .{} %{}<{count}>;", class.declared(), class.letter());
            }
        }
        if self.shared_bytes > 0 {
            let _ = writeln!(text, "  .shared .align 16 .b8 shared[{}];", self.shared_bytes);
        }
        text.push_str(&self.body);
        text.push_str("}\n");
        Entry { name: self.name, text, shared_bytes: self.shared_bytes }
    }

    /// Gives each thread as many registers as leave room for `blocks` blocks on a multiprocessor.
    pub fn keep_resident(&mut self, blocks: u32) {
        self.resident_blocks = Some(blocks);
    }

    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Declares the next argument, a pointer to global memory.
    pub fn pointer(&mut self) -> Value {
        let at = self.parameters;
        self.parameters += 1;
        let generic = self.result(Class::B64, format_args!("ld.param.u64"), format_args!("[p{at}]"));
        self.result(Class::B64, format_args!("cvta.to.global.u64"), format_args!("{generic}"))
    }

    /// Declares shared memory, and gives its address. A kernel does this once.
    pub fn shared(&mut self, bytes: u32) -> Value {
        assert_eq!(self.shared_bytes, 0, "shared memory is declared once");
        self.shared_bytes = bytes;
        self.result(Class::B32, format_args!("mov.u32"), format_args!("shared"))
    }

    pub fn thread(&mut self) -> Value {
        self.result(Class::B32, format_args!("mov.u32"), format_args!("%tid.x"))
    }

    /// The block's position along `axis` of the grid.
    pub fn block(&mut self, axis: usize) -> Value {
        let axis = ["x", "y", "z"][axis];
        self.result(Class::B32, format_args!("mov.u32"), format_args!("%ctaid.{axis}"))
    }

    /// A fresh register.
    pub fn reg(&mut self, class: Class) -> Reg {
        let at = Class::ALL.iter().position(|&other| other == class).expect("all classes are listed");
        self.registers[at] += 1;
        Reg { class, id: self.registers[at] - 1 }
    }

    /// Writes an instruction.
    pub(super) fn line(&mut self, text: fmt::Arguments) {
        let _ = match self.guard {
            Some(guard) => writeln!(self.body, "  @{guard} {text}"),
            None => writeln!(self.body, "  {text}"),
        };
    }

    /// Writes an instruction with a fresh register as its result.
    pub(super) fn result(
        &mut self,
        class: Class,
        operation: fmt::Arguments,
        operands: fmt::Arguments,
    ) -> Value {
        let result = self.reg(class);
        self.line(format_args!("{operation} {result}, {operands};"));
        Value::Reg(result)
    }

    /// The instructions that `write` writes take effect where `guard` holds; each carries the condition, so nothing
    /// branches. Without a guard they always do.
    pub fn guarded<T>(&mut self, guard: Option<Value>, write: impl FnOnce(&mut Self) -> T) -> T {
        let Some(Value::Reg(guard)) = guard else { return write(self) };
        assert!(self.guard.is_none(), "conditions do not nest");
        self.guard = Some(guard);
        let result = write(self);
        self.guard = None;
        result
    }

    /// Threads for which `condition` does not hold skip what `write` writes.
    pub fn when(&mut self, condition: Value, write: impl FnOnce(&mut Self)) {
        let end = self.label();
        self.line(format_args!("@!{condition} bra {end};"));
        write(self);
        self.place(&end);
    }

    /// Threads for which `condition` holds are done.
    pub fn return_if(&mut self, condition: Value) {
        self.line(format_args!("@{condition} ret;"));
    }

    /// Writes a loop of `count` rounds; `write` gets the number of the round, from 0. A loop of one round is
    /// written without a loop.
    pub fn repeat(&mut self, count: impl Into<Value>, write: impl FnOnce(&mut Self, Value)) {
        let count = count.into();
        match count.known() {
            Some(count) if count <= 0 => return,
            Some(1) => return write(self, Value::Int(0)),
            _ => {}
        }
        let round = self.variable(Class::B32, 0);
        self.rounds(round, count, write);
    }

    /// Rounds `round`, `round` + 1, … below `end`; at least one is run.
    fn rounds(&mut self, round: Value, end: Value, write: impl FnOnce(&mut Self, Value)) {
        let start = self.label();
        self.place(&start);
        // Loops are unrolled here, where the registers that it takes are known.
        self.line(format_args!(".pragma \"nounroll\";"));
        write(self, round);
        self.line(format_args!("add.u32 {round}, {round}, 1;"));
        let again = self.compare(Comparison::Lt, round, end);
        self.line(format_args!("@{again} bra {start};"));
    }

    /// A register that starts as `value` and can be [assigned](Builder::assign).
    pub fn variable(&mut self, class: Class, value: impl Into<Value>) -> Value {
        let variable = Value::Reg(self.reg(class));
        self.assign(variable, value);
        variable
    }

    /// Gives a variable another value.
    pub fn assign(&mut self, variable: Value, value: impl Into<Value>) {
        let Value::Reg(reg) = variable else { panic!("{variable} is no variable") };
        let kind = match reg.class {
            Class::Pred => "pred",
            Class::B16 => "b16",
            Class::B32 => "b32",
            Class::B64 => "b64",
            Class::F32 => "f32",
        };
        self.line(format_args!("mov.{kind} {reg}, {};", value.into()));
    }

    /// All threads of the block wait for each other; what they wrote to memory before is seen after.
    pub fn barrier(&mut self) {
        self.line(format_args!("bar.sync 0;"));
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!("$L{}", self.labels)
    }

    fn place(&mut self, label: &str) {
        let _ = writeln!(self.body, "{label}:");
    }
}
