//! Decoding of arithmetic, logic, comparison, selection and conversion.

use super::{Decoder, Result};
use crate::emulator::instruction::{
    Compared, Comparison, Convert, FloatOp, IntOp, Op, Pred, PredOp, R32, Rounding, TernaryOp, UnaryOp,
};
use crate::emulator::module::Declared;
use crate::emulator::syntax::Operand;

pub fn decode(decoder: &mut Decoder, root: &str) -> Result<Option<Op>> {
    let op = match root {
        "add" | "sub" | "mul" | "div" | "rem" | "min" | "max" | "and" | "or" | "xor" | "shl" | "shr" => {
            decoder.binary(root)?
        }
        "mad" | "fma" => decoder.multiply_add(root)?,
        "neg" | "abs" | "not" | "cnot" | "popc" | "clz" | "brev" | "rcp" | "sqrt" | "rsqrt" | "ex2"
        | "lg2" | "sin" | "cos" | "tanh" => decoder.unary(root)?,
        "mov" => decoder.move_()?,
        "cvta" => {
            decoder.allow(&["to", "global", "shared", "u64"])?;
            decoder.expect(2)?;
            if decoder.has("shared") {
                return Err("generic addresses of shared memory are not known".to_owned());
            }
            Op::Move64 { d: decoder.d64(0)?, a: decoder.a64(1)? }
        }
        "cvt" => decoder.convert()?,
        "setp" => decoder.compare()?,
        "selp" => decoder.select()?,
        "bfe" => {
            decoder.allow(&["u32", "s32"])?;
            decoder.ternary(TernaryOp::Extract { signed: decoder.kind() == "s32" })?
        }
        "bfi" => {
            decoder.allow(&["b32"])?;
            decoder.expect(5)?;
            let [a, b, position, length] = [1, 2, 3, 4].map(|index| decoder.a32(index));
            Op::Insert { d: decoder.d32(0)?, a: a?, b: b?, position: position?, length: length? }
        }
        "prmt" => {
            decoder.allow(&["b32"])?;
            decoder.ternary(TernaryOp::Permute)?
        }
        "lop3" => {
            decoder.allow(&["b32"])?;
            decoder.expect(5)?;
            let Operand::Integer(table) = *decoder.operand(4)? else { return Err("no truth table".into()) };
            let table = u8::try_from(table).map_err(|_| format!("{table} is no truth table"))?;
            let [a, b, c] = [1, 2, 3].map(|index| decoder.a32(index));
            Op::Ternary { op: TernaryOp::Logic { table }, d: decoder.d32(0)?, a: a?, b: b?, c: c? }
        }
        "shf" => {
            decoder.allow(&["l", "r", "wrap", "clamp", "b32"])?;
            let clamp = decoder.has("clamp");
            decoder.ternary(if decoder.has("l") {
                TernaryOp::FunnelLeft { clamp }
            } else {
                TernaryOp::FunnelRight { clamp }
            })?
        }
        _ => return Ok(None),
    };
    Ok(Some(op))
}

fn is_signed(kind: &str) -> bool {
    kind.starts_with('s')
}

