//! Where the parameters, pointers and loop counters live: general-purpose registers, or else stack slots.

use iced_x86::Register;
use rustc_hash::{FxHashMap, FxHashSet};

use super::folding::Folded;
use super::linear_scan::{Request, allocate};
use super::liveness::{Lives, reads, writes};
use super::steps::Step;
use crate::codegen::vector::{GRID_RANK, Index, Pointer, Reg};

/// The register that code may use at any time, and nothing lives in.
pub const SCRATCH: Register = Register::RAX;

/// The registers for values: first those that a function may overwrite, the parameters' among them.
const REGISTERS: [Register; 14] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// How many of them need not be saved.
const CALLER_SAVED: usize = 8;

/// A 64-bit integer of the generated code.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Scalar {
    /// The table of buffers.
    Table,
    /// A grid coordinate or a loop's counter.
    Index(Index),
    Pointer(Pointer),
}

impl Scalar {
    /// The register that a parameter arrives in.
    fn parameter(&self) -> Option<usize> {
        match *self {
            Scalar::Table => Some(0),
            Scalar::Index(Index(coordinate)) if coordinate < GRID_RANK => Some(1 + coordinate),
            _ => None,
        }
    }
}

/// Where a scalar lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    Register(Register),
    /// The number of a stack slot of eight bytes.
    Slot(usize),
}

/// The homes of a kernel's scalars.
pub struct Scalars {
    homes: FxHashMap<Scalar, Home>,
    /// Loops whose counters a branch asks for.
    asked: FxHashSet<Index>,
    pub slots: usize,
}

impl Scalars {
    pub fn home(&self, scalar: &Scalar) -> Home {
        self.homes[scalar]
    }

    /// Whether a loop's counter must hold the index, rather than the rounds that remain.
    pub fn counts_up(&self, index: Index) -> bool {
        self.asked.contains(&index)
    }

    /// The registers in use that a function must preserve.
    pub fn saved(&self) -> Vec<Register> {
        let is_used =
            |register: &&Register| self.homes.values().any(|home| *home == Home::Register(**register));
        REGISTERS[CALLER_SAVED..].iter().filter(is_used).copied().collect()
    }

    /// The parameters that must be stored on entry: the registers they arrive in and their slots.
    pub fn stored_parameters(&self) -> Vec<(Register, usize)> {
        let mut stored: Vec<_> = (self.homes.iter())
            .filter_map(|(scalar, home)| match (scalar.parameter(), *home) {
                (Some(parameter), Home::Slot(slot)) => Some((REGISTERS[parameter], slot)),
                _ => None,
            })
            .collect();
        stored.sort_by_key(|&(_, slot)| slot);
        stored
    }
}

/// Finds a home for every scalar of the steps.
pub fn place(steps: &[Step<'_>], folded: &FxHashMap<Reg, Folded<'_>>) -> Scalars {
    let mut lives = Lives::new();
    let mut asked = FxHashSet::default();
    let mut starts: FxHashMap<&Pointer, &Pointer> = FxHashMap::default();
    for (position, step) in steps.iter().enumerate() {
        lives.step(position, step);
        let (read, write) = (reads(position), writes(position));
        match step {
            Step::Base(pointer) => {
                lives.touch(&Scalar::Table, 0);
                lives.touch(&Scalar::Table, read);
                // The terms are read after the pointer has first been written.
                for term in &pointer.terms {
                    lives.touch(&Scalar::Index(term.0), 0);
                    lives.touch(&Scalar::Index(term.0), write);
                }
                lives.touch(&Scalar::Pointer(pointer.clone()), write);
            }
            Step::Start { to, from } => {
                lives.touch(&Scalar::Pointer(from.clone()), read);
                lives.touch(&Scalar::Pointer(to.clone()), write);
                starts.insert(to, from);
            }
            Step::Enter { index, .. } | Step::Exit { index, .. } => {
                lives.touch(&Scalar::Index(*index), write);
            }
            Step::Advance { pointer, .. } => lives.touch(&Scalar::Pointer(pointer.clone()), write),
            Step::If { index, .. } => {
                asked.insert(*index);
                if index.0 < GRID_RANK {
                    lives.touch(&Scalar::Index(*index), 0);
                }
                lives.touch(&Scalar::Index(*index), read);
            }
            Step::Inst(inst) => {
                let own = inst.address().filter(|_| inst.dst().is_none_or(|dst| !folded.contains_key(&dst)));
                let others = inst.sources().filter_map(|reg| folded.get(&reg)).map(|folded| folded.at);
                for address in own.into_iter().chain(others) {
                    lives.touch(&Scalar::Pointer(Pointer::of(address)), read);
                }
            }
            Step::Else { .. } | Step::EndIf => {}
        }
    }
    let mut intervals: Vec<_> = lives.finish().into_iter().collect();
    intervals.sort_by_key(|(scalar, interval)| (interval.start, interval.end, scalar.parameter()));
    let ids: FxHashMap<&Scalar, usize> =
        intervals.iter().enumerate().map(|(id, (scalar, _))| (scalar, id)).collect();
    let requests: Vec<Request> = (intervals.iter())
        .map(|(scalar, interval)| {
            let start = match scalar {
                Scalar::Pointer(pointer) => starts.get(pointer).copied(),
                Scalar::Table | Scalar::Index(_) => None,
            };
            let like = start.map(|start| ids[&Scalar::Pointer(start.clone())]);
            Request { interval: *interval, like, wish: scalar.parameter() }
        })
        .collect();
    let mut slots = 0;
    let homes = (intervals.into_iter().zip(allocate(&requests, REGISTERS.len())))
        .map(|((scalar, _), register)| {
            let home = register.map_or_else(
                || {
                    slots += 1;
                    Home::Slot(slots - 1)
                },
                |register| Home::Register(REGISTERS[register]),
            );
            (scalar, home)
        })
        .collect();
    Scalars { homes, asked, slots }
}
