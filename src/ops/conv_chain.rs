//! Convolutions computed as one kernel, each feeding the next through scratch memory.

use serde::{Deserialize, Serialize};

use super::{Conv, Cost, Epilogue, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// A chain of convolutions, depthwise→pointwise most of all. Only passes make it.
///
/// Inputs: `x`, then for each stage its weight, its bias where `has_bias`, and its epilogue's operands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConvChain {
    pub stages: Vec<ConvStage>,
}

/// One convolution of a [`ConvChain`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConvStage {
    /// The layer it was, for profiles and messages.
    pub name: String,
    pub conv: Conv,
    pub has_bias: bool,
    pub epilogue: Epilogue,
}

impl Operator for ConvChain {
    fn name(&self) -> &'static str {
        "conv_chain"
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
