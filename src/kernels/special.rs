//! Functions of one or two vector registers that take more than a few instructions, on top of [`math`](super::math).

use super::math::{clamp, exp, exp_parts, log, polynomial, scale};
use crate::codegen::vector::{Builder, Reg, Unary};

/// `ln x`: -∞ for 0, NaN for negative numbers, to about two units in the last place elsewhere.
pub fn natural_log(k: &mut Builder, x: Reg) -> Reg {
    let zero = k.constant(0.0);
    let least = k.constant(f32::MIN_POSITIVE);
    let normal = k.max(x, least);
    let logarithm = log(k, normal);
    let most = k.constant(f32::MAX);
    let logarithm = k.select(x, most, x, logarithm);
    let nothing = k.constant(f32::NEG_INFINITY);
    let undefined = k.unary(Unary::Sqrt, x);
    let rest = k.select(zero, x, undefined, nothing);
    k.select(x, zero, logarithm, rest)
}

/// `e^x - 1`, accurate about 0 too.
pub fn exp_minus_one(k: &mut Builder, x: Reg) -> Reg {
    let (fraction, power) = exp_parts(k, x);
    let one = k.constant(1.0);
    let rest = k.sub(power, one);
    k.fma(power, fraction, rest)
}

/// `ln(1 + t)` for `t` in `[0, 1]`, accurate about 0 too: the rounding of `1 + t` is undone by `t / ((1 + t) - 1)`.
fn log_one_plus(k: &mut Builder, t: Reg) -> Reg {
    let one = k.constant(1.0);
    let sum = k.add(t, one);
    let rounded = k.sub(sum, one);
    let logarithm = log(k, sum);
    let scaled = k.mul(logarithm, t);
    let corrected = k.div(scaled, rounded);
    let zero = k.constant(0.0);
    k.select(rounded, zero, corrected, t)
}

/// `ln(1 + e^x)`
pub fn softplus(k: &mut Builder, x: Reg) -> Reg {
    let magnitude = k.unary(Unary::Abs, x);
    let negated = k.unary(Unary::Neg, magnitude);
    let power = exp(k, negated);
    let tail = log_one_plus(k, power);
    let zero = k.constant(0.0);
    let positive = k.max(x, zero);
    k.add(positive, tail)
}

/// `x · tanh(ln(1 + e^x))`, which is `x · n / (n + 2)` with `n = e^x · (e^x + 2)`.
pub fn mish(k: &mut Builder, x: Reg) -> Reg {
    // Beyond 20 the fraction is one.
    let bounded = clamp(k, x, -87.0, 20.0);
    let power = exp(k, bounded);
    let two = k.constant(2.0);
    let more = k.add(power, two);
    let n = k.mul(power, more);
    let denominator = k.add(n, two);
    let fraction = k.div(n, denominator);
    k.mul(x, fraction)
}

/// `x` where positive, `alpha · (e^x - 1)` elsewhere; all of it times `gamma`.
pub fn elu(k: &mut Builder, x: Reg, alpha: f32, gamma: f32) -> Reg {
    let zero = k.constant(0.0);
    let negative = k.min(x, zero);
    let power = exp_minus_one(k, negative);
    let scaled = scale(k, power, alpha);
    let value = k.select(x, zero, x, scaled);
    if gamma == 1.0 { value } else { scale(k, value, gamma) }
}

/// The rational approximation of Eigen's `erf`: polynomials of the square, from the highest power; the numerator is
/// odd, so it is to be multiplied by `x`.
pub const ERF_NUMERATOR: [f32; 7] = [
    -2.726_142_3e-10,
    2.770_681_5e-8,
    -2.101_024e-6,
    -5.692_506_5e-5,
    -7.349_906_5e-4,
    -2.954_6e-3,
    -1.609_603_3e-2,
];
/// See [`ERF_NUMERATOR`].
pub const ERF_DENOMINATOR: [f32; 5] =
    [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];

/// The error function to a few units in the last place: [`ERF_NUMERATOR`] over [`ERF_DENOMINATOR`], held at ±4.
pub fn erf(k: &mut Builder, x: Reg) -> Reg {
    let x = clamp(k, x, -4.0, 4.0);
    let squared = k.mul(x, x);
    let numerator = polynomial(k, squared, &ERF_NUMERATOR);
    let numerator = k.mul(numerator, x);
    let denominator = polynomial(k, squared, &ERF_DENOMINATOR);
    k.div(numerator, denominator)
}

/// `a^b` by `e^(b · ln|a|)`, with the sign of an odd power; NaN for other powers of negative numbers.
pub fn power(k: &mut Builder, a: Reg, b: Reg) -> Reg {
    let (zero, one, two) = (k.constant(0.0), k.constant(1.0), k.constant(2.0));
    let base = k.unary(Unary::Abs, a);
    let least = k.constant(f32::MIN_POSITIVE);
    let normal = k.max(base, least);
    let logarithm = log(k, normal);
    let exponent = k.mul(b, logarithm);
    let magnitude = exp(k, exponent);

    // Powers of zero: none of negative exponents, one of zero.
    let infinite = k.constant(f32::INFINITY);
    let not_positive = k.select(zero, b, infinite, one);
    let of_zero = k.select(b, zero, zero, not_positive);
    let magnitude = k.select(base, zero, magnitude, of_zero);

    // Powers of negative numbers.
    let whole = k.unary(Unary::Round, b);
    let distance = k.sub(b, whole);
    let distance = k.unary(Unary::Abs, distance);
    let half = k.div(b, two);
    let even = k.unary(Unary::Round, half);
    let parity = k.sub(half, even);
    let parity = k.unary(Unary::Abs, parity);
    let negated = k.unary(Unary::Neg, magnitude);
    let signed = k.select(parity, zero, negated, magnitude);
    let undefined = k.unary(Unary::Sqrt, a);
    let of_negative = k.select(distance, zero, undefined, signed);
    k.select(zero, a, of_negative, magnitude)
}
