//! Joining arrays along an axis (ONNX Concat).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// Any number of inputs that agree on every other axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Concat {
    pub axis: usize,
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn maximum_inputs(&self) -> Option<usize> {
        None
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let (axis, first) = (self.axis, inputs[0]);
        let mut dims = first.dims().to_vec();
        if axis >= dims.len() {
            return Err(ShapeError::new(format!("{first} has no axis {axis} to concatenate along")));
        }
        for shape in &inputs[1..] {
            let fits = shape.rank() == dims.len()
                && (0..dims.len()).all(|at| at == axis || shape.dims()[at] == dims[at]);
            if !fits {
                return Err(ShapeError::with_formula(
                    format!("{first} and {shape} do not concatenate along axis {axis}"),
                    format!("the shapes must be equal on every axis but {axis}"),
                ));
            }
            dims[axis] = dims[axis]
                .checked_add(shape.dims()[axis])
                .ok_or_else(|| ShapeError::new(format!("the concatenated axis {axis} is too large")))?;
        }
        Ok(Shape::new(dims))
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let shapes: Vec<_> = inputs.iter().map(|t| t.shape()).collect();
        let output = self.infer(&shapes).expect("inferred");
        let outer: usize = output.dims()[..self.axis].iter().product();
        let mut data = Vec::with_capacity(output.elements());
        for at in 0..outer {
            for input in inputs {
                let length = input.data().len() / outer;
                data.extend_from_slice(&input.data()[at * length..][..length]);
            }
        }
        Tensor::new(output, data)
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
