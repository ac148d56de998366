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
