//! Functions of one element, built from PTX's instructions.

use crate::codegen::ptx::{Builder, Comparison, Value};
use crate::kernels::special::{ERF_DENOMINATOR, ERF_NUMERATOR};
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
    let tail = polynomial(b, squared, &coefficients);
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

fn log(b: &mut Builder, x: Value) -> Value {
    let logarithm = b.log2(x);
    b.fmul(logarithm, std::f32::consts::LN_2)
}

/// `x` where positive, `alpha · (e^x - 1)` elsewhere, with `e^x - 1 = tanh(x / 2) · (e^x + 1)`.
fn elu(b: &mut Builder, x: Value, alpha: f32) -> Value {
    let negative = b.fmin(x, 0.0);
    let half = b.fmul(negative, 0.5);
    let slope = tanh(b, half);
    let power = exp(b, negative);
    let sum = b.fadd(power, 1.0);
    let value = b.fmul(slope, sum);
    let scaled = b.fmul(value, alpha);
    let positive = b.compare_float(Comparison::Gt, x, 0.0);
    b.select_float(positive, x, scaled)
}

/// `ln(1 + e^x)`; where the power is small, three terms of the series.
fn softplus(b: &mut Builder, x: Value) -> Value {
    let magnitude = b.fabs(x);
    let negated = b.fneg(magnitude);
    let t = exp(b, negated);
    let series = b.fma(t, 1.0 / 3.0, -0.5);
    let series = b.fma(series, t, 1.0);
    let near = b.fmul(series, t);
    let sum = b.fadd(t, 1.0);
    let far = log(b, sum);
    let is_near = b.compare_float(Comparison::Lt, t, 0.01);
    let tail = b.select_float(is_near, near, far);
    let positive = b.fmax(x, 0.0);
    b.fadd(positive, tail)
}

/// `x · n / (n + 2)` with `n = e^x · (e^x + 2)`; beyond 20 the fraction is one.
fn mish(b: &mut Builder, x: Value) -> Value {
    let bounded = b.fmin(x, 20.0);
    let power = exp(b, bounded);
    let more = b.fadd(power, 2.0);
    let n = b.fmul(power, more);
    let denominator = b.fadd(n, 2.0);
    let fraction = b.fdiv(n, denominator);
    b.fmul(x, fraction)
}

/// `Σ coefficients[i] · xⁿ⁻¹⁻ⁱ`
fn polynomial(b: &mut Builder, x: Value, coefficients: &[f32]) -> Value {
    let first = Value::Float(coefficients[0]);
    coefficients[1..].iter().fold(first, |sum, &coefficient| b.fma(sum, x, coefficient))
}

/// [`ERF_NUMERATOR`] over [`ERF_DENOMINATOR`], held at ±4.
fn erf(b: &mut Builder, x: Value) -> Value {
    let x = clamp(b, x, -4.0, 4.0);
    let squared = b.fmul(x, x);
    let numerator = polynomial(b, squared, &ERF_NUMERATOR);
    let denominator = polynomial(b, squared, &ERF_DENOMINATOR);
    let numerator = b.fmul(numerator, x);
    b.fdiv(numerator, denominator)
}

/// `x^y` with the sign of an odd power, NaN for other powers of negative numbers.
fn general_power(b: &mut Builder, x: Value, y: Value) -> Value {
    let base = b.fabs(x);
    let logarithm = b.log2(base);
    let exponent = b.fmul(logarithm, y);
    let magnitude = b.exp2(exponent);
    let whole = b.round(y);
    let half = b.fmul(y, 0.5);
    let even = b.round(half);
    let parity = b.fsub(half, even);
    let parity = b.fabs(parity);
    let is_odd = b.compare_float(Comparison::Gt, parity, 0.0);
    let negated = b.fneg(magnitude);
    let signed = b.select_float(is_odd, negated, magnitude);
    let is_whole = b.compare_float(Comparison::Eq, y, whole);
    let undefined = b.sqrt(x);
    let of_negative = b.select_float(is_whole, signed, undefined);
    let is_negative = b.compare_float(Comparison::Lt, x, 0.0);
    let value = b.select_float(is_negative, of_negative, magnitude);
    let is_one = b.compare_float(Comparison::Eq, y, 0.0);
    b.select_float(is_one, 1.0, value)
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
        Activation::Elu { alpha } => elu(b, x, alpha),
        Activation::Selu { alpha, gamma } => {
            let value = elu(b, x, alpha);
            b.fmul(value, gamma)
        }
        Activation::Softplus => softplus(b, x),
        Activation::Mish => mish(b, x),
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
        UnaryFunction::Log => log(b, x),
        UnaryFunction::Erf => erf(b, x),
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
        BinaryFunction::Pow => general_power(b, x, y),
        BinaryFunction::Prelu => {
            let scaled = b.fmul(x, y);
            let positive = b.compare_float(Comparison::Gt, x, 0.0);
            b.select_float(positive, x, scaled)
        }
    }
}

/// `x^exponent` for positive `x`.
pub fn power(b: &mut Builder, x: Value, exponent: f32) -> Value {
    let logarithm = b.log2(x);
    let scaled = b.fmul(logarithm, exponent);
    b.exp2(scaled)
}
