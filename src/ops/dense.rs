//! Fully connected layers (ONNX Gemm with `transB`, `torch.nn.Linear`).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// Inputs: `x [n, i]`, `weight [o, i]`, optional `bias [o]`. Output `[n, o]`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Dense {}

impl Operator for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x", "weight", "bias"]
    }

    fn required_inputs(&self) -> usize {
        2
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
