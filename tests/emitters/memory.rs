//! Loads and stores keep their order, and touch nothing but what they name.

use half::f16;
use kiln::codegen::vector::{Access, Binary, Builder, Kernel};

use crate::compare::{compare, instruction_sets};

fn check(build: impl Fn(Builder) -> Kernel) {
    for isa in instruction_sets() {
        let kernel = build(Builder::new("memory", isa.lanes()));
        let value = |element: usize| (element as f32 * 0.37).sin();
        let buffers: Vec<Vec<f32>> =
            kernel.buffers.iter().map(|buffer| (0..buffer.elements).map(value).collect()).collect();
        compare(isa, &kernel, &buffers).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A load before a store, whose value is used after it, is not moved past it.
#[test]
fn loads_stay_before_later_stores() {
    check(|mut k| {
        let lanes = k.lanes();
        let x = k.buffer("x", Access::Read, lanes);
        let s = k.buffer("s", Access::Scratch, lanes);
        let y = k.buffer("y", Access::Write, 3 * lanes);
        let x = k.load(x);
        let before = k.load(s.clone());
        let element = k.broadcast(s.plus(1usize));
        let twice = k.add(x, x);
        k.store(twice, s.clone());
        let sum = k.fma(x, x, before);
        k.store(sum, y.clone());
        let product = k.mul(x, element);
        k.store(product, y.plus(lanes));
        let after = k.load(s);
        let sum = k.add(after, x);
        k.store(sum, y.plus(2 * lanes));
        k.finish()
    });
}

/// Each number of lanes, at the end of a buffer that guards follow.
#[test]
fn partial_vectors_stay_in_their_buffers() {
    for lanes in 1..=16 {
        check(|mut k| {
            let lanes = lanes.min(k.lanes());
            let x = k.buffer("x", Access::Read, lanes);
            let y = k.buffer("y", Access::Write, lanes);
            let value = k.load_lanes(x, lanes);
            // The lanes that were not loaded are zero.
            let sum = k.reduce(Binary::Add, value);
            let value = k.add(value, sum);
            k.store_lanes(value, y, lanes);
            k.finish()
        });
    }
}

/// Every finite `f16`, subnormal numbers and both zeros included.
#[test]
fn halves_are_widened_exactly() {
    let finite: Vec<u16> = (0..=u16::MAX).filter(|&bits| f16::from_bits(bits).is_finite()).collect();
    let packed =
        finite.chunks_exact(2).map(|pair| f32::from_bits(u32::from(pair[1]) << 16 | u32::from(pair[0])));
    let packed: Vec<f32> = packed.collect();
    for isa in instruction_sets() {
        let lanes = isa.lanes();
        let mut k = Builder::new("halves", lanes);
        let x = k.buffer("x", Access::Read, packed.len());
        let y = k.buffer("y", Access::Write, finite.len());
        k.repeat(finite.len() / lanes, |k, index| {
            let value = k.load_half(x.along(index, lanes / 2));
            k.store(value, y.along(index, lanes));
        });
        let buffers = [packed.clone(), vec![0.0; finite.len()]];
        compare(isa, &k.finish(), &buffers).unwrap_or_else(|error| panic!("{error}"));
    }
}
