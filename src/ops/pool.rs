//! Max and average pooling (ONNX MaxPool, AveragePool; `torch.nn.MaxPool2d`, `AvgPool2d`).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError, Window};
use crate::tensor::{Shape, Tensor};

/// What a window is reduced to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "reduce", rename_all = "snake_case")]
pub enum PoolKind {
    Max,
    /// With `count_include_pad`, padding counts as zeros in the divisor too.
    Average {
        count_include_pad: bool,
    },
}

/// Input `x [n, c, h, w]`, output `[n, c, h', w']`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Pool {
    #[serde(flatten)]
    pub kind: PoolKind,
    /// `[kh, kw]`
    pub kernel: [usize; 2],
    #[serde(flatten)]
    pub window: Window,
    pub ceil_mode: bool,
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        "pool"
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
