//! Decoding of loads, stores, copies, atomics, warp-wide and matrix instructions.

use super::{Decoder, Result};
use crate::emulator::instruction::{Address, AtomicOp, MmaShape, Op, R32, Register, Shuffle, Space, Vote};
use crate::emulator::module::Declared;
use crate::emulator::syntax::Operand;

/// Hints to the caches, which change nothing here.
fn is_hint(modifier: &str) -> bool {
    ["ca", "cg", "cs", "lu", "cv", "wb", "wt", "weak", "relaxed", "acquire", "release", "gpu", "cta", "sys"]
        .contains(&modifier)
        || modifier.starts_with("L1::")
        || modifier.starts_with("L2::")
}

pub fn decode(decoder: &mut Decoder, root: &str) -> Result<Option<Op>> {
    let op = match root {
        "ld" | "ldu" => decoder.load()?,
        "st" => decoder.store()?,
        "atom" | "red" => decoder.atomic(root == "atom")?,
        "cp" => decoder.copy_async()?,
        "ldmatrix" => decoder.load_matrix()?,
        "mma" => decoder.mma()?,
        "shfl" => decoder.shuffle()?,
        "vote" => decoder.vote()?,
        "activemask" => return Err("the emulator does not know this instruction".to_owned()),
        _ => return Ok(None),
    };
    Ok(Some(op))
}

/// Bytes and signedness of an element type.
fn element(kind: &str) -> Result<(u32, bool)> {
    match kind {
        "b16" | "u16" | "f16" => Ok((2, false)),
        "s16" => Ok((2, true)),
        "b32" | "u32" | "s32" | "f32" | "f16x2" => Ok((4, false)),
        "b64" | "u64" | "s64" => Ok((8, false)),
        _ => Err(format!("elements of type .{kind} are not known")),
    }
}