impl Decoder<'_> {
    fn binary(&mut self, root: &str) -> Result<Op> {
        self.expect(3)?;
        let kind = self.kind().to_owned();
        match kind.as_str() {
            "f32" | "f16" | "f16x2" => {
                // Rounding is to nearest; an approximate division is as good as an exact one.
                self.allow(&["rn", "ftz", "approx", "full", "NaN", &kind])?;
                let propagate = self.has("NaN");
                let op = match root {
                    "add" => FloatOp::Add,
                    "sub" => FloatOp::Sub,
                    "mul" => FloatOp::Mul,
                    "div" => FloatOp::Div,
                    "min" => FloatOp::Min { propagate },
                    "max" => FloatOp::Max { propagate },
                    _ => return Err(format!("there is no {root} of floats")),
                };
                let (d, a, b) = (self.d32(0)?, self.a32(1)?, self.a32(2)?);
                Ok(match kind.as_str() {
                    "f32" => Op::Float { op, flush: self.has("ftz"), d, a, b },
                    _ => Op::Half { op, packed: kind == "f16x2", d, a, b },
                })
            }
            "pred" => {
                self.allow(&["pred"])?;
                let op = pred_op(root)?;
                Ok(Op::Predicates { op, d: self.pred(0)?, a: self.pred(1)?, b: self.pred(2)? })
            }
            "u32" | "s32" | "b32" | "u64" | "s64" | "b64" => {
                self.allow(&["lo", "hi", "wide", &kind])?;
                let signed = is_signed(&kind);
                if self.has("wide") {
                    let (a, b) = (self.a32(1)?, self.a32(2)?);
                    return Ok(Op::MulWide { signed, d: self.d64(0)?, a, b, c: None });
                }
                let op = match root {
                    "add" => IntOp::Add,
                    "sub" => IntOp::Sub,
                    "mul" if self.has("hi") => IntOp::MulHi { signed },
                    "mul" if self.has("lo") => IntOp::Mul,
                    "div" => IntOp::Div { signed },
                    "rem" => IntOp::Rem { signed },
                    "min" => IntOp::Min { signed },
                    "max" => IntOp::Max { signed },
                    "and" => IntOp::And,
                    "or" => IntOp::Or,
                    "xor" => IntOp::Xor,
                    "shl" => IntOp::Shl,
                    "shr" => IntOp::Shr { signed },
                    _ => return Err("one of .lo, .hi and .wide is missing".to_owned()),
                };
                if !kind.ends_with("64") {
                    return Ok(Op::Int { op, d: self.d32(0)?, a: self.a32(1)?, b: self.a32(2)? });
                }
                let (d, a) = (self.d64(0)?, self.a64(1)?);
                Ok(match op {
                    IntOp::Shl | IntOp::Shr { .. } => Op::Shift64 { op, d, a, b: self.a32(2)? },
                    IntOp::MulHi { .. } => return Err("64-bit .hi is not known".to_owned()),
                    _ => Op::Int64 { op, d, a, b: self.a64(2)? },
                })
            }
            _ => Err(format!("type .{kind} is not known here")),
        }
    }

    fn ternary(&mut self, op: TernaryOp) -> Result<Op> {
        self.expect(4)?;
        let [a, b, c] = [1, 2, 3].map(|index| self.a32(index));
        Ok(Op::Ternary { op, d: self.d32(0)?, a: a?, b: b?, c: c? })
    }

    fn multiply_add(&mut self, root: &str) -> Result<Op> {
        self.expect(4)?;
        let kind = self.kind().to_owned();
        self.allow(&["rn", "ftz", "lo", "wide", &kind])?;
        let flush = self.has("ftz");
        match (root, kind.as_str()) {
            (_, "f32") => self.ternary(TernaryOp::Fma { flush }),
            ("fma", "f16") => self.ternary(TernaryOp::HalfFma { packed: false }),
            ("fma", "f16x2") => self.ternary(TernaryOp::HalfFma { packed: true }),
            ("mad", "u32" | "s32") if self.has("wide") => {
                let (a, b, c) = (self.a32(1)?, self.a32(2)?, self.a64(3)?);
                Ok(Op::MulWide { signed: is_signed(&kind), d: self.d64(0)?, a, b, c: Some(c) })
            }
            ("mad", "u32" | "s32") if self.has("lo") => self.ternary(TernaryOp::Mad),
            ("mad", "u64" | "s64") if self.has("lo") => {
                let (a, b, c) = (self.a64(1)?, self.a64(2)?, self.a64(3)?);
                Ok(Op::Mad64 { d: self.d64(0)?, a, b, c })
            }
            _ => Err("this form is not known".to_owned()),
        }
    }

    fn unary(&mut self, root: &str) -> Result<Op> {
        self.expect(2)?;
        let kind = self.kind().to_owned();
        self.allow(&["rn", "approx", "ftz", &kind])?;
        let op = match (root, kind.as_str()) {
            ("not", "pred") => return Ok(Op::NotPred { d: self.pred(0)?, a: self.pred(1)? }),
            ("not", "b64") => return Ok(Op::Not64 { d: self.d64(0)?, a: self.a64(1)? }),
            ("neg", "s64") => return Ok(Op::Neg64 { d: self.d64(0)?, a: self.a64(1)? }),
            ("not", "b32") => UnaryOp::Not,
            ("neg", "s32") => UnaryOp::NegInt,
            ("abs", "s32") => UnaryOp::AbsInt,
            ("popc", "b32") => UnaryOp::PopCount,
            ("clz", "b32") => UnaryOp::LeadingZeros,
            ("brev", "b32") => UnaryOp::ReverseBits,
            ("neg", "f32") => UnaryOp::Neg,
            ("abs", "f32") => UnaryOp::Abs,
            ("rcp", "f32") => UnaryOp::Reciprocal,
            ("sqrt", "f32") => UnaryOp::Sqrt,
            ("rsqrt", "f32") => UnaryOp::ReciprocalSqrt,
            ("ex2", "f32") => UnaryOp::Exp2,
            ("lg2", "f32") => UnaryOp::Log2,
            ("sin", "f32") => UnaryOp::Sine,
            ("cos", "f32") => UnaryOp::Cosine,
            ("tanh", "f32") => UnaryOp::Tanh,
            _ => return Err(format!("type .{kind} is not known here")),
        };
        Ok(Op::Unary { op, flush: self.has("ftz"), d: self.d32(0)?, a: self.a32(1)? })
    }

    fn move_(&mut self) -> Result<Op> {
        self.expect(2)?;
        let kind = self.kind().to_owned();
        self.allow(&[&kind])?;
        let destination = self.operand(0)?.clone();
        let source = self.operand(1)?.clone();
        if let Operand::Vector(elements) = &source {
            let [low, high] = &elements[..] else { return Err("two elements are expected".to_owned()) };
            let (low, high) = (self.source32(low)?, self.source32(high)?);
            return match kind.as_str() {
                "b64" => Ok(Op::Pack64 { d: self.d64(0)?, low, high }),
                "b32" => Ok(Op::PackHalves { d: self.d32(0)?, low, high }),
                _ => Err(format!("type .{kind} is not known here")),
            };
        }
        if let Operand::Vector(elements) = &destination {
            return self.unpack(&kind, elements);
        }
        match kind.as_str() {
            "pred" => Ok(Op::MovePred { d: self.pred(0)?, a: self.pred(1)? }),
            "b64" | "u64" | "s64" => Ok(Op::Move64 { d: self.d64(0)?, a: self.a64(1)? }),
            "b16" | "u16" | "b32" | "u32" | "s32" | "f32" => {
                Ok(Op::Move { d: self.d32(0)?, a: self.a32(1)? })
            }
            _ => Err(format!("type .{kind} is not known here")),
        }
    }

    /// `mov.b64 {low, high}, rd`: `_` takes nothing. Both halves at once are two instructions for the machine.
    fn unpack(&mut self, kind: &str, elements: &[Operand]) -> Result<Op> {
        let position = match elements {
            [_, Operand::Name(sink)] if sink == "_" => 0,
            [Operand::Name(sink), _] if sink == "_" => 1,
            [_, _] => return self.unpack_both(kind, elements),
            _ => return Err("two elements are expected".to_owned()),
        };
        let Declared::Word(d) = self.register_of(&elements[position])? else {
            return Err("a 32-bit register is expected".to_owned());
        };
        match kind {
            "b64" => Ok(Op::Narrow { d, a: self.a64(1)?, shift: 32 * position as u32 }),
            "b32" => Ok(Op::HalfOf { d, a: self.a32(1)?, upper: position == 1 }),
            _ => Err(format!("type .{kind} is not known here")),
        }
    }

    fn unpack_both(&mut self, kind: &str, elements: &[Operand]) -> Result<Op> {
        let [low, high] = [0, 1].map(|index| match self.register_of(&elements[index]) {
            Ok(Declared::Word(register)) => Ok(register),
            _ => Err("32-bit registers are expected".to_owned()),
        });
        let (low, high) = (low?, high?);
        match kind {
            "b64" => Ok(Op::Unpack64 { low, high, a: self.a64(1)? }),
            "b32" => Ok(Op::UnpackHalves { low, high, a: self.a32(1)? }),
            _ => Err(format!("type .{kind} is not known here")),
        }
    }

    fn convert(&mut self) -> Result<Op> {
        let modifiers = self.modifiers.to_vec();
        let rounding = modifiers.iter().find_map(|modifier| match *modifier {
            "rni" => Some(Rounding::Nearest),
            "rzi" => Some(Rounding::Zero),
            "rmi" => Some(Rounding::Down),
            "rpi" => Some(Rounding::Up),
            _ => None,
        });
        let kinds: Vec<&str> = modifiers
            .iter()
            .copied()
            .filter(|modifier| !["rn", "rna", "rni", "rzi", "rmi", "rpi", "sat", "ftz"].contains(modifier))
            .collect();
        let (from, to) = match (&kinds[..], self.has("sat")) {
            (["f32", "f32"], true) => ("f32", "saturated"),
            ([to, from], false) => (*from, *to),
            _ => return Err("this form is not known".to_owned()),
        };
        let signed = is_signed(from);
        let op = match (to, from) {
            ("f16x2", "f32") => {
                self.expect(3)?;
                let (a, b) = (self.a32(1)?, self.a32(2)?);
                return Ok(Op::Convert { op: Convert::HalvesFromFloats, d: self.d32(0)?, a, b });
            }
            ("u64" | "s64", "u32" | "s32") => {
                self.expect(2)?;
                return Ok(Op::Widen { signed, d: self.d64(0)?, a: self.a32(1)? });
            }
            ("u32" | "s32", "u64" | "s64") => {
                self.expect(2)?;
                return Ok(Op::Narrow { d: self.d32(0)?, a: self.a64(1)?, shift: 0 });
            }
            ("saturated", _) => Convert::Saturate,
            ("f16", "f32") => Convert::HalfFromFloat,
            ("f32", "f16") => Convert::FloatFromHalf,
            ("tf32", "f32") if self.has("rna") => Convert::Tf32FromFloat,
            ("f32", "u32" | "s32") => Convert::FloatFromInt { signed },
            ("u32" | "s32", "f32") => Convert::IntFromFloat {
                signed: is_signed(to),
                rounding: rounding.ok_or("the rounding is missing")?,
            },
            ("f32", "f32") => Convert::Integral { rounding: rounding.ok_or("the rounding is missing")? },
            ("u32" | "s32", "u16" | "s16") => Convert::Extend { bits: 16, signed },
            ("u32" | "s32", "u8" | "s8") => Convert::Extend { bits: 8, signed },
            ("u16" | "s16", "u32" | "s32") => Convert::Extend { bits: 16, signed: false },
            ("u32" | "s32", "u32" | "s32") => Convert::Identity,
            _ => return Err(format!("no conversion from .{from} to .{to} is known")),
        };
        self.expect(2)?;
        let a = self.a32(1)?;
        Ok(Op::Convert { op, d: self.d32(0)?, a, b: a })
    }

    fn compare(&mut self) -> Result<Op> {
        let [name, combination @ .., kind] = self.modifiers else { return Err("no comparison".into()) };
        let comparison = match *name {
            "eq" => Comparison::Eq,
            "ne" => Comparison::Ne,
            "lt" | "lo" => Comparison::Lt,
            "le" | "ls" => Comparison::Le,
            "gt" | "hi" => Comparison::Gt,
            "ge" | "hs" => Comparison::Ge,
            "equ" => Comparison::EqOrNan,
            "neu" => Comparison::NeOrNan,
            "ltu" => Comparison::LtOrNan,
            "leu" => Comparison::LeOrNan,
            "gtu" => Comparison::GtOrNan,
            "geu" => Comparison::GeOrNan,
            "num" => Comparison::Number,
            "nan" => Comparison::Nan,
            _ => return Err(format!("there is no comparison .{name}")),
        };
        let is_float = kind.starts_with('f');
        if !is_float && (name.ends_with('u') || ["num", "nan"].contains(name)) {
            return Err(format!(".{name} is for floats"));
        }
        let combination: Vec<&str> = combination.iter().copied().filter(|&word| word != "ftz").collect();
        let combine = match combination[..] {
            [] => None,
            [op] => {
                let Operand::Name(name) = self.operand(3)? else {
                    return Err("a predicate is missing".into());
                };
                Some((pred_op(op)?, self.pred_named(name)?))
            }
            _ => return Err("this form is not known".to_owned()),
        };
        self.expect(3 + usize::from(combine.is_some()))?;
        let operands = match *kind {
            "u32" | "b32" => Compared::Unsigned(self.a32(1)?, self.a32(2)?),
            "s32" => Compared::Signed(self.a32(1)?, self.a32(2)?),
            "f32" => Compared::Float(self.a32(1)?, self.a32(2)?),
            "f16" => Compared::Half(self.a32(1)?, self.a32(2)?),
            "u64" | "b64" => Compared::Unsigned64(self.a64(1)?, self.a64(2)?),
            "s64" => Compared::Signed64(self.a64(1)?, self.a64(2)?),
            _ => return Err(format!("type .{kind} is not known here")),
        };
        let (d, complement): (Pred, Option<Pred>) = match self.operand(0)? {
            Operand::Pair(d, complement) => (self.pred_named(d)?, Some(self.pred_named(complement)?)),
            _ => (self.pred(0)?, None),
        };
        Ok(Op::Compare { comparison, operands, combine, d, complement })
    }

    fn select(&mut self) -> Result<Op> {
        self.expect(4)?;
        let kind = self.kind().to_owned();
        self.allow(&[&kind])?;
        let p = self.pred(3)?;
        match kind.as_str() {
            "b64" | "u64" | "s64" => {
                let (a, b) = (self.a64(1)?, self.a64(2)?);
                Ok(Op::Select64 { d: self.d64(0)?, a, b, p })
            }
            "b16" | "b32" | "u32" | "s32" | "f32" => {
                let (a, b): (R32, R32) = (self.a32(1)?, self.a32(2)?);
                Ok(Op::Select { d: self.d32(0)?, a, b, p })
            }
            _ => Err(format!("type .{kind} is not known here")),
        }
    }
}

fn pred_op(name: &str) -> Result<PredOp> {
    match name {
        "and" => Ok(PredOp::And),
        "or" => Ok(PredOp::Or),
        "xor" => Ok(PredOp::Xor),
        _ => Err(format!("predicates have no .{name}")),
    }
}
