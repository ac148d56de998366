//! Where the vector registers of a kernel live, and the temporaries that its instructions need beside them.
//!
//! Constants are the first to give way: they become memory operands from the pool behind the code. Where that
//! does not suffice, the values that are used least live in stack slots.

use rustc_hash::FxHashMap;

use super::Width;
use super::folding::{Folded, Uses};
use super::linear_scan::{Request, allocate};
use super::liveness::{Interval, Lives, reads, writes};
use super::steps::Step;
use crate::codegen::vector::{Binary, Inst, Kernel, Reg, Unary};

/// Where a value lives.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Home<'k> {
    /// The number of a vector register.
    Register(usize),
    /// The number of a stack slot of a vector's size.
    Slot(usize),
    /// In the pool.
    Constant(f32),
    /// In a buffer, until its one use.
    Folded(Folded<'k>),
}

/// The registers that one instruction takes up for itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Temporaries {
    /// Sources in memory that are loaded first, each with its register.
    pub loaded: Vec<(Reg, usize)>,
    pub scratch: Option<usize>,
    /// Takes the result before it is stored to its slot.
    pub result: Option<usize>,
}

/// The homes of a kernel's vectors.
pub struct Vectors<'k> {
    pub homes: FxHashMap<Reg, Home<'k>>,
    /// By position; instructions that need none are not in it.
    pub temporaries: FxHashMap<usize, Temporaries>,
    /// How many values live on the stack.
    pub slots: usize,
}

/// Uses of a constant, as a memory operand, cost this much of what uses of a value on the stack do.
const CONSTANT_WEIGHT: f32 = 1e-3;

/// Finds a home for every register of the steps.
pub fn place<'k>(
    steps: &[Step<'k>],
    kernel: &Kernel,
    folded: &FxHashMap<Reg, Folded<'k>>,
    width: Width,
) -> Vectors<'k> {
    let constants = constants(steps);
    let mut memory: FxHashMap<Reg, Home<'k>> =
        folded.iter().map(|(&reg, &load)| (reg, Home::Folded(load))).collect();
    memory.extend(constants.iter().filter(|(_, c)| c.used_once_nearby).map(|(&reg, c)| (reg, c.home())));
    let mut slots = 0;
    // Values sent to memory need temporaries, which may send others there.
    loop {
        let demand = Demand::of(steps, kernel, width, &constants, &memory);
        let placed = allocate(&demand.requests, width.vector_registers());
        let mut complete = true;
        for (owner, register) in demand.owners.iter().zip(&placed) {
            if let (Owner::Value(reg), None) = (owner, register) {
                complete = false;
                let home = constants.get(reg).map_or_else(
                    || {
                        slots += 1;
                        Home::Slot(slots - 1)
                    },
                    Constant::home,
                );
                memory.insert(*reg, home);
            }
        }
        if complete {
            return demand.finish(memory, &placed, slots);
        }
    }
}

/// A register that always holds the same constant.
struct Constant {
    value: f32,
    /// Such that a register for it would save nothing.
    used_once_nearby: bool,
}

impl Constant {
    fn home<'k>(&self) -> Home<'k> {
        Home::Constant(self.value)
    }
}

