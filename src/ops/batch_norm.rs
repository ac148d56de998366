//! Batch normalisation (Ioffe & Szegedy, 2015; ONNX BatchNormalization, `torch.nn.BatchNorm2d`).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// Which statistics normalise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistics {
    /// The running mean and variance that training left: inputs `mean [c]`, `variance [c]`.
    Running,
    /// The batch's own mean and biased variance over `(n, h, w)`; no further inputs.
    Batch,
}

/// `(x - mean) / sqrt(variance + epsilon) · scale + shift` per channel of `x [n, c, …]`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct BatchNorm {
    pub epsilon: f32,
    pub statistics: Statistics,
}

impl Operator for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x", "scale", "shift", "mean", "variance"]
    }

    fn required_inputs(&self) -> usize {
        3
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
