//! Moving pixels into channels (ONNX SpaceToDepth).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `x [n, c, h, w]` to `[n, c · block², h / block, w / block]`; the place within a block is the slower part of an
/// output channel's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SpaceToDepth {
    pub block: usize,
}

impl Operator for SpaceToDepth {
    fn name(&self) -> &'static str {
        "space_to_depth"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let Some((n, c, h, w)) = inputs[0].nchw() else {
            return Err(ShapeError::new(format!("space_to_depth takes [n, c, h, w], not {}", inputs[0])));
        };
        let block = self.block;
        if block == 0 || h % block != 0 || w % block != 0 {
            return Err(ShapeError::with_formula(
                format!("space_to_depth of {} in blocks of {block}", inputs[0]),
                format!("height {h} and width {w} must be multiples of {block}"),
            ));
        }
        let channels = block.checked_mul(block).and_then(|square| square.checked_mul(c));
        let channels = channels.ok_or_else(|| ShapeError::new("there would be too many channels"))?;
        Ok(Shape::from([n, channels, h / block, w / block]))
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let output = self.infer(&[x.shape()]).expect("inferred");
        let strides = x.shape().strides();
        let (block, channels) = (self.block, x.shape().dims()[1]);
        Tensor::from_fn(output, |at| {
            let &[n, c, h, w] = at else { unreachable!("rank 4") };
            let (place, channel) = (c / channels, c % channels);
            let (row, column) = (h * block + place / block, w * block + place % block);
            x.data()[n * strides[0] + channel * strides[1] + row * strides[2] + column]
        })
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
