//! Kernels at and beyond what the registers and the emitters take.

use kiln::codegen::vector::{Access, Builder, Kernel, Reg, Unary};
use kiln::codegen::x64::{EmitError, Width, emit, spills};

/// Accumulators of a loop, then a function of each that keeps many constants and intermediate values.
fn tile(lanes: usize, accumulators: usize) -> Kernel {
    let mut k = Builder::new("tile", lanes);
    let x = k.buffer("x", Access::Read, 100 * lanes);
    let y = k.buffer("y", Access::Write, accumulators * lanes);
    let sums: Vec<Reg> = (0..accumulators).map(|_| k.constant(0.0)).collect();
    k.repeat(100, |k, step| {
        let a = k.load(x.along(step, lanes));
        let b = k.broadcast(x.along(step, 1usize));
        for &sum in &sums {
            k.accumulate(sum, a, b);
        }
    });
    let coefficients: Vec<Reg> = (0..8).map(|power| k.constant(0.5 + power as f32)).collect();
    for (number, &sum) in sums.iter().enumerate() {
        let whole = k.unary(Unary::Round, sum);
        let fraction = k.sub(sum, whole);
        let mut polynomial = coefficients[0];
        for &coefficient in &coefficients[1..] {
            polynomial = k.fma(polynomial, fraction, coefficient);
        }
        let scale = k.unary(Unary::Exp2, whole);
        let value = k.mul(polynomial, scale);
        k.store(value, y.plus(number * lanes));
    }
    k.finish()
}

/// A tile that leaves four registers free keeps its accumulators in registers, however many constants its
/// epilogue has.
#[test]
fn constants_give_way_to_accumulators() {
    for width in [Width::Avx2, Width::Avx512] {
        let kernel = tile(width.lanes(), width.vector_registers() - 4);
        assert_eq!(spills(&kernel, width), 0, "{width:?}");
    }
}

#[test]
fn more_accumulators_than_registers_are_spilled() {
    for width in [Width::Avx2, Width::Avx512] {
        let kernel = tile(width.lanes(), width.vector_registers() + 4);
        assert!(spills(&kernel, width) >= 4, "{width:?}");
        assert!(emit(&kernel, width).is_ok());
    }
}

#[test]
fn hundreds_of_live_values_are_refused() {
    for width in [Width::Avx2, Width::Avx512] {
        let error = emit(&tile(width.lanes(), 500), width).expect_err("no stack is that large");
        assert!(matches!(error, EmitError::Stack { .. }), "{error}");
    }
}

#[test]
fn vectors_of_another_width_are_refused() {
    let error = emit(&tile(8, 4), Width::Avx512).expect_err("eight lanes are half of a register");
    assert_eq!(error.to_string(), "kernel 'tile' has vectors of 8 elements, not the instruction set's 16");
}
