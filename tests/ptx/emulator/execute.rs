//! The effect of each instruction on registers; those that reach memory are in `access.rs`.

use super::block::Block;
use super::fault::{Fault, FaultKind, Outcome};
use super::instruction::{Compared, Op, PredOp, R32, Shuffle, Vote};
use super::lanes::{self, Lanes, Lanes64};
use super::tensor;
use super::warp::{ALL, Warp, lanes_of, whole_warp};

impl Block<'_> {
    /// Executes an instruction for the lanes of `mask`.
    pub(super) fn execute(&mut self, warp: &mut Warp, op: &Op, mask: u32) -> Outcome {
        match op {
            Op::Int { op, d, a, b } => {
                let value = lanes::int(*op, warp.word(*a, mask)?, warp.word(*b, mask)?);
                warp.set_word(*d, mask, &value);
            }
            Op::Float { op, flush, d, a, b } => {
                let value = lanes::floats(*op, *flush, warp.word(*a, mask)?, warp.word(*b, mask)?);
                warp.set_word(*d, mask, &value);
            }
            Op::Ternary { op, d, a, b, c } => {
                let (a, b, c) = (warp.word(*a, mask)?, warp.word(*b, mask)?, warp.word(*c, mask)?);
                let value = lanes::ternary(*op, a, b, c);
                warp.set_word(*d, mask, &value);
            }
            Op::Half { op, packed, d, a, b } => {
                let value = lanes::halves(*op, *packed, warp.word(*a, mask)?, warp.word(*b, mask)?);
                warp.set_word(*d, mask, &value);
            }
            Op::Unary { op, flush, d, a } => {
                let value = lanes::unary(*op, *flush, warp.word(*a, mask)?);
                warp.set_word(*d, mask, &value);
            }
            Op::Insert { d, a, b, position, length } => {
                let (a, b) = (warp.word(*a, mask)?, warp.word(*b, mask)?);
                let value = lanes::insert(a, b, warp.word(*position, mask)?, warp.word(*length, mask)?);
                warp.set_word(*d, mask, &value);
            }
            Op::Convert { op, d, a, b } => {
                let value = lanes::convert(*op, warp.word(*a, mask)?, warp.word(*b, mask)?);
                warp.set_word(*d, mask, &value);
            }
            Op::Move { d, a } => {
                let value = *warp.word(*a, mask)?;
                warp.set_word(*d, mask, &value);
            }
            Op::PackHalves { d, low, high } => {
                let (low, high) = (warp.word(*low, mask)?, warp.word(*high, mask)?);
                let value = std::array::from_fn(|lane| low[lane] & 0xffff | high[lane] << 16);
                warp.set_word(*d, mask, &value);
            }
            Op::HalfOf { d, a, upper } => {
                let value = warp.word(*a, mask)?.map(|a| if *upper { a >> 16 } else { a & 0xffff });
                warp.set_word(*d, mask, &value);
            }
            Op::UnpackHalves { low, high, a } => {
                let a = *warp.word(*a, mask)?;
                warp.set_word(*low, mask, &a.map(|a| a & 0xffff));
                warp.set_word(*high, mask, &a.map(|a| a >> 16));
            }
            Op::Narrow { d, a, shift } => {
                let value = warp.double(*a, mask)?.map(|a| (a >> shift) as u32);
                warp.set_word(*d, mask, &value);
            }
            Op::Unpack64 { low, high, a } => {
                let a = *warp.double(*a, mask)?;
                warp.set_word(*low, mask, &a.map(|a| a as u32));
                warp.set_word(*high, mask, &a.map(|a| (a >> 32) as u32));
            }
            Op::Select { d, a, b, p } => {
                let p = warp.predicate(*p, mask)?;
                let (a, b) = (warp.word(*a, mask)?, warp.word(*b, mask)?);
                let value = std::array::from_fn(|lane| if p >> lane & 1 == 1 { a[lane] } else { b[lane] });
                warp.set_word(*d, mask, &value);
            }
            Op::Int64 { .. }
            | Op::Shift64 { .. }
            | Op::Mad64 { .. }
            | Op::MulWide { .. }
            | Op::Not64 { .. }
            | Op::Neg64 { .. }
            | Op::Widen { .. }
            | Op::Pack64 { .. }
            | Op::Move64 { .. }
            | Op::Select64 { .. } => return execute_double(warp, op, mask),
            Op::Compare { .. } | Op::Predicates { .. } | Op::NotPred { .. } | Op::MovePred { .. } => {
                return execute_predicate(warp, op, mask);
            }
            Op::Load { space, bytes, signed, d, address } => {
                return self.load(warp, mask, *space, (*bytes, *signed), d, *address);
            }
            Op::Store { space, bytes, values, address } => {
                return self.store(warp, mask, *space, *bytes, values, *address);
            }
            Op::Atomic { op, d, address, b } => return self.atomic(warp, mask, *op, *d, *address, *b),
            Op::CopyAsync { bytes, to, from, size } => {
                return self.copy_async(warp, mask, *bytes, *to, *from, *size);
            }
            Op::CommitGroup | Op::WaitGroup { .. } | Op::WaitAll => return self.copy_groups(warp, op, mask),
            Op::LoadMatrix { transposed, d, address } => {
                return self.load_matrix(warp, mask, *transposed, d, *address);
            }
            Op::Mma { shape, d, a, b, c } => {
                whole_warp(mask)?;
                let registers = |list: &[R32]| -> Outcome<Vec<&Lanes>> {
                    list.iter().map(|&register| warp.word(register, mask)).collect()
                };
                let values = tensor::multiply_add(*shape, &registers(a)?, &registers(b)?, &registers(c)?);
                for (&d, value) in d.iter().zip(&values) {
                    warp.set_word(d, mask, value);
                }
            }
            Op::Shuffle { mode, d, valid, a, b, clamp, members } => {
                check_members(warp, *members, mask)?;
                let (a, b, clamp) = (warp.word(*a, mask)?, warp.word(*b, mask)?, warp.word(*clamp, mask)?);
                let mut value = [0; 32];
                let mut in_range = 0;
                for lane in lanes_of(mask) {
                    let (source, is_valid) = shuffle_source(*mode, lane as u32, b[lane], clamp[lane]);
                    if mask >> source & 1 == 0 {
                        let problem = format!("lane {lane} shuffles from lane {source}, which takes no part");
                        return Err(Fault::new(FaultKind::Divergence, problem));
                    }
                    value[lane] = a[source as usize];
                    in_range |= u32::from(is_valid) << lane;
                }
                warp.set_word(*d, mask, &value);
                if let Some(valid) = valid {
                    warp.set_predicate(*valid, mask, in_range);
                }
            }
            Op::Vote { vote, a, members } => {
                check_members(warp, *members, mask)?;
                let holds = warp.predicate(*a, mask)? & mask;
                match *vote {
                    Vote::All(d) => warp.set_predicate(d, mask, if holds == mask { ALL } else { 0 }),
                    Vote::Any(d) => warp.set_predicate(d, mask, if holds != 0 { ALL } else { 0 }),
                    Vote::Ballot(d) => warp.set_word(d, mask, &[holds; 32]),
                }
            }
            Op::WarpBarrier { members } => {
                check_members(warp, *members, mask)?;
                if mask != warp.live {
                    let problem = "a barrier of some lanes of a warp is not modelled";
                    return Err(Fault::new(FaultKind::Divergence, problem));
                }
                self.tick()?;
                self.clock.warp = self.clock.now;
            }
            Op::Trap => return Err(Fault::new(FaultKind::Undefined, "trap")),
            Op::Nothing | Op::Branch { .. } | Op::Exit | Op::Barrier => {}
        }
        Ok(())
    }
}

