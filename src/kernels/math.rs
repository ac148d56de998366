//! Functions of one vector register, built from the loop language's instructions.

use super::special;
use crate::codegen::vector::{Builder, Reg, Unary};
use crate::ops::Activation;

/// `e^x` to about one unit in the last place for `-87 ≤ x ≤ 88`, held at the ends beyond.
///
/// `x = n · ln 2 + r` with `|r| ≤ ln 2 / 2`; the polynomial is the one of Cephes' `expf`.
pub fn exp(k: &mut Builder, x: Reg) -> Reg {
    let (quadratic, power) = exp_parts(k, x);
    let one = k.constant(1.0);
    let fraction = k.add(quadratic, one);
    k.mul(fraction, power)
}

/// `(e^r - 1, 2^n)` of [`exp`].
pub(super) fn exp_parts(k: &mut Builder, x: Reg) -> (Reg, Reg) {
    let x = clamp(k, x, -87.0, 88.0);
    let scaled = scale(k, x, std::f32::consts::LOG2_E);
    let n = k.unary(Unary::Round, scaled);
    let minus_ln2_high = k.constant(-0.693_359_4);
    let r = k.fma(n, minus_ln2_high, x);
    let minus_ln2_low = k.constant(2.121_944_4e-4);
    let r = k.fma(n, minus_ln2_low, r);
    let tail = polynomial(
        k,
        r,
        &[1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5],
    );
    let squared = k.mul(r, r);
    let quadratic = k.fma(tail, squared, r);
    (quadratic, k.unary(Unary::Exp2, n))
}

