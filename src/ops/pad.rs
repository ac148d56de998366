//! Padding with a constant (ONNX Pad, mode `constant`).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// Per axis, how many elements of `value` come before and after.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pad {
    pub before: Vec<usize>,
    pub after: Vec<usize>,
    pub value: f32,
}

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "pad"
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
