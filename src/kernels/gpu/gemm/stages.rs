//! The walk along the reduction: which step is copied, which waits, which is multiplied.

use super::multiply::Sums;
use super::rows::Rows;
use super::{CHUNK, Gemm, ROW_BYTES, STEP_BYTES};
use crate::codegen::ptx::{Address, Builder, Class, Comparison, Space, Target, Value};

/// A thread's share of a step's weights, which lie in memory as they do in a stage.
pub struct Weights {
    /// Where the thread's first chunk of the next step lies in memory.
    pointer: Value,
    pieces: Vec<(usize, Option<Value>)>,
    /// Where the thread's first chunk goes in a stage.
    place: Value,
    /// Bytes of a step.
    step: usize,
}

impl Weights {
    pub fn new(gemm: &Gemm, b: &mut Builder, filter: Value, thread: Value, first_step: Value) -> Self {
        let threads = gemm.tile.threads(gemm.precision);
        let step = gemm.tile.outputs * STEP_BYTES;
        let chunks = step / CHUNK;
        let pieces = (0..chunks.div_ceil(threads)).map(|at| {
            let exists = ((at + 1) * threads > chunks).then(|| {
                let number = b.add(thread, at * threads);
                b.compare(Comparison::Lt, number, chunks)
            });
            (at * threads * CHUNK, exists)
        });
        let pieces = pieces.collect();
        let bytes = b.mul(thread, CHUNK);
        let place = b.add(bytes, gemm.tile.pixels * ROW_BYTES);
        let address = b.offset(filter, first_step, step);
        let start = b.materialise(address);
        let pointer = b.offset(start, thread, CHUNK);
        Weights { pointer: b.materialise(pointer), pieces, place, step }
    }

    fn copy_async(&self, b: &mut Builder, stage: Value) {
        let to = Address::from(b.add(stage, self.place));
        for &(bytes, exists) in &self.pieces {
            let (to, from) = (to.plus(bytes), Address::from(self.pointer).plus(bytes));
            b.guarded(exists, |b| b.copy_async(to, from, None));
        }
        b.step_pointer(self.pointer, self.step);
    }

    fn load(&self, b: &mut Builder) -> Vec<Vec<Value>> {
        let load = |&(bytes, exists): &(usize, Option<Value>)| {
            let from = Address::from(self.pointer).plus(bytes);
            b.load_words(Space::Constant, Class::B32, CHUNK / 4, from, exists)
        };
        let staged = self.pieces.iter().map(load).collect();
        b.step_pointer(self.pointer, self.step);
        staged
    }

    fn store(&self, b: &mut Builder, staged: Vec<Vec<Value>>, stage: Value) {
        let to = Address::from(b.add(stage, self.place));
        for (&(bytes, exists), words) in self.pieces.iter().zip(staged) {
            b.guarded(exists, |b| b.store_words(Space::Shared, to.plus(bytes), &words));
        }
    }
}

/// Multiplies all steps of the block.
pub fn walk<'a>(
    gemm: &'a Gemm,
    b: &mut Builder,
    target: Target,
    rows: Rows<'a>,
    weights: Weights,
    sums: &'a Sums,
) {
    let shared = b.shared(gemm.tile.shared_bytes() as u32);
    let walk = Walk {
        gemm,
        target,
        shared,
        rows,
        weights,
        sums,
        bytes: gemm.tile.shared_bytes() / gemm.tile.stages,
    };
    if target.has_async_copy() && gemm.copies_chunks() && gemm.front.is_none() {
        walk.asynchronously(b);
    } else {
        walk.through_registers(b);
    }
}

/// A block's walk and where it keeps the stages.
struct Walk<'a> {
    gemm: &'a Gemm,
    target: Target,
    shared: Value,
    rows: Rows<'a>,
    weights: Weights,
    sums: &'a Sums,
    /// Bytes between stages.
    bytes: usize,
}

impl Walk<'_> {
    /// While a step is multiplied the next is loaded into registers, then stored in the other of two stages.
    fn through_registers(&self, b: &mut Builder) {
        let &Walk { gemm, target, shared, ref rows, ref weights, sums, bytes } = self;
        let steps = gemm.own_steps();
        let first = rows.load(b, Value::Int(0));
        let filters = weights.load(b);
        rows.store(b, first, shared);
        weights.store(b, filters, shared);
        b.barrier();
        let stage = b.variable(Class::B32, shared);
        let both = if steps > 1 {
            let doubled = b.add(shared, shared);
            b.add(doubled, bytes)
        } else {
            shared
        };
        b.repeat(steps - 1, |b, step| {
            let next = b.add(step, 1);
            let next_rows = rows.load(b, next);
            let next_weights = weights.load(b);
            sums.multiply(gemm, b, target, stage);
            // Everybody left the other stage before the last barrier.
            let other = b.sub(both, stage);
            rows.store(b, next_rows, other);
            weights.store(b, next_weights, other);
            b.assign(stage, other);
            b.barrier();
        });
        sums.multiply(gemm, b, target, stage);
    }

    /// Copies run several steps ahead.
    fn asynchronously(&self, b: &mut Builder) {
        let &Walk { gemm, target, shared, ref rows, ref weights, sums, bytes } = self;
        let (steps, stages) = (gemm.own_steps(), gemm.tile.stages);
        for step in 0..stages - 1 {
            if step < steps {
                let stage = b.add(shared, step * bytes);
                rows.copy_async(b, step.into(), stage);
                weights.copy_async(b, stage);
            }
            b.commit_copies();
        }
        let full = steps.saturating_sub(stages - 1);
        let rest = steps - full;
        let end = b.add(shared, stages * bytes);
        let reading = b.variable(Class::B32, shared);
        let last = b.add(shared, (stages - 1) * bytes);
        let writing = b.variable(Class::B32, last);
        let turn = |b: &mut Builder, stage: Value| {
            let next = b.add(stage, bytes);
            let over = b.compare(Comparison::Eq, next, end);
            let next = b.select(over, shared, next);
            b.assign(stage, next);
        };
        let round = |b: &mut Builder, step: Value, copies: bool| {
            // This step's copies are done for all threads, and all have left the stage that is written next.
            b.wait_copies(stages as u32 - 2);
            b.barrier();
            if copies {
                let ahead = b.add(step, stages - 1);
                rows.copy_async(b, ahead, writing);
                weights.copy_async(b, writing);
            }
            // Empty groups keep the count of those that the next round waits for.
            if copies || rest > 1 {
                b.commit_copies();
            }
            sums.multiply(gemm, b, target, reading);
            turn(b, reading);
            turn(b, writing);
        };
        b.repeat(full, |b, step| round(b, step, true));
        b.repeat(rest, |b, step| round(b, step, false));
    }
}
