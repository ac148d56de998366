//! Virtual registers and what instructions read.

use std::fmt;

/// The kind of a register, which decides its name's letter and its size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    Pred,
    B16,
    B32,
    B64,
    F32,
}

impl Class {
    pub(super) const ALL: [Class; 5] = [Class::Pred, Class::B16, Class::B32, Class::B64, Class::F32];

    pub(super) fn letter(self) -> char {
        match self {
            Class::Pred => 'p',
            Class::B16 => 'h',
            Class::B32 => 'r',
            Class::B64 => 'd',
            Class::F32 => 'f',
        }
    }

    pub(super) fn declared(self) -> &'static str {
        match self {
            Class::Pred => "pred",
            Class::B16 => "b16",
            Class::B32 => "b32",
            Class::B64 => "b64",
            Class::F32 => "f32",
        }
    }
}

/// A virtual register.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reg {
    pub(super) class: Class,
    pub(super) id: u32,
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}{}", self.class.letter(), self.id)
    }
}

/// An operand: a register, or a number known when the kernel is written.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value {
    Reg(Reg),
    Int(i64),
    Float(f32),
}

impl Value {
    pub const ZERO: Value = Value::Float(0.0);

    /// The number, where it is known.
    pub fn known(self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Reg(reg) => reg.fmt(f),
            Value::Int(value) => value.fmt(f),
            Value::Float(value) => write!(f, "0f{:08X}", value.to_bits()),
        }
    }
}

impl From<Reg> for Value {
    fn from(reg: Reg) -> Value {
        Value::Reg(reg)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Value {
        Value::Int(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Value {
        Value::Int(value.into())
    }
}

impl From<usize> for Value {
    /// # Panics
    /// If the number does not fit 63 bits, which no extent of an array does.
    fn from(value: usize) -> Value {
        Value::Int(i64::try_from(value).expect("extents fit 63 bits"))
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Value {
        Value::Float(value)
    }
}

/// A place in memory: a register and a number of bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Address {
    pub base: Value,
    pub bytes: i64,
}

impl Address {
    /// So many bytes further on.
    #[must_use]
    pub fn plus(self, bytes: impl TryInto<i64>) -> Address {
        let bytes = bytes.try_into().unwrap_or_else(|_| panic!("distances fit 63 bits"));
        Address { bytes: self.bytes + bytes, ..self }
    }
}

impl From<Value> for Address {
    fn from(base: Value) -> Address {
        match base {
            Value::Int(bytes) => Address { base: Value::Int(0), bytes },
            base => Address { base, bytes: 0 },
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.base, self.bytes) {
            (Value::Int(base), bytes) => write!(f, "[{}]", base + bytes),
            (base, 0) => write!(f, "[{base}]"),
            (base, bytes) => write!(f, "[{base}+{bytes}]"),
        }
    }
}

/// How two numbers are compared; integers as unsigned unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    Eq,
    Lt,
    Ge,
    Gt,
    SignedLt,
    SignedGe,
}
