//! Local response normalisation across channels (AlexNet §3.3; ONNX LRN).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `x / (bias + alpha / size · Σ x²)^beta`, the sum over `size` neighbouring channels: `⌊(size - 1) / 2⌋` before
/// and `⌈(size - 1) / 2⌉` after, fewer at the first and last channels.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lrn {
    pub size: usize,
    pub alpha: f32,
    pub beta: f32,
    pub bias: f32,
}

impl Lrn {
    /// The channels that are summed for `channel`.
    pub fn neighbours(&self, channel: usize, channels: usize) -> Range<usize> {
        let reach = self.size - 1;
        let last = channel.saturating_add(reach.div_ceil(2)).min(channels - 1);
        channel.saturating_sub(reach / 2)..last + 1
    }
}

impl Operator for Lrn {
    fn name(&self) -> &'static str {
        "lrn"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        if inputs[0].rank() < 2 {
            return Err(ShapeError::new(format!("lrn takes [n, c, …], not {}", inputs[0])));
        }
        if self.size == 0 {
            return Err(ShapeError::new("lrn needs a size of at least 1"));
        }
        Ok(inputs[0].clone())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let channels = x.shape().dims()[1];
        let inner: usize = x.shape().dims()[2..].iter().product();
        let mut data = Vec::with_capacity(x.data().len());
        for image in x.data().chunks_exact(channels * inner) {
            for channel in 0..channels {
                let neighbours = self.neighbours(channel, channels);
                for at in 0..inner {
                    let squares: f64 =
                        neighbours.clone().map(|c| f64::from(image[c * inner + at]).powi(2)).sum();
                    let scale = f64::from(self.bias) + f64::from(self.alpha) / self.size as f64 * squares;
                    let value = f64::from(image[channel * inner + at]);
                    data.push((value / scale.powf(f64::from(self.beta))) as f32);
                }
            }
        }
        Tensor::new(x.shape().clone(), data)
    }

    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost {
        // A product and a sum per neighbour; then scale, offset, power and quotient.
        let per_element = 2 * self.size.min(inputs[0].dims()[1]) as u64 + 4;
        Cost { multiply_adds: 0, other: per_element * output.elements() as u64 }
    }
}