/// The natural logarithm of a positive normal `x`, to about two units in the last place.
///
/// `x = 2^n · m` with `m` in `[√½, √2)`; the polynomial is the one of Cephes' `logf`.
pub fn log(k: &mut Builder, x: Reg) -> Reg {
    let exponent = k.unary(Unary::Exponent, x);
    let mantissa = k.unary(Unary::Mantissa, x);
    let sqrt2 = k.constant(std::f32::consts::SQRT_2);
    let halved = scale(k, mantissa, 0.5);
    let m = k.select(mantissa, sqrt2, halved, mantissa);
    let one = k.constant(1.0);
    let next = k.add(exponent, one);
    let n = k.select(mantissa, sqrt2, next, exponent);
    let r = k.sub(m, one);
    let tail = polynomial(
        k,
        r,
        &[
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let squared = k.mul(r, r);
    let cubed = k.mul(squared, r);
    let low = k.constant(-2.121_944_4e-4);
    let low = k.mul(n, low);
    let tail = k.fma(tail, cubed, low);
    let minus_half = k.constant(-0.5);
    let tail = k.fma(minus_half, squared, tail);
    let sum = k.add(r, tail);
    let high = k.constant(0.693_359_4);
    k.fma(n, high, sum)
}

/// `x^exponent` for positive normal `x`; roots where the exponent allows.
pub fn power(k: &mut Builder, x: Reg, exponent: f32) -> Reg {
    let positive = if exponent.abs() == 0.75 {
        let root = k.unary(Unary::Sqrt, x);
        let fourth = k.unary(Unary::Sqrt, root);
        k.mul(root, fourth)
    } else if exponent.abs() == 0.5 {
        k.unary(Unary::Sqrt, x)
    } else if exponent.abs() == 1.0 {
        x
    } else {
        let logarithm = log(k, x);
        let scaled = scale(k, logarithm, exponent);
        return exp(k, scaled);
    };
    if exponent < 0.0 { reciprocal(k, positive) } else { positive }
}

/// `1 / x`
pub fn reciprocal(k: &mut Builder, x: Reg) -> Reg {
    let one = k.constant(1.0);
    k.div(one, x)
}

/// `min(max(x, low), high)`
pub fn clamp(k: &mut Builder, x: Reg, low: f32, high: f32) -> Reg {
    let low = k.constant(low);
    let x = k.max(x, low);
    let high = k.constant(high);
    k.min(x, high)
}

/// `x · factor`
pub fn scale(k: &mut Builder, x: Reg, factor: f32) -> Reg {
    let factor = k.constant(factor);
    k.mul(x, factor)
}

/// `coefficients[0] · x^d + … + coefficients[d]` (Horner).
pub(super) fn polynomial(k: &mut Builder, x: Reg, coefficients: &[f32]) -> Reg {
    let (&first, rest) = coefficients.split_first().expect("a polynomial has coefficients");
    let first = k.constant(first);
    rest.iter().fold(first, |sum, &coefficient| {
        let coefficient = k.constant(coefficient);
        k.fma(sum, x, coefficient)
    })
}

fn sigmoid(k: &mut Builder, x: Reg) -> Reg {
    let negated = k.unary(Unary::Neg, x);
    let power = exp(k, negated);
    let one = k.constant(1.0);
    let denominator = k.add(power, one);
    k.div(one, denominator)
}

/// To a few units in the last place: the rational approximation of Eigen's `ptanh`, held where it reaches one.
fn tanh(k: &mut Builder, x: Reg) -> Reg {
    let x = clamp(k, x, -7.905_311, 7.905_311);
    let squared = k.mul(x, x);
    let numerator = polynomial(
        k,
        squared,
        &[
            -2.760_768_5e-16,
            2.000_188e-13,
            -8.604_672e-11,
            5.122_297e-8,
            1.485_722_4e-5,
            6.372_619e-4,
            4.893_524_6e-3,
        ],
    );
    let numerator = k.mul(numerator, x);
    let denominator = polynomial(k, squared, &[1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3]);
    k.div(numerator, denominator)
}

/// What a kernel's name says of an activation: equal names, equal functions.
pub fn activation_name(function: &Activation) -> String {
    let name = function.name();
    match function {
        Activation::LeakyRelu { slope } => format!("{name}{slope:?}"),
        Activation::Clip { min, max } => format!("{name}{min:?}:{max:?}"),
        Activation::HardSigmoid { alpha, beta } => format!("{name}{alpha:?}:{beta:?}"),
        Activation::Elu { alpha } => format!("{name}{alpha:?}"),
        Activation::Selu { alpha, gamma } => format!("{name}{alpha:?}:{gamma:?}"),
        _ => name.to_owned(),
    }
}

/// An activation function, as [`Activation::apply`] defines it.
pub fn activation(k: &mut Builder, function: Activation, x: Reg) -> Reg {
    match function {
        Activation::Relu => {
            let zero = k.constant(0.0);
            k.max(x, zero)
        }
        Activation::Relu6 => clamp(k, x, 0.0, 6.0),
        Activation::LeakyRelu { slope } => {
            let zero = k.constant(0.0);
            let scaled = scale(k, x, slope);
            k.select(x, zero, x, scaled)
        }
        Activation::Clip { min, max } => clamp(k, x, min, max),
        Activation::Sigmoid => sigmoid(k, x),
        Activation::Silu => {
            let gate = sigmoid(k, x);
            k.mul(x, gate)
        }
        Activation::HardSigmoid { alpha, beta } => hard_sigmoid(k, x, alpha, beta),
        Activation::HardSwish => {
            let gate = hard_sigmoid(k, x, 1.0 / 6.0, 0.5);
            k.mul(x, gate)
        }
        Activation::Tanh => tanh(k, x),
        Activation::Elu { alpha } => special::elu(k, x, alpha, 1.0),
        Activation::Selu { alpha, gamma } => special::elu(k, x, alpha, gamma),
        Activation::Softplus => special::softplus(k, x),
        Activation::Mish => special::mish(k, x),
    }
}

fn hard_sigmoid(k: &mut Builder, x: Reg, alpha: f32, beta: f32) -> Reg {
    let alpha = k.constant(alpha);
    let beta = k.constant(beta);
    let linear = k.fma(x, alpha, beta);
    clamp(k, linear, 0.0, 1.0)
}
