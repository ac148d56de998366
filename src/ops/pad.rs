//! Padding with a constant (ONNX Pad, mode `constant`).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::json_float;
use crate::tensor::{Shape, Tensor};

/// Per axis, how many elements of `value` come before and after.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pad {
    pub before: Vec<usize>,
    pub after: Vec<usize>,
    #[serde(default, with = "json_float")]
    pub value: f32,
}

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let dims = inputs[0].dims();
        if self.before.len() != dims.len() || self.after.len() != dims.len() {
            return Err(ShapeError::with_formula(
                format!(
                    "padding {:?} before and {:?} after does not fit {}",
                    self.before, self.after, inputs[0]
                ),
                format!("both need one number for each of the {} axes", dims.len()),
            ));
        }
        let padded = dims.iter().zip(&self.before).zip(&self.after);
        padded
            .map(|((&dim, &before), &after)| dim.checked_add(before)?.checked_add(after))
            .collect::<Option<Vec<_>>>()
            .map(Shape::new)
            .ok_or_else(|| {
                ShapeError::new(format!(
                    "{} padded by {:?} before and {:?} after is too large",
                    inputs[0], self.before, self.after
                ))
            })
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let (dims, strides) = (x.shape().dims(), x.shape().strides());
        let output = self.infer(&[x.shape()]).expect("inferred");
        Tensor::from_fn(output, |at| {
            let mut offset = 0;
            for (axis, &position) in at.iter().enumerate() {
                match position.checked_sub(self.before[axis]) {
                    Some(inside) if inside < dims[axis] => offset += inside * strides[axis],
                    _ => return self.value,
                }
            }
            x.data()[offset]
        })
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
