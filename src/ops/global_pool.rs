//! Pooling over the whole image (ONNX GlobalAveragePool, GlobalMaxPool).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// Input `x [n, c, h, w]`, output `[n, c, 1, 1]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct GlobalPool {
    pub reduce: GlobalReduce,
}

/// What all elements of a channel are reduced to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GlobalReduce {
    Average,
    Max,
}

impl Operator for GlobalPool {
    fn name(&self) -> &'static str {
        "global_pool"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        match inputs[0].nchw() {
            Some((n, c, _, _)) => Ok(Shape::from([n, c, 1, 1])),
            None => Err(ShapeError::new(format!("global_pool takes [n, c, h, w], not {}", inputs[0]))),
        }
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let (n, c, h, w) = inputs[0].shape().nchw().expect("inferred");
        let planes = inputs[0].data().chunks_exact(h * w);
        let data = planes.map(|plane| match self.reduce {
            GlobalReduce::Average => {
                (plane.iter().map(|&v| f64::from(v)).sum::<f64>() / (h * w) as f64) as f32
            }
            GlobalReduce::Max => plane.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        });
        Tensor::new([n, c, 1, 1], data.collect())
    }

    fn cost(&self, inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost { multiply_adds: 0, other: inputs[0].elements() as u64 }
    }
}
