//! Per-channel affine map: what an inference-mode batch norm is once its statistics are folded.

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError, map_channels, per_channel};
use crate::tensor::{Shape, Tensor};

/// `x · scale[c] + shift[c]` along axis 1. Inputs: `x [n, c, …]`, `scale [c]`, `shift [c]`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScaleShift {}

impl Operator for ScaleShift {
    fn name(&self) -> &'static str {
        "scale_shift"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x", "scale", "shift"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        per_channel(self.name(), inputs, self.input_names())?;
        Ok(inputs[0].clone())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let [x, scale, shift] = inputs[..] else { unreachable!("inferred") };
        map_channels(x, |channel, value| {
            value * f64::from(scale.data()[channel]) + f64::from(shift.data()[channel])
        })
    }

    fn cost(&self, _inputs: &[&Shape], output: &Shape) -> Cost {
        Cost { multiply_adds: 0, other: 2 * output.elements() as u64 }
    }
}
