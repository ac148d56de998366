//! Softmax along one axis (ONNX Softmax, opset 13).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `exp(x - max) / Σ exp(x - max)` along `axis`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Softmax {
    pub axis: usize,
}

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
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
