//! Permuting axes (ONNX Transpose).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// Output axis `k` is input axis `permutation[k]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Transpose {
    pub permutation: Vec<usize>,
}

impl Operator for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let dims = inputs[0].dims();
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..dims.len()) {
            return Err(ShapeError::with_formula(
                format!("{:?} does not permute the axes of {}", self.permutation, inputs[0]),
                format!("each axis of 0..{} must occur exactly once", dims.len()),
            ));
        }
        Ok(Shape::new(self.permutation.iter().map(|&axis| dims[axis]).collect::<Vec<_>>()))
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let from = x.shape().strides();
        let strides: Vec<usize> = self.permutation.iter().map(|&axis| from[axis]).collect();
        let output = self.infer(&[x.shape()]).expect("inferred");
        Tensor::from_fn(output, |at| {
            x.data()[at.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>()]
        })
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
