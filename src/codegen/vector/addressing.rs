//! Strength reduction: affine addresses become pointers that each loop moves on.
//!
//! At every loop the addresses in its body fall into classes that share a buffer and the strides of all
//! enclosing indices. A class gets one [`Pointer`]: set when the loop is entered, from the class's pointer
//! outside, and advanced by the loop's stride after each round. What remains at each access is a constant.

use super::{Address, BufferId, Index, Stmt};

/// A buffer and the index terms that a pointer has already taken in, outermost first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pointer {
    pub buffer: BufferId,
    pub terms: Vec<(Index, i64)>,
}

/// A pointer that a loop maintains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PointerPlan {
    pub pointer: Pointer,
    /// The pointer that it starts from when the loop is entered.
    pub start: Pointer,
    /// Elements that it moves on by after each round.
    pub stride: i64,
}

impl Pointer {
    pub fn base(buffer: BufferId) -> Self {
        Pointer { buffer, terms: Vec::new() }
    }

    /// The class of an address where all of its indices are in scope.
    pub fn of(address: &Address) -> Self {
        Pointer { buffer: address.buffer, terms: address.terms.clone() }
    }
}

impl PointerPlan {
    /// The pointers that the loop over `index` maintains for its `body`, where the indices in `scope` (and
    /// `index`) are in scope.
    pub fn for_loop(index: Index, body: &[Stmt], scope: &[Index]) -> Vec<PointerPlan> {
        let mut plans: Vec<PointerPlan> = Vec::new();
        visit_addresses(body, &mut |address| {
            let Some(&(_, stride)) = address.terms.iter().find(|term| term.0 == index) else { return };
            let outer: Vec<_> = address.terms.iter().filter(|t| scope.contains(&t.0)).copied().collect();
            let mut terms = outer.clone();
            terms.push((index, stride));
            let pointer = Pointer { buffer: address.buffer, terms };
            if plans.iter().all(|plan| plan.pointer != pointer) {
                let start = Pointer { buffer: address.buffer, terms: outer };
                plans.push(PointerPlan { pointer, start, stride });
            }
        });
        plans
    }
}

/// Calls `visit` for each address in `body`, nested loops included, in order.
pub fn visit_addresses(body: &[Stmt], visit: &mut impl FnMut(&Address)) {
    for stmt in body {
        match stmt {
            Stmt::Inst(inst) => {
                if let Some(address) = inst.address() {
                    visit(address);
                }
            }
            Stmt::Loop { body, .. } => visit_addresses(body, visit),
            Stmt::If { then, otherwise, .. } => {
                visit_addresses(then, visit);
                visit_addresses(otherwise, visit);
            }
        }
    }
}
