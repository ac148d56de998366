//! Loads that become the memory operand of the one instruction that uses them.

use rustc_hash::FxHashMap;

use super::Width;
use super::steps::Step;
use crate::codegen::vector::{Address, Binary, Inst, Kernel, Reg, Unary};

/// A load that its only use performs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Folded<'k> {
    pub at: &'k Address,
    pub broadcast: bool,
}

/// The registers whose loads are folded: loaded once, used once, in a straight line with no store between, by an
/// instruction that takes a memory operand there and has no other.
pub fn fold<'k>(steps: &[Step<'k>], kernel: &Kernel, width: Width) -> FxHashMap<Reg, Folded<'k>> {
    let uses = Uses::count(steps);
    let mut folded = FxHashMap::default();
    // Loads since the last store or change of control.
    let mut open: FxHashMap<Reg, Folded<'k>> = FxHashMap::default();
    for step in steps {
        let Step::Inst(inst) = step else {
            open.clear();
            continue;
        };
        match inst {
            Inst::Load { dst, at, lanes } if *lanes == kernel.lanes && uses.is_single(*dst) => {
                open.insert(*dst, Folded { at, broadcast: false });
            }
            Inst::Broadcast { dst, at } if width == Width::Avx512 && uses.is_single(*dst) => {
                open.insert(*dst, Folded { at, broadcast: true });
            }
            Inst::Store { .. } => open.clear(),
            _ => {
                let found = foldable(inst).into_iter().find_map(|reg| Some((reg, open.remove(&reg)?)));
                folded.extend(found);
            }
        }
    }
    folded
}

/// The sources of an instruction that may be memory operands, the best choice first.
fn foldable(inst: &Inst) -> Vec<Reg> {
    match *inst {
        Inst::Unary { op: Unary::Copy | Unary::Sqrt | Unary::Round, x, .. } => vec![x],
        Inst::Binary { op: Binary::Add | Binary::Mul, a, b, .. } => vec![b, a],
        Inst::Binary { b, .. } => vec![b],
        Inst::Fma { a, b, c, .. } => vec![b, a, c],
        _ => vec![],
    }
}

/// How often each register is written and read.
pub struct Uses {
    counts: FxHashMap<Reg, (usize, usize)>,
}

impl Uses {
    pub fn count(steps: &[Step<'_>]) -> Self {
        let mut counts: FxHashMap<Reg, (usize, usize)> = FxHashMap::default();
        for step in steps {
            let Step::Inst(inst) = step else { continue };
            for reg in inst.sources() {
                counts.entry(reg).or_default().1 += 1;
            }
            if let Some(dst) = inst.dst() {
                counts.entry(dst).or_default().0 += 1;
            }
        }
        Uses { counts }
    }

    /// Whether the register is written once.
    pub fn is_written_once(&self, reg: Reg) -> bool {
        self.counts.get(&reg).is_some_and(|count| count.0 == 1)
    }

    /// Whether the register is written once and read once.
    pub fn is_single(&self, reg: Reg) -> bool {
        self.counts.get(&reg) == Some(&(1, 1))
    }
}
