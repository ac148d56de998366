//! Values that no operator computes: model inputs, weights, constants.

use serde::{Deserialize, Serialize};

use crate::tensor::{Shape, Tensor};

/// A model input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Input {
    pub shape: Shape,
}

/// A trained array, bound by name when weights are loaded.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Parameter {
    /// The name in a weight file (a PyTorch `state_dict` key), such as `layer1.0.conv1.weight`.
    pub key: String,
    pub shape: Shape,
    #[serde(flatten)]
    pub init: Init,
}

/// The distribution random weights are drawn from.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "distribution", rename_all = "snake_case")]
pub enum Init {
    /// Uniform in `[-b, b)` with `b = sqrt(6 / fan_in)`, so variance `2 / fan_in` (He et al., 2015).
    Kaiming { fan_in: usize },
    /// Uniform in `[low, high)`.
    Uniform { low: f32, high: f32 },
}

/// A small array known when the graph is built.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Constant {
    pub value: Tensor,
}