impl Decoder<'_> {
    fn address(&mut self, index: usize) -> Result<Address> {
        let Operand::Address { base, offset } = self.operand(index)?.clone() else {
            return Err(format!("operand {} must be an address", index + 1));
        };
        Ok(Address { base: self.source(&base)?, offset })
    }

    /// A parameter's address is known when the kernel is decoded.
    fn parameter_address(&mut self) -> Result<Address> {
        let Operand::Address { base, offset } = self.operand(1)?.clone() else {
            return Err("operand 2 must be an address".to_owned());
        };
        let Operand::Name(name) = *base else { return Err("a parameter is expected".to_owned()) };
        let parameters = &self.names.kernel.parameters;
        let found = parameters.iter().find(|parameter| parameter.name == name);
        let start = found.ok_or_else(|| format!("there is no parameter {name}"))?.offset;
        let zero = self.source(&Operand::Integer(0))?;
        Ok(Address { base: zero, offset: offset + i64::from(start) })
    }

    /// The space of a load or store, its element type and how many elements; other modifiers are hints.
    fn access(&self) -> Result<(Space, &str, usize)> {
        let [modifiers @ .., kind] = self.modifiers else { return Err("no type".to_owned()) };
        let (mut space, mut count, mut constant) = (None, 1, false);
        for modifier in modifiers {
            match *modifier {
                "global" => space = Some(Space::Global { constant: false }),
                "shared" | "shared::cta" => space = Some(Space::Shared),
                "param" => space = Some(Space::Param),
                "nc" => constant = true,
                "v2" => count = 2,
                "v4" => count = 4,
                hint if is_hint(hint) => {}
                unknown => return Err(format!("modifier .{unknown} is not known here")),
            }
        }
        match space {
            Some(Space::Global { .. }) => Ok((Space::Global { constant }, kind, count)),
            Some(space) => Ok((space, kind, count)),
            None => Err("generic addresses are not known".to_owned()),
        }
    }

    fn load(&mut self) -> Result<Op> {
        self.expect(2)?;
        let (space, kind, count) = self.access()?;
        let (bytes, signed) = element(kind)?;
        let d: Vec<Register> = self
            .elements(0)?
            .iter()
            .map(|operand| match (self.register_of(operand)?, bytes) {
                (Declared::Word(register), 2 | 4) => Ok(Register::Word(register)),
                (Declared::Double(register), 8) => Ok(Register::Double(register)),
                _ => Err("a destination does not have the type's width".to_owned()),
            })
            .collect::<Result<_>>()?;
        if d.len() != count || count * bytes as usize > 16 {
            return Err(format!("{} destinations of {bytes} bytes", d.len()));
        }
        let address = if space == Space::Param { self.parameter_address()? } else { self.address(1)? };
        Ok(Op::Load { space, bytes, signed, d: d.into(), address })
    }

    fn store(&mut self) -> Result<Op> {
        self.expect(2)?;
        let (space, kind, count) = self.access()?;
        if space == Space::Param {
            return Err("parameters cannot be written".to_owned());
        }
        let (bytes, _) = element(kind)?;
        let mut values = Vec::new();
        for operand in self.elements(1)? {
            values.push(match bytes {
                8 => Register::Double(self.source64(&operand)?),
                _ => Register::Word(self.source32(&operand)?),
            });
        }
        if values.len() != count || count * bytes as usize > 16 {
            return Err(format!("{} values of {bytes} bytes", values.len()));
        }
        Ok(Op::Store { space, bytes, values: values.into(), address: self.address(0)? })
    }

    fn atomic(&mut self, returns: bool) -> Result<Op> {
        let modifiers: Vec<&str> =
            self.modifiers.iter().copied().filter(|modifier| !is_hint(modifier)).collect();
        let [space, name, kind] = modifiers[..] else { return Err("this form is not known".to_owned()) };
        let signed = kind == "s32";
        let first = usize::from(returns);
        let op = match (name, kind) {
            ("add", "u32" | "s32") => AtomicOp::Add,
            ("add", "f32") => AtomicOp::AddFloat,
            ("min", "u32" | "s32") => AtomicOp::Min { signed },
            ("max", "u32" | "s32") => AtomicOp::Max { signed },
            ("and", "b32") => AtomicOp::And,
            ("or", "b32") => AtomicOp::Or,
            ("xor", "b32") => AtomicOp::Xor,
            ("exch", "b32") => AtomicOp::Exchange,
            ("inc", "u32") => AtomicOp::Increment,
            ("cas", "b32") => AtomicOp::CompareAndSwap(self.a32(first + 2)?),
            _ => return Err(format!(".{name}.{kind} is not known here")),
        };
        self.expect(first + 2 + usize::from(matches!(op, AtomicOp::CompareAndSwap(_))))?;
        if space != "global" {
            return Err(format!("space .{space} is not known here"));
        }
        let d = if returns { Some(self.d32(0)?) } else { None };
        Ok(Op::Atomic { op, d, address: self.address(first)?, b: self.a32(first + 1)? })
    }

    fn copy_async(&mut self) -> Result<Op> {
        if self.has("commit_group") {
            self.expect(0)?;
            return Ok(Op::CommitGroup);
        }
        if self.has("wait_all") {
            self.expect(0)?;
            return Ok(Op::WaitAll);
        }
        if self.has("wait_group") {
            self.expect(1)?;
            let Operand::Integer(pending) = *self.operand(0)? else {
                return Err("a number is expected".into());
            };
            let pending = u32::try_from(pending).map_err(|_| format!("{pending} groups"))?;
            return Ok(Op::WaitGroup { pending });
        }
        let modifiers: Vec<&str> =
            self.modifiers.iter().copied().filter(|modifier| !modifier.starts_with("L2::")).collect();
        let (["async", cache, "shared" | "shared::cta", "global"], Operand::Integer(bytes)) =
            (&modifiers[..], self.operand(2)?.clone())
        else {
            return Err("this form is not known".to_owned());
        };
        match (*cache, bytes) {
            ("ca", 4 | 8 | 16) | ("cg", 16) => {}
            _ => return Err(format!(".{cache} copies no {bytes} bytes")),
        }
        let size = match self.operands.len() {
            3 => None,
            4 => Some(self.a32(3)?),
            _ => return Err("3 or 4 operands are expected".to_owned()),
        };
        Ok(Op::CopyAsync { bytes: bytes as u32, to: self.address(0)?, from: self.address(1)?, size })
    }

    fn destinations(&self, index: usize) -> Result<Vec<R32>> {
        let elements = self.elements(index)?;
        let words = elements.iter().map(|operand| match self.register_of(operand)? {
            Declared::Word(register) => Ok(register),
            _ => Err("32-bit registers are expected".to_owned()),
        });
        words.collect()
    }

    fn load_matrix(&mut self) -> Result<Op> {
        self.expect(2)?;
        self.allow(&["sync", "aligned", "m8n8", "x1", "x2", "x4", "trans", "shared", "shared::cta", "b16"])?;
        let d = self.destinations(0)?;
        let count = [("x1", 1), ("x2", 2), ("x4", 4)].iter().find(|(name, _)| self.has(name)).map(|x| x.1);
        if count != Some(d.len()) {
            return Err(format!("{} destinations", d.len()));
        }
        Ok(Op::LoadMatrix { transposed: self.has("trans"), d: d.into(), address: self.address(1)? })
    }

    fn mma(&mut self) -> Result<Op> {
        self.expect(4)?;
        let (shape, registers) = match *self.modifiers {
            ["sync", "aligned", "m16n8k4", "row", "col", "f32", "tf32", "tf32", "f32"] => {
                (MmaShape::Tf32K4, [4, 2, 1, 4])
            }
            ["sync", "aligned", "m16n8k8", "row", "col", "f32", "tf32", "tf32", "f32"] => {
                (MmaShape::Tf32K8, [4, 4, 2, 4])
            }
            ["sync", "aligned", "m16n8k8", "row", "col", "f32", "f16", "f16", "f32"] => {
                (MmaShape::HalfK8, [4, 2, 1, 4])
            }
            ["sync", "aligned", "m16n8k16", "row", "col", "f32", "f16", "f16", "f32"] => {
                (MmaShape::HalfK16, [4, 4, 2, 4])
            }
            [
                "sync",
                "aligned",
                "m8n8k4",
                a @ ("row" | "col"),
                b @ ("row" | "col"),
                "f32",
                "f16",
                "f16",
                "f32",
            ] => {
                let shape = MmaShape::HalfQuads { a_by_column: a == "col", b_by_column: b == "col" };
                (shape, [8, 2, 2, 8])
            }
            _ => return Err("this form is not known".to_owned()),
        };
        let d = self.destinations(0)?;
        let mut sources = Vec::new();
        for index in 1..4 {
            let elements = self.elements(index)?;
            sources.push(elements.iter().map(|operand| self.source32(operand)).collect::<Result<Vec<_>>>()?);
        }
        let counts = [d.len(), sources[0].len(), sources[1].len(), sources[2].len()];
        if counts != registers {
            return Err(format!("{counts:?} registers where there should be {registers:?}"));
        }
        let mut sources = sources.into_iter().map(Vec::into_boxed_slice);
        let mut source = || sources.next().unwrap_or_default();
        Ok(Op::Mma { shape, d: d.into(), a: source(), b: source(), c: source() })
    }

    fn shuffle(&mut self) -> Result<Op> {
        self.expect(5)?;
        let mode = match *self.modifiers {
            ["sync", "idx", "b32"] => Shuffle::Index,
            ["sync", "up", "b32"] => Shuffle::Up,
            ["sync", "down", "b32"] => Shuffle::Down,
            ["sync", "bfly", "b32"] => Shuffle::Butterfly,
            _ => return Err("this form is not known".to_owned()),
        };
        let (d, valid) = match self.operand(0)? {
            Operand::Pair(d, valid) => {
                let Declared::Word(d) = self.register_of(&Operand::Name(d.clone()))? else {
                    return Err(format!("{d} is not a 32-bit register"));
                };
                (d, Some(self.pred_named(valid)?))
            }
            _ => (self.d32(0)?, None),
        };
        let [a, b, clamp, members] = [1, 2, 3, 4].map(|index| self.a32(index));
        Ok(Op::Shuffle { mode, d, valid, a: a?, b: b?, clamp: clamp?, members: members? })
    }

    fn vote(&mut self) -> Result<Op> {
        self.expect(3)?;
        let vote = match *self.modifiers {
            ["sync", "all", "pred"] => Vote::All(self.pred(0)?),
            ["sync", "any", "pred"] => Vote::Any(self.pred(0)?),
            ["sync", "ballot", "b32"] => Vote::Ballot(self.d32(0)?),
            _ => return Err("this form is not known".to_owned()),
        };
        Ok(Op::Vote { vote, a: self.pred(1)?, members: self.a32(2)? })
    }
}
