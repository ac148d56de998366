//! Reductions that stay accurate over many elements: partial results of short stretches are combined.

use super::nest::{Axis, RunBody, loops};
use crate::codegen::vector::{Address, Affine, Binary, Builder, Reg};

/// How many values are combined one after the other before their result joins the others'.
const STRETCH: usize = 64;

/// The value that changes nothing under `op`, a sum, a maximum or a minimum.
fn neutral(op: Binary) -> f32 {
    match op {
        Binary::Max => f32::NEG_INFINITY,
        Binary::Min => f32::INFINITY,
        _ => 0.0,
    }
}

fn accumulators(k: &mut Builder, op: Binary, count: usize) -> Vec<Reg> {
    let make = |_| {
        let register = k.register();
        k.assign_constant(register, neutral(op));
        register
    };
    (0..count).map(make).collect()
}

fn combine(k: &mut Builder, op: Binary, totals: &[Reg], parts: &[Reg]) {
    totals.iter().zip(parts).for_each(|(&total, &part)| k.combine(op, total, part));
}

/// Combines the values that `values` computes at each of the coordinates `start .. start + extent`: `count`
/// independent results.
pub fn stretch(
    k: &mut Builder,
    op: Binary,
    start: &Affine,
    extent: usize,
    count: usize,
    values: &dyn Fn(&mut Builder, &Affine) -> Vec<Reg>,
) -> Vec<Reg> {
    let short = |k: &mut Builder, start: &Affine, extent: usize| {
        let parts = accumulators(k, op, count);
        k.repeat(extent, |k, index| {
            let new = values(k, &start.along(index, 1usize));
            combine(k, op, &parts, &new);
        });
        parts
    };
    if extent <= STRETCH {
        return short(k, start, extent);
    }
    let totals = accumulators(k, op, count);
    k.repeat(extent / STRETCH, |k, index| {
        let parts = short(k, &start.along(index, STRETCH), STRETCH);
        combine(k, op, &totals, &parts);
    });
    if !extent.is_multiple_of(STRETCH) {
        let parts = short(k, &start.plus(extent / STRETCH * STRETCH), extent % STRETCH);
        combine(k, op, &totals, &parts);
    }
    totals
}

/// Combines what `part` computes for each run of `axes`, the axes of a [`Nest`](super::nest::Nest): `count`
/// independent results. `part` gets the coordinates of a run's first element and the run.
pub fn over(
    k: &mut Builder,
    op: Binary,
    axes: &[Axis],
    at: &[Affine],
    count: usize,
    part: &RunBody<Vec<Reg>>,
) -> Vec<Reg> {
    let (&run, outer) = axes.split_last().expect("a nest has an axis");
    if outer.is_empty() {
        return part(k, at, run);
    }
    let totals = accumulators(k, op, count);
    loops(k, outer, at, &|k, at| {
        let parts = part(k, at, run);
        combine(k, op, &totals, &parts);
    });
    totals
}

/// How many vectors of a line are combined independently, to hide the latency of additions.
const CHAINS: usize = 4;

/// Combines `map` of `extent` elements that lie `stride` apart; the result stands in every lane.
pub fn line(
    k: &mut Builder,
    op: Binary,
    base: &Address,
    extent: usize,
    stride: usize,
    map: &dyn Fn(&mut Builder, Reg) -> Reg,
) -> Reg {
    let lanes = k.lanes();
    let mut results = Vec::new();
    let mut done = 0;
    if stride == 1 {
        for chains in [CHAINS, 1] {
            let round = chains * lanes;
            let rounds = (extent - done) / round;
            if rounds > 0 {
                let first = base.plus(done);
                let parts = stretch(k, op, &Affine::default(), rounds, chains, &|k, at| {
                    let load = |k: &mut Builder, chain: usize| {
                        let x = k.load(first.at(at, round).plus(chain * lanes));
                        map(k, x)
                    };
                    (0..chains).map(|chain| load(k, chain)).collect()
                });
                results.extend(parts);
                done += rounds * round;
            }
        }
    }
    let vectors = results.into_iter().reduce(|a, b| k.binary(op, a, b)).map(|v| k.reduce(op, v));
    if done == extent {
        return vectors.expect("a line has elements");
    }
    let first = base.plus(done * stride);
    let rest = stretch(k, op, &Affine::default(), extent - done, 1, &|k, at| {
        let x = k.broadcast(first.at(at, stride));
        vec![map(k, x)]
    });
    vectors.map_or(rest[0], |vectors| k.binary(op, vectors, rest[0]))
}
