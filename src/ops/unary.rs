//! Element-wise arithmetic of one array (ONNX Sqrt, Exp, Neg, Abs).

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
    Neg,
    Abs,
}

impl UnaryFunction {
    pub fn name(&self) -> &'static str {
        match self {
            UnaryFunction::Sqrt => "sqrt",
            UnaryFunction::Rsqrt => "rsqrt",
            UnaryFunction::Exp => "exp",
            UnaryFunction::Neg => "neg",
            UnaryFunction::Abs => "abs",
        }
    }

    pub fn apply(&self, x: f64) -> f64 {
        match self {
            UnaryFunction::Sqrt => x.sqrt(),
            UnaryFunction::Rsqrt => 1.0 / x.sqrt(),
            UnaryFunction::Exp => x.exp(),
            UnaryFunction::Neg => -x,
            UnaryFunction::Abs => x.abs(),
        }
    }
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
