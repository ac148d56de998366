//! Per-channel affine map: what an inference-mode batch norm is once its statistics are folded.

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `x · scale[c] + shift[c]` along axis 1. Inputs: `x [n, c, …]`, `scale [c]`, `shift [c]`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScaleShift {}

impl Operator for ScaleShift {
    fn name(&self) -> &'static str {
        "scale_shift"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x", "scale", "shift"]
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