fn constants(steps: &[Step<'_>]) -> FxHashMap<Reg, Constant> {
    let uses = Uses::count(steps);
    let mut constants = FxHashMap::default();
    let mut depths: FxHashMap<Reg, usize> = FxHashMap::default();
    let mut depth = 0;
    for step in steps {
        match step {
            Step::Enter { .. } => depth += 1,
            Step::Exit { .. } => depth -= 1,
            Step::Inst(Inst::Constant { dst, value }) if uses.is_written_once(*dst) => {
                depths.insert(*dst, depth);
                constants.insert(*dst, Constant { value: *value, used_once_nearby: false });
            }
            Step::Inst(inst) => {
                for reg in inst.sources() {
                    if let Some(constant) = constants.get_mut(&reg) {
                        constant.used_once_nearby = uses.is_single(reg) && depths[&reg] == depth;
                    }
                }
            }
            _ => {}
        }
    }
    constants
}

/// Whom a request is for.
#[derive(Clone, Copy)]
enum Owner {
    Value(Reg),
    /// The instruction at a position.
    Temporary(usize, Use),
}

/// What an instruction needs a temporary for.
#[derive(Clone, Copy)]
enum Use {
    Loaded(Reg),
    Scratch,
    Result,
}

/// What is to be placed.
struct Demand {
    owners: Vec<Owner>,
    requests: Vec<Request>,
}

impl Demand {
    fn of(
        steps: &[Step<'_>],
        kernel: &Kernel,
        width: Width,
        constants: &FxHashMap<Reg, Constant>,
        memory: &FxHashMap<Reg, Home<'_>>,
    ) -> Self {
        let mut lives = Lives::new();
        let mut temporaries: Vec<(Owner, Interval)> = Vec::new();
        let mut like: FxHashMap<Reg, Reg> = FxHashMap::default();
        for (position, step) in steps.iter().enumerate() {
            lives.step(position, step);
            let Step::Inst(inst) = step else { continue };
            let mut temporary = |purpose| {
                temporaries.push((Owner::Temporary(position, purpose), Interval::temporary(position)));
            };
            if let Some(dst) = inst.dst() {
                match memory.get(&dst) {
                    None => {}
                    Some(Home::Slot(_)) => temporary(Use::Result),
                    Some(_) => continue, // no code
                }
            }
            for reg in loaded_first(inst, |reg| memory.contains_key(&reg)) {
                temporary(Use::Loaded(reg));
            }
            if needs_scratch(inst, kernel, width) {
                temporary(Use::Scratch);
            }
            let values = |reg: &Reg| !memory.contains_key(reg);
            for reg in inst.sources().filter(values) {
                lives.touch(&reg, reads(position));
            }
            if let Some(dst) = inst.dst().filter(values) {
                lives.touch(&dst, writes(position));
                if let Some(source) = destroyed(inst) {
                    like.entry(dst).or_insert(source);
                }
            }
        }
        let mut values: Vec<(Reg, Interval)> = lives.finish().into_iter().collect();
        values.sort_by_key(|(reg, interval)| (interval.start, *reg));
        let ids: FxHashMap<Reg, usize> = values.iter().enumerate().map(|(id, (reg, _))| (*reg, id)).collect();
        let mut owners = Vec::new();
        let mut requests = Vec::new();
        for (reg, mut interval) in values {
            if constants.contains_key(&reg) {
                interval.weight *= CONSTANT_WEIGHT;
            }
            owners.push(Owner::Value(reg));
            let like = like.get(&reg).and_then(|other| ids.get(other)).copied();
            requests.push(Request { interval, like, wish: None });
        }
        for (owner, interval) in temporaries {
            owners.push(owner);
            requests.push(Request { interval, like: None, wish: None });
        }
        Demand { owners, requests }
    }

    fn finish<'k>(
        self,
        mut homes: FxHashMap<Reg, Home<'k>>,
        placed: &[Option<usize>],
        slots: usize,
    ) -> Vectors<'k> {
        let mut temporaries: FxHashMap<usize, Temporaries> = FxHashMap::default();
        for (owner, register) in self.owners.into_iter().zip(placed) {
            let register = register.expect("the placement is complete");
            match owner {
                Owner::Value(reg) => {
                    homes.insert(reg, Home::Register(register));
                }
                Owner::Temporary(position, purpose) => {
                    let at = temporaries.entry(position).or_default();
                    match purpose {
                        Use::Loaded(reg) => at.loaded.push((reg, register)),
                        Use::Scratch => at.scratch = Some(register),
                        Use::Result => at.result = Some(register),
                    }
                }
            }
        }
        Vectors { homes, temporaries, slots }
    }
}

/// The sources in memory that the instruction cannot take as its memory operand.
fn loaded_first(inst: &Inst, in_memory: impl Fn(Reg) -> bool) -> Vec<Reg> {
    let mut loaded: Vec<Reg> = match *inst {
        Inst::Binary { op: Binary::Add | Binary::Mul, a, b, .. } => {
            // Either may be the memory operand, but not both.
            if in_memory(b) { vec![a] } else { vec![] }
        }
        Inst::Binary { a, .. } => vec![a],
        Inst::Fma { a, b, c, .. } => {
            let sources: Vec<Reg> = [c, b, a].into_iter().filter(|&reg| in_memory(reg)).collect();
            sources.into_iter().skip(1).collect()
        }
        Inst::Select { a, no, .. } => vec![a, no],
        Inst::Store { src, .. } => vec![src],
        Inst::Load { .. }
        | Inst::LoadHalf { .. }
        | Inst::Broadcast { .. }
        | Inst::Constant { .. }
        | Inst::Unary { .. }
        | Inst::Reduce { .. }
        | Inst::Prefetch { .. } => vec![],
    };
    loaded.retain(|&reg| in_memory(reg));
    loaded.sort();
    loaded.dedup();
    loaded
}

/// Whether the instruction needs a register beside its sources and its result.
fn needs_scratch(inst: &Inst, kernel: &Kernel, width: Width) -> bool {
    match inst {
        Inst::Reduce { .. } => true,
        Inst::Select { .. } => width == Width::Avx2,
        // The upper half is stored from there.
        Inst::Store { lanes, .. } => width == Width::Avx2 && *lanes > 4 && *lanes < kernel.lanes,
        _ => false,
    }
}

/// The source whose register the result had best take, if it is free.
fn destroyed(inst: &Inst) -> Option<Reg> {
    match *inst {
        Inst::Unary { op: Unary::Copy, x, .. } => Some(x),
        Inst::Fma { c, .. } => Some(c),
        _ => None,
    }
}
