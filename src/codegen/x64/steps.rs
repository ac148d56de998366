//! A kernel as a flat list of steps, in the order of the code, with the pointers' arithmetic spelled out.

use crate::codegen::vector::{GRID_RANK, Index, Inst, Kernel, Pointer, PointerPlan, Stmt, visit_addresses};

/// One step of a kernel. Positions are indices into the list of steps.
#[derive(Clone, PartialEq, Debug)]
pub enum Step<'k> {
    /// The entry's pointer: a buffer's base from the table, plus the grid coordinates' terms.
    Base(Pointer),
    /// Before a loop: `to` starts where `from` stands.
    Start {
        to: Pointer,
        from: Pointer,
    },
    /// A loop begins. It runs at least twice.
    Enter {
        index: Index,
        exit: usize,
    },
    /// At a loop's end: the pointer moves on, by `stride` elements.
    Advance {
        pointer: Pointer,
        stride: i64,
    },
    /// A loop ends.
    Exit {
        index: Index,
        enter: usize,
    },
    Inst(&'k Inst),
    /// Continues at the step after `otherwise`, an [`Step::Else`], unless `index < below`.
    If {
        index: Index,
        below: usize,
        otherwise: usize,
    },
    /// The first arm is done: continues at `end`, an [`Step::EndIf`].
    Else {
        end: usize,
    },
    EndIf,
}

/// The steps of a kernel.
pub fn flatten(kernel: &Kernel) -> Vec<Step<'_>> {
    let mut flattener = Flattener { kernel, steps: Vec::new(), scope: (0..GRID_RANK).map(Index).collect() };
    flattener.entry();
    flattener.block(&kernel.body);
    flattener.steps
}

struct Flattener<'k> {
    kernel: &'k Kernel,
    steps: Vec<Step<'k>>,
    /// The indices in scope, outermost first.
    scope: Vec<Index>,
}

impl<'k> Flattener<'k> {
    fn entry(&mut self) {
        visit_addresses(&self.kernel.body, &mut |address| {
            let mut pointer = Pointer::of(address);
            pointer.terms.retain(|term| term.0.0 < GRID_RANK);
            let step = Step::Base(pointer);
            if !self.steps.contains(&step) {
                self.steps.push(step);
            }
        });
    }

    fn block(&mut self, body: &'k [Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Inst(inst) => self.steps.push(Step::Inst(inst)),
                Stmt::Loop { index, body } => self.repeat(*index, body),
                Stmt::If { index, below, then, otherwise } => self.branch(*index, *below, then, otherwise),
            }
        }
    }

    fn repeat(&mut self, index: Index, body: &'k [Stmt]) {
        let plans = PointerPlan::for_loop(index, body, &self.scope);
        for plan in &plans {
            self.steps.push(Step::Start { to: plan.pointer.clone(), from: plan.start.clone() });
        }
        let enter = self.steps.len();
        self.steps.push(Step::Enter { index, exit: enter });
        self.scope.push(index);
        self.block(body);
        self.scope.pop();
        for plan in plans {
            self.steps.push(Step::Advance { pointer: plan.pointer, stride: plan.stride });
        }
        self.steps[enter] = Step::Enter { index, exit: self.steps.len() };
        self.steps.push(Step::Exit { index, enter });
    }

    fn branch(&mut self, index: Index, below: usize, then: &'k [Stmt], otherwise: &'k [Stmt]) {
        let head = self.steps.len();
        self.steps.push(Step::EndIf);
        self.block(then);
        let middle = self.steps.len();
        self.steps.push(Step::EndIf);
        self.block(otherwise);
        self.steps[head] = Step::If { index, below, otherwise: middle };
        self.steps[middle] = Step::Else { end: self.steps.len() };
        self.steps.push(Step::EndIf);
    }
}
