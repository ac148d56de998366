//! The steps of a reduction whose products are crossed.

use super::Crossing;
use crate::codegen::vector::{Address, Builder, Reg};
use crate::kernels::product::{Product, Rounds, Run};

/// The steps of some blocks of channels, or of the rounds that one is cut into.
struct Steps {
    /// The first channel.
    first: usize,
    /// Blocks, or rounds.
    count: usize,
    /// Channels from the start of one to that of the next.
    next: usize,
    /// Channels from one part of a block to the next.
    part: usize,
    /// Steps of each.
    each: usize,
}

impl Product<'_> {
    /// Accumulates over one run of channels, block by block, part beside part, the first two crosswise.
    pub fn cross(
        &self,
        k: &mut Builder,
        crossing: Crossing,
        run: &Run,
        displacements: &[usize],
        accumulators: &[Vec<Reg>],
        rounds: Option<&Rounds>,
    ) {
        let (row, stride) = (self.filter.row_elements(), self.x.0.strides[1]);
        let (parts, [many, last]) = (crossing.parts(), crossing.blocks(run.channels));
        // One block is cut into the rounds; of many each is one.
        let cut = if many.count > 0 { 1 } else { rounds.map_or(1, |rounds| rounds.count) };
        let last_steps = last.part / cut;
        let loops = [
            Steps { first: 0, count: many.count, next: parts * many.part, part: many.part, each: many.part },
            Steps { first: last.first, count: cut, next: last_steps, part: last.part, each: last_steps },
        ];
        let mut rounds = rounds;
        for Steps { first, count, next, part, each } in loops.into_iter().filter(|steps| steps.count > 0) {
            let rounds = rounds.take();
            let (x, weights, ahead) =
                (run.x.plus(first * stride), run.weights.plus(first * row), run.ahead.plus(first));
            k.repeat(count, |k, block| {
                if let Some(rounds) = rounds {
                    k.branch(block, rounds.count, |k| (rounds.begin)(k, block), |_| {});
                }
                k.repeat(each, |k, step| {
                    let x = x.along(block, next * stride).along(step, stride);
                    let weights = weights.along(block, each * parts * row).along(step, parts * row);
                    ahead.along(block, each * parts).along(step, parts).prefetch(k, parts);
                    let of = |at: usize| (x.plus(at * part * stride), weights.plus(at * row));
                    match crossing {
                        Crossing::Quarters => {
                            cross_four(k, &[0, 1, 2, 3].map(of), displacements, accumulators);
                        }
                        Crossing::Thirds => cross_three(k, &[0, 1, 2].map(of), displacements, accumulators),
                    }
                });
            });
        }
        for channel in last.first + parts * last.part..run.channels {
            let (x, weights) = (run.x.plus(channel * stride), run.weights.plus(channel * row));
            self.multiply_add(k, &x, &weights, displacements, accumulators);
        }
    }
}

/// Accumulates four channels, each with its input and its row of weights: the first two crosswise.
fn cross_four(
    k: &mut Builder,
    parts: &[(Address, Address); 4],
    displacements: &[usize],
    accumulators: &[Vec<Reg>],
) {
    let lanes = k.lanes();
    let element =
        |k: &mut Builder, part: usize, displacement: usize| k.broadcast(parts[part].0.plus(displacement));
    let weight = |k: &mut Builder, part: usize, v: usize| k.load(parts[part].1.plus(v * lanes));
    for v in 0..accumulators[0].len() {
        let [first, second] = [0, 1].map(|part| weight(k, part, v));
        for (&displacement, registers) in displacements.iter().zip(accumulators) {
            let [x0, x1] = [0, 1].map(|part| element(k, part, displacement));
            let (left, right) = (k.add(x0, second), k.add(x1, first));
            k.accumulate(registers[v], left, right);
        }
        let [third, fourth] = [2, 3].map(|part| weight(k, part, v));
        for (&displacement, registers) in displacements.iter().zip(accumulators) {
            for (part, weight) in [(2, third), (3, fourth)] {
                let x = element(k, part, displacement);
                k.accumulate(registers[v], x, weight);
            }
        }
    }
}

/// Accumulates three channels, each with its input and its row of weights: the first two crosswise. Input elements stay in
/// registers for all vectors.
fn cross_three(
    k: &mut Builder,
    parts: &[(Address, Address); 3],
    displacements: &[usize],
    accumulators: &[Vec<Reg>],
) {
    let lanes = k.lanes();
    let row = |k: &mut Builder, part: usize| -> Vec<Reg> {
        (0..accumulators[0].len()).map(|v| k.load(parts[part].1.plus(v * lanes))).collect()
    };
    let element =
        |k: &mut Builder, part: usize, displacement: usize| k.broadcast(parts[part].0.plus(displacement));
    let [first, second] = [0, 1].map(|part| row(k, part));
    for (&displacement, registers) in displacements.iter().zip(accumulators) {
        let [x0, x1] = [0, 1].map(|part| element(k, part, displacement));
        for ((&accumulator, &first), &second) in registers.iter().zip(&first).zip(&second) {
            let (left, right) = (k.add(x0, second), k.add(x1, first));
            k.accumulate(accumulator, left, right);
        }
    }
    let third = row(k, 2);
    for (&displacement, registers) in displacements.iter().zip(accumulators) {
        let x = element(k, 2, displacement);
        registers.iter().zip(&third).for_each(|(&accumulator, &weight)| k.accumulate(accumulator, x, weight));
    }
}
