//! Moving channels into pixels (ONNX DepthToSpace, `torch.nn.PixelShuffle`).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `x [n, c, h, w]` to `[n, c / block², h · block, w · block]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct DepthToSpace {
    pub block: usize,
    /// Whether the place within a block is the slower part of a channel's number (ONNX mode `DCR`) or the faster one
    /// (`CRD`, PyTorch).
    #[serde(default)]
    pub blocks_first: bool,
}

impl DepthToSpace {
    /// The input's channel for an output's channel, of `channels`, and the place within its block.
    pub fn channel(&self, channel: usize, [row, column]: [usize; 2], channels: usize) -> usize {
        let place = row * self.block + column;
        if self.blocks_first { place * channels + channel } else { channel * self.block * self.block + place }
    }
}

impl Operator for DepthToSpace {
    fn name(&self) -> &'static str {
        "depth_to_space"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let Some((n, c, h, w)) = inputs[0].nchw() else {
            return Err(ShapeError::new(format!("depth_to_space takes [n, c, h, w], not {}", inputs[0])));
        };
        let square = self.block.checked_mul(self.block).filter(|&square| square > 0);
        match square.filter(|&square| c.is_multiple_of(square)) {
            Some(square) => Ok(Shape::from([n, c / square, h * self.block, w * self.block])),
            None => Err(ShapeError::with_formula(
                format!("depth_to_space of {} in blocks of {}", inputs[0], self.block),
                format!("{c} channels are no multiple of {}²", self.block),
            )),
        }
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let output = self.infer(&[x.shape()]).expect("inferred");
        let strides = x.shape().strides();
        let (block, channels) = (self.block, output.dims()[1]);
        Tensor::from_fn(output, |at| {
            let &[n, c, h, w] = at else { unreachable!("rank 4") };
            let channel = self.channel(c, [h % block, w % block], channels);
            x.data()[n * strides[0] + channel * strides[1] + h / block * strides[2] + w / block]
        })
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
