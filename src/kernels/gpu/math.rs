//! Functions of one element, built from PTX's instructions.

use crate::codegen::ptx::{Builder, Comparison, Value};
use crate::ops::{Activation, BinaryFunction, UnaryFunction};

/// `e^x` to a few units in the last place, as `2^n · 2^f` with `n` whole and `|f| ≤ ½`.
pub fn exp(b: &mut Builder, x: Value) -> Value {
    let x = clamp(b, x, -104.0, 89.0);
    let scaled = b.fmul(x, std::f32::consts::LOG2_E);
    let whole = b.round(scaled);
    let minus = b.fneg(whole);
    let fraction = b.fma(x, std::f32::consts::LOG2_E, minus);
    // What rounding took from log₂ e.
    let fraction = b.fma(x, 1.925_963e-8, fraction);
    let (low, high) = (b.exp2(fraction), b.exp2(whole));
    b.fmul(low, high)
}

fn clamp(b: &mut Builder, x: Value, low: f32, high: f32) -> Value {
    let x = b.fmax(x, low);
    b.fmin(x, high)
}

fn sigmoid(b: &mut Builder, x: Value) -> Value {
    let negated = b.fneg(x);
    let power = exp(b, negated);
    let denominator = b.fadd(power, 1.0);
    b.fdiv(1.0, denominator)
}

/// `1 - 2 / (e^2|x| + 1)` with the sign of `x`; near 0, where that cancels, the polynomial of Cephes' `tanhf`.
fn tanh(b: &mut Builder, x: Value) -> Value {
    let squared = b.fmul(x, x);
    let coefficients = [-5.704_989e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let mut tail = Value::Float(coefficients[0]);
    for coefficient in &coefficients[1..] {
        tail = b.fma(tail, squared, *coefficient);
    }
    let cubic = b.fmul(tail, squared);
    let near = b.fma(cubic, x, x);
    let magnitude = b.fabs(x);
    let doubled = b.fadd(magnitude, magnitude);
    let power = exp(b, doubled);
    let denominator = b.fadd(power, 1.0);
    let quotient = b.fdiv(-2.0, denominator);
    let far = b.fadd(quotient, 1.0);
    let minus_far = b.fneg(far);
    let negative = b.compare_float(Comparison::Lt, x, 0.0);
    let far = b.select_float(negative, minus_far, far);
    let is_near = b.compare_float(Comparison::Lt, magnitude, 0.625);
    b.select_float(is_near, near, far)
}

fn hard_sigmoid(b: &mut Builder, x: Value, alpha: f32, beta: f32) -> Value {
    let linear = b.fma(x, alpha, beta);
    clamp(b, linear, 0.0, 1.0)
}

/// An activation function, as [`Activation::apply`] defines it.
pub fn activation(b: &mut Builder, function: Activation, x: Value) -> Value {
    match function {
        Activation::Relu => b.fmax(x, 0.0),
        Activation::Relu6 => clamp(b, x, 0.0, 6.0),
        Activation::LeakyRelu { slope } => {
            let scaled = b.fmul(x, slope);
            let negative = b.compare_float(Comparison::Lt, x, 0.0);
            b.select_float(negative, scaled, x)
        }
        Activation::Clip { min, max } => clamp(b, x, min, max),
        Activation::Sigmoid => sigmoid(b, x),
        Activation::Silu => {
            let gate = sigmoid(b, x);
            b.fmul(x, gate)
        }
        Activation::HardSigmoid { alpha, beta } => hard_sigmoid(b, x, alpha, beta),
        Activation::HardSwish => {
            let gate = hard_sigmoid(b, x, 1.0 / 6.0, 0.5);
            b.fmul(x, gate)
        }
        Activation::Tanh => tanh(b, x),
    }
}

pub fn unary(b: &mut Builder, function: UnaryFunction, x: Value) -> Value {
    match function {
        UnaryFunction::Sqrt => b.sqrt(x),
        UnaryFunction::Rsqrt => {
            let root = b.sqrt(x);
            b.fdiv(1.0, root)
        }
        UnaryFunction::Exp => exp(b, x),
        UnaryFunction::Neg => b.fneg(x),
        UnaryFunction::Abs => b.fabs(x),
    }
}

pub fn binary(b: &mut Builder, function: BinaryFunction, x: Value, y: Value) -> Value {
    match function {
        BinaryFunction::Add => b.fadd(x, y),
        BinaryFunction::Sub => b.fsub(x, y),
        BinaryFunction::Mul => b.fmul(x, y),
        BinaryFunction::Div => b.fdiv(x, y),
        BinaryFunction::Max => b.fmax(x, y),
        BinaryFunction::Min => b.fmin(x, y),
    }
}

/// `x^exponent` for positive `x`.
pub fn power(b: &mut Builder, x: Value, exponent: f32) -> Value {
    let logarithm = b.log2(x);
    let scaled = b.fmul(logarithm, exponent);
    b.exp2(scaled)
}
