//! Local response normalisation across channels (AlexNet §3.3; ONNX LRN).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `x / (bias + alpha / size · Σ x²)^beta`, the sum over `size` neighbouring channels.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lrn {
    pub size: usize,
    pub alpha: f32,
    pub beta: f32,
    pub bias: f32,
}

impl Operator for Lrn {
    fn name(&self) -> &'static str {
        "lrn"
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
