//! Element-wise arithmetic of one array (ONNX Sqrt, Exp, Log, Erf, Neg, Abs).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `f(x)` for each element.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Unary {
    pub function: UnaryFunction,
}

/// A function of one element without parameters; [`Activation`](super::Activation) has those of networks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnaryFunction {
    Sqrt,
    /// `1 / sqrt(x)`
    Rsqrt,
    Exp,
    /// The natural logarithm.
    Log,
    /// `2/√π · ∫₀ˣ e^(-t²) dt`
    Erf,
    Neg,
    Abs,
}

impl UnaryFunction {
    pub fn name(&self) -> &'static str {
        match self {
            UnaryFunction::Sqrt => "sqrt",
            UnaryFunction::Rsqrt => "rsqrt",
            UnaryFunction::Exp => "exp",
            UnaryFunction::Log => "log",
            UnaryFunction::Erf => "erf",
            UnaryFunction::Neg => "neg",
            UnaryFunction::Abs => "abs",
        }
    }

    pub fn apply(&self, x: f64) -> f64 {
        match self {
            UnaryFunction::Sqrt => x.sqrt(),
            UnaryFunction::Rsqrt => 1.0 / x.sqrt(),
            UnaryFunction::Exp => x.exp(),
            UnaryFunction::Log => x.ln(),
            UnaryFunction::Erf => erf(x),
            UnaryFunction::Neg => -x,
            UnaryFunction::Abs => x.abs(),
        }
    }
}

/// By the series `2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (1 · 3 · … · (2n+1))`, whose terms all have one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, 0f64, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        sum += term;
        odd += 2.0;
        term *= 2.0 * x * x / odd;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

impl Operator for Unary {
    fn name(&self) -> &'static str {
        "unary"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let data = x.data().iter().map(|&v| self.function.apply(f64::from(v)) as f32).collect();
        Tensor::new(x.shape().clone(), data)
    }

    fn cost(&self, _inputs: &[&Shape], output: &Shape) -> Cost {
        Cost { multiply_adds: 0, other: output.elements() as u64 }
    }
}
