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

impl Operator for Unary {
    fn name(&self) -> &'static str {
        "unary"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, _inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        unimplemented!()
    }

    fn evaluate(&self, _inputs: &[&Tensor]) -> Tensor {
        unimplemented!()
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        unimplemented!()
    }
}
