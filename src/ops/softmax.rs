//! Softmax along one axis, or its logarithm (ONNX Softmax and LogSoftmax, opset 13).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `exp(x - max) / Σ exp(x - max)` along `axis`; with `log` the logarithm of that, `x - max - ln Σ exp(x - max)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Softmax {
    pub axis: usize,
    #[serde(default)]
    pub log: bool,
}

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        if self.axis >= inputs[0].rank() {
            return Err(ShapeError::new(format!("{} has no axis {} for a softmax", inputs[0], self.axis)));
        }
        Ok(inputs[0].clone())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let mut result = inputs[0].clone();
        let dims = inputs[0].shape().dims();
        let (length, inner) = (dims[self.axis], dims[self.axis + 1..].iter().product::<usize>());
        for block in result.data_mut().chunks_exact_mut(length * inner) {
            for at in 0..inner {
                let line = || (at..length * inner).step_by(inner);
                let max = line().map(|i| block[i]).fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f64> = line().map(|i| (f64::from(block[i]) - f64::from(max)).exp()).collect();
                let sum: f64 = powers.iter().sum();
                for (i, power) in line().zip(&powers) {
                    block[i] = match self.log {
                        false => (power / sum) as f32,
                        true => (f64::from(block[i]) - f64::from(max) - sum.ln()) as f32,
                    };
                }
            }
        }
        result
    }

    fn cost(&self, _inputs: &[&Shape], output: &Shape) -> Cost {
        // Maximum, subtraction, exponential, sum, division.
        Cost { multiply_adds: 0, other: 5 * output.elements() as u64 }
    }
}
