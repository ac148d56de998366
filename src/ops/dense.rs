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

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let [n, features] = *inputs[0].dims() else {
            return Err(ShapeError::new(format!(
                "dense takes [n, features], not {}; flatten it first",
                inputs[0]
            )));
        };
        let [o, i] = *inputs[1].dims() else {
            return Err(ShapeError::new(format!("dense weights are [o, i], not {}", inputs[1])));
        };
        if features != i {
            return Err(ShapeError::with_formula(
                format!("input {} does not fit weights {}", inputs[0], inputs[1]),
                format!("the input has {features} features, the weights take {i}"),
            ));
        }
        if let Some(bias) = inputs.get(2)
            && bias.dims() != [o]
        {
            return Err(ShapeError::new(format!("the bias of {o} outputs must be [{o}], not {bias}")));
        }
        Ok(Shape::from([n, o]))
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let (x, weight) = (inputs[0], inputs[1]);
        let bias = inputs.get(2);
        let (n, o, i) = (x.shape().dims()[0], weight.shape().dims()[0], weight.shape().dims()[1]);
        let mut data = Vec::with_capacity(n * o);
        for features in x.data().chunks_exact(i) {
            for (at, row) in weight.data().chunks_exact(i).enumerate() {
                let products = features.iter().zip(row).map(|(&x, &w)| f64::from(x) * f64::from(w));
                data.push((bias.map_or(0.0, |b| f64::from(b.data()[at])) + products.sum::<f64>()) as f32);
            }
        }
        Tensor::new([n, o], data)
    }

    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost {
        Cost { multiply_adds: output.elements() as u64 * inputs[1].dims()[1] as u64, other: 0 }
    }
}
