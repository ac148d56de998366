//! Operators that pass their input through when inferring.

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `x`; what a dropout is when inferring (ONNX Identity, Dropout).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The drop rate of the dropout this was in training, if it was one.
    pub dropout: Option<f32>,
}

impl Operator for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        inputs[0].clone()
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