/// Instructions on 64-bit registers.
fn execute_double(warp: &mut Warp, op: &Op, mask: u32) -> Outcome {
    let (d, value): (_, Lanes64) = match *op {
        Op::Int64 { op, d, a, b } => (d, lanes::int64(op, warp.double(a, mask)?, warp.double(b, mask)?)),
        Op::Shift64 { op, d, a, b } => {
            let amount = warp.word(b, mask)?.map(u64::from);
            (d, lanes::int64(op, warp.double(a, mask)?, &amount))
        }
        Op::Mad64 { d, a, b, c } => {
            let (a, b, c) = (warp.double(a, mask)?, warp.double(b, mask)?, warp.double(c, mask)?);
            (d, std::array::from_fn(|lane| a[lane].wrapping_mul(b[lane]).wrapping_add(c[lane])))
        }
        Op::MulWide { signed, d, a, b, c } => {
            let product = lanes::multiply_wide(signed, warp.word(a, mask)?, warp.word(b, mask)?);
            let sum = match c {
                None => product,
                Some(c) => {
                    let c = warp.double(c, mask)?;
                    std::array::from_fn(|lane| product[lane].wrapping_add(c[lane]))
                }
            };
            (d, sum)
        }
        Op::Not64 { d, a } => (d, warp.double(a, mask)?.map(|a| !a)),
        Op::Neg64 { d, a } => (d, warp.double(a, mask)?.map(u64::wrapping_neg)),
        Op::Widen { signed, d, a } => {
            let widen = |a| if signed { a as i32 as i64 as u64 } else { u64::from(a) };
            (d, warp.word(a, mask)?.map(widen))
        }
        Op::Pack64 { d, low, high } => {
            let (low, high) = (warp.word(low, mask)?, warp.word(high, mask)?);
            (d, std::array::from_fn(|lane| u64::from(low[lane]) | u64::from(high[lane]) << 32))
        }
        Op::Move64 { d, a } => (d, *warp.double(a, mask)?),
        Op::Select64 { d, a, b, p } => {
            let p = warp.predicate(p, mask)?;
            let (a, b) = (warp.double(a, mask)?, warp.double(b, mask)?);
            (d, std::array::from_fn(|lane| if p >> lane & 1 == 1 { a[lane] } else { b[lane] }))
        }
        _ => return Ok(()),
    };
    warp.set_double(d, mask, &value);
    Ok(())
}

