//! Repeating an array along new axes and those of extent 1 (ONNX Expand).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// Input of any shape that broadcasts to `shape`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Expand {
    pub shape: Shape,
}

impl Operator for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        match inputs[0].broadcast(&self.shape) {
            Some(shape) if shape == self.shape => Ok(shape),
            _ => Err(ShapeError::with_formula(
                format!("{} does not expand to {}", inputs[0], self.shape),
                "aligned at the last axis, extents must be equal or the input's 1",
            )),
        }
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let missing = self.shape.rank() - x.shape().rank();
        let strides = x.shape().strides();
        Tensor::from_fn(self.shape.clone(), |at| {
            let own = at[missing..].iter().zip(x.shape().dims()).zip(&strides);
            let offsets = own.map(|((&at, &dim), &stride)| if dim == 1 { 0 } else { at * stride });
            x.data()[offsets.sum::<usize>()]
        })
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
