//! Batch normalisation (Ioffe & Szegedy, 2015; ONNX BatchNormalization, `torch.nn.BatchNorm2d`).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError, map_channels, per_channel};
use crate::tensor::{Shape, Tensor};

/// Which statistics normalise.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistics {
    /// The running mean and variance that training left: inputs `mean [c]`, `variance [c]`.
    #[default]
    Running,
    /// The batch's own mean and biased variance over `(n, h, w)`; no further inputs.
    Batch,
}

/// `(x - mean) / sqrt(variance + epsilon) · scale + shift` per channel of `x [n, c, …]`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct BatchNorm {
    #[serde(default = "default_epsilon")]
    pub epsilon: f32,
    #[serde(default)]
    pub statistics: Statistics,
}

fn widen(values: &Tensor) -> Vec<f64> {
    values.data().iter().map(|&value| f64::from(value)).collect()
}

/// Of PyTorch and ONNX alike.
fn default_epsilon() -> f32 {
    1e-5
}

/// Mean and biased variance of each channel of `x [n, c, …]`.
fn batch_statistics(x: &Tensor) -> (Vec<f64>, Vec<f64>) {
    let channels = x.shape().dims()[1];
    let inner: usize = x.shape().dims()[2..].iter().product();
    let count = (x.data().len() / channels) as f64;
    let sums = |term: &dyn Fn(usize, f64) -> f64| {
        let mut sums = vec![0.0; channels];
        for (plane, values) in x.data().chunks_exact(inner).enumerate() {
            let channel = plane % channels;
            sums[channel] += values.iter().map(|&value| term(channel, f64::from(value))).sum::<f64>();
        }
        sums.into_iter().map(|sum| sum / count).collect::<Vec<f64>>()
    };
    let mean = sums(&|_, value| value);
    let variance = sums(&|channel, value| (value - mean[channel]).powi(2));
    (mean, variance)
}

impl Operator for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn input_names(&self) -> &'static [&'static str] {
        match self.statistics {
            Statistics::Running => &["x", "scale", "shift", "mean", "variance"],
            Statistics::Batch => &["x", "scale", "shift"],
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        per_channel(self.name(), inputs, self.input_names())?;
        Ok(inputs[0].clone())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let (x, scale, shift) = (inputs[0], inputs[1], inputs[2]);
        let (mean, variance) = match self.statistics {
            Statistics::Running => (widen(inputs[3]), widen(inputs[4])),
            Statistics::Batch => batch_statistics(x),
        };
        map_channels(x, |channel, value| {
            let normal = (value - mean[channel]) / (variance[channel] + f64::from(self.epsilon)).sqrt();
            normal * f64::from(scale.data()[channel]) + f64::from(shift.data()[channel])
        })
    }

    fn cost(&self, _inputs: &[&Shape], output: &Shape) -> Cost {
        let per_element = match self.statistics {
            Statistics::Running => 2,
            // One addition for the mean, a subtraction, a product and a sum for the variance.
            Statistics::Batch => 2 + 4,
        };
        Cost { multiply_adds: 0, other: per_element * output.elements() as u64 }
    }
}
