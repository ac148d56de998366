//! Statements to instructions: which opcodes there are, and which operands they take.

mod arithmetic;
mod memory;

use super::instruction::{Instruction, Op, Pred, R32, R64, Register};
use super::kernel::Initial;
use super::module::{Declared, Names, special};
use super::syntax::Operand;

type Result<T> = std::result::Result<T, String>;

/// Decodes one instruction.
///
/// # Errors
/// What is unknown or does not fit.
pub fn instruction(
    names: &mut Names,
    guard: Option<&(String, bool)>,
    opcode: &str,
    operands: &[Operand],
    line: u32,
) -> Result<Instruction> {
    let mut parts = opcode.split('.');
    let root = parts.next().unwrap_or_default();
    let modifiers: Vec<&str> = parts.collect();
    let mut decoder = Decoder { names, modifiers: &modifiers, operands };
    let guard =
        guard.map(|(name, negated)| Ok::<_, String>((decoder.pred_named(name)?, *negated))).transpose()?;
    let op = match arithmetic::decode(&mut decoder, root)? {
        Some(op) => op,
        None => match memory::decode(&mut decoder, root)? {
            Some(op) => op,
            None => decoder.control(root)?.ok_or("the emulator does not know this instruction")?,
        },
    };
    Ok(Instruction { guard, op, line })
}

/// An instruction in the course of decoding.
struct Decoder<'a> {
    names: &'a mut Names,
    modifiers: &'a [&'a str],
    operands: &'a [Operand],
}

impl Decoder<'_> {
    /// The last modifier: the type that an operation works on.
    fn kind(&self) -> &str {
        self.modifiers.last().copied().unwrap_or_default()
    }

    fn has(&self, modifier: &str) -> bool {
        self.modifiers.contains(&modifier)
    }

    /// Fails unless every modifier is one of these.
    fn allow(&self, known: &[&str]) -> Result<()> {
        match self.modifiers.iter().find(|modifier| !known.contains(modifier)) {
            Some(unknown) => Err(format!("modifier .{unknown} is not known here")),
            None => Ok(()),
        }
    }

    /// Fails unless there are as many operands.
    fn expect(&self, count: usize) -> Result<()> {
        if self.operands.len() == count {
            Ok(())
        } else {
            Err(format!("{} operands where there should be {count}", self.operands.len()))
        }
    }

    fn operand(&self, index: usize) -> Result<&Operand> {
        self.operands.get(index).ok_or_else(|| format!("operand {} is missing", index + 1))
    }

    /// A destination of 32 or 16 bits.
    fn d32(&self, index: usize) -> Result<R32> {
        match self.register_of(self.operand(index)?)? {
            Declared::Word(register) => Ok(register),
            _ => Err(format!("operand {} must be a 32-bit register", index + 1)),
        }
    }

    fn d64(&self, index: usize) -> Result<R64> {
        match self.register_of(self.operand(index)?)? {
            Declared::Double(register) => Ok(register),
            _ => Err(format!("operand {} must be a 64-bit register", index + 1)),
        }
    }

    fn pred(&self, index: usize) -> Result<Pred> {
        match self.operand(index)? {
            Operand::Name(name) => self.pred_named(name),
            _ => Err(format!("operand {} must be a predicate", index + 1)),
        }
    }

    fn pred_named(&self, name: &str) -> Result<Pred> {
        match self.names.register(name) {
            Some(Declared::Pred(register)) => Ok(register),
            _ => Err(format!("{name} is no predicate register")),
        }
    }

    fn register_of(&self, operand: &Operand) -> Result<Declared> {
        match operand {
            Operand::Name(name) => {
                self.names.register(name).ok_or_else(|| format!("register {name} is not declared"))
            }
            _ => Err("a register is expected as the destination".to_owned()),
        }
    }

    /// A 32-bit source: a register, an immediate, a special register or a shared address.
    fn a32(&mut self, index: usize) -> Result<R32> {
        let operand = self.operand(index)?.clone();
        self.source32(&operand)
    }

    fn source32(&mut self, operand: &Operand) -> Result<R32> {
        match operand {
            Operand::Name(name) => {
                if let Some(declared) = self.names.register(name) {
                    let Declared::Word(register) = declared else {
                        return Err(format!("{name} is not a 32-bit register"));
                    };
                    return Ok(register);
                }
                let initial = special(name).map(Initial::Special).or_else(|| self.names.shared(name));
                self.names.constant(initial.ok_or_else(|| format!("{name} is not declared"))?)
            }
            Operand::Integer(value) => {
                if i64::from(*value as i32) != *value && i64::from(*value as u32) != *value {
                    return Err(format!("{value} does not fit 32 bits"));
                }
                self.names.constant(Initial::Immediate(u64::from(*value as u32)))
            }
            Operand::Float(bits) => self.names.constant(Initial::Immediate(u64::from(*bits))),
            _ => Err("a register or a number is expected".to_owned()),
        }
    }

    fn a64(&mut self, index: usize) -> Result<R64> {
        let operand = self.operand(index)?.clone();
        self.source64(&operand)
    }

    fn source64(&mut self, operand: &Operand) -> Result<R64> {
        match operand {
            Operand::Name(name) => match (self.names.register(name), self.names.shared(name)) {
                (Some(Declared::Double(register)), _) => Ok(register),
                (None, Some(address)) => self.names.constant64(address),
                (None, None) => Err(format!("{name} is not declared")),
                _ => Err(format!("{name} is not a 64-bit register")),
            },
            Operand::Integer(value) => self.names.constant64(Initial::Immediate(*value as u64)),
            _ => Err("a 64-bit register or a number is expected".to_owned()),
        }
    }

    /// A source whose width is that of its register; numbers are 32 bits wide.
    fn source(&mut self, operand: &Operand) -> Result<Register> {
        let is_double = matches!(operand, Operand::Name(name)
            if matches!(self.names.register(name), Some(Declared::Double(_))));
        if is_double {
            self.source64(operand).map(Register::Double)
        } else {
            self.source32(operand).map(Register::Word)
        }
    }

    /// The elements of a vector operand, or the operand itself.
    fn elements(&self, index: usize) -> Result<Vec<Operand>> {
        Ok(match self.operand(index)? {
            Operand::Vector(elements) => elements.clone(),
            single => vec![single.clone()],
        })
    }

    fn control(&mut self, root: &str) -> Result<Option<Op>> {
        let op = match root {
            "bra" => {
                self.allow(&["uni"])?;
                self.expect(1)?;
                let Operand::Name(label) = self.operand(0)? else { return Err("a label is expected".into()) };
                let target = self.names.label(label).ok_or_else(|| format!("label {label} is not there"))?;
                Op::Branch { target, uniform: self.has("uni") }
            }
            "ret" | "exit" => {
                self.allow(&["uni"])?;
                self.expect(0)?;
                Op::Exit
            }
            "trap" => Op::Trap,
            "bar" | "barrier" if self.has("warp") => {
                self.allow(&["warp", "sync"])?;
                self.expect(1)?;
                Op::WarpBarrier { members: self.a32(0)? }
            }
            "bar" | "barrier" => {
                self.allow(&["sync", "cta", "aligned"])?;
                if self.operands != [Operand::Integer(0)] {
                    return Err("only barrier 0 with all threads is known".to_owned());
                }
                Op::Barrier
            }
            "membar" | "fence" | "prefetch" | "griddepcontrol" | "nanosleep" | "discard" => Op::Nothing,
            _ => return Ok(None),
        };
        Ok(Some(op))
    }
}
