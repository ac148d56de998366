//! The same elements in row-major order under another shape (ONNX Reshape, Flatten).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// Input of any shape with as many elements as `shape`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Reshape {
    pub shape: Shape,
}

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let (from, to) = (inputs[0], &self.shape);
        if from.checked_elements() != to.checked_elements() {
            let count = |shape: &Shape| {
                let factors: Vec<String> = shape.dims().iter().map(usize::to_string).collect();
                let product =
                    shape.checked_elements().map_or("more than memory can hold".into(), |n| n.to_string());
                if factors.len() < 2 { product } else { format!("{} = {product}", factors.join("·")) }
            };
            return Err(ShapeError::with_formula(
                format!("{from} cannot be reshaped to {to}: the numbers of elements differ"),
                format!("{} must equal {}", count(from), count(to)),
            ));
        }
        Ok(to.clone())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        inputs[0].clone().reshaped(self.shape.clone())
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