/// Instructions whose result is a predicate.
fn execute_predicate(warp: &mut Warp, op: &Op, mask: u32) -> Outcome {
    match *op {
        Op::Compare { comparison, operands, combine, d, complement } => {
            let word = |register| warp.word(register, mask);
            let holds = match operands {
                Compared::Unsigned(a, b) => lanes::compare(comparison, word(a)?, word(b)?),
                Compared::Signed(a, b) => {
                    lanes::compare(comparison, &lanes::as_signed(word(a)?), &lanes::as_signed(word(b)?))
                }
                Compared::Float(a, b) | Compared::Half(a, b) => {
                    let halves = matches!(operands, Compared::Half(..));
                    let (a, b) = (lanes::as_floats(word(a)?, halves), lanes::as_floats(word(b)?, halves));
                    lanes::compare(comparison, &a, &b)
                }
                Compared::Unsigned64(a, b) => {
                    lanes::compare(comparison, warp.double(a, mask)?, warp.double(b, mask)?)
                }
                Compared::Signed64(a, b) => {
                    let signed = |a: &Lanes64| a.map(|a| a as i64);
                    let (a, b) = (signed(warp.double(a, mask)?), signed(warp.double(b, mask)?));
                    lanes::compare(comparison, &a, &b)
                }
            };
            let (value, other) = match combine {
                None => (holds, !holds),
                Some((op, with)) => {
                    let with = warp.predicate(with, mask)?;
                    (logic(op, holds, with), logic(op, !holds, with))
                }
            };
            warp.set_predicate(d, mask, value);
            if let Some(complement) = complement {
                warp.set_predicate(complement, mask, other);
            }
        }
        Op::Predicates { op, d, a, b } => {
            let value = logic(op, warp.predicate(a, mask)?, warp.predicate(b, mask)?);
            warp.set_predicate(d, mask, value);
        }
        Op::NotPred { d, a } => {
            let value = !warp.predicate(a, mask)?;
            warp.set_predicate(d, mask, value);
        }
        Op::MovePred { d, a } => {
            let value = warp.predicate(a, mask)?;
            warp.set_predicate(d, mask, value);
        }
        _ => {}
    }
    Ok(())
}

fn logic(op: PredOp, a: u32, b: u32) -> u32 {
    match op {
        PredOp::And => a & b,
        PredOp::Or => a | b,
        PredOp::Xor => a ^ b,
    }
}

/// Fails unless the lanes that execute are those of the member mask.
fn check_members(warp: &Warp, members: R32, mask: u32) -> Outcome {
    let members = warp.word(members, mask)?;
    if lanes_of(mask).all(|lane| members[lane] == mask) {
        return Ok(());
    }
    let named = members[mask.trailing_zeros() as usize];
    let problem = format!("lanes {mask:#x} execute what names {named:#x} as its members");
    Err(Fault::new(FaultKind::Divergence, problem))
}

/// The lane that a lane reads, and whether it lies within the segment that `clamp` names.
fn shuffle_source(mode: Shuffle, lane: u32, b: u32, clamp: u32) -> (u32, bool) {
    let (b, limit, segment) = (b & 31, clamp & 31, clamp >> 8 & 31);
    let last = lane & segment | limit & !segment;
    let first = lane & segment;
    let (source, is_valid) = match mode {
        Shuffle::Up => {
            let source = lane.wrapping_sub(b);
            (source, source as i32 >= last as i32)
        }
        Shuffle::Down => (lane + b, lane + b <= last),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= last),
        Shuffle::Index => {
            let source = first | b & !segment;
            (source, source <= last)
        }
    };
    if is_valid { (source, true) } else { (lane, false) }
}
