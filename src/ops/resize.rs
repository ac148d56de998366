//! Interpolation (ONNX Resize and Upsample, `torch.nn.functional.interpolate`).

use serde::{Deserialize, Serialize};

use super::sampling::{Sample, Sampling, check_samples, sample};
use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `x` stretched to `shape`, one axis after the other.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Resize {
    pub shape: Shape,
    /// Per axis, the factor by which positions are computed; `shape` may be rounded.
    pub scales: Vec<f32>,
    #[serde(flatten)]
    pub interpolation: Interpolation,
    #[serde(default)]
    pub coordinates: Coordinates,
    /// Whether positions outside of the image have no weight, instead of the value at the edge.
    #[serde(default)]
    pub exclude_outside: bool,
    /// Whether shrinking averages over all that an output stands for.
    #[serde(default)]
    pub antialias: bool,
    /// Per axis, the part `[start, end]` of the input that [`Coordinates::CropAndResize`] stretches, as fractions.
    #[serde(default)]
    pub region: Vec<[f32; 2]>,
    /// What lies outside of the input for [`Coordinates::CropAndResize`].
    #[serde(default)]
    pub extrapolation: f32,
}

/// How a value between positions is computed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Interpolation {
    Nearest {
        #[serde(default)]
        rounding: Rounding,
    },
    Linear,
    Cubic {
        /// `a` of Keys' kernel (Keys, 1981).
        coefficient: f32,
    },
}

/// Which of two positions is the nearest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// The nearer one, of two as near the first.
    #[default]
    PreferFloor,
    /// The nearer one, of two as near the second.
    PreferCeil,
    Floor,
    Ceil,
}

/// Which position of the input an output's position stands for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// Pixels are areas; `(at + ½) / scale - ½`.
    #[default]
    HalfPixel,
    /// The same about the image's centre, where the output's extent was rounded.
    HalfPixelSymmetric,
    /// The same, but an output of one pixel reads the first.
    PytorchHalfPixel,
    /// First and last pixel stay where they are.
    AlignCorners,
    /// `at / scale`
    Asymmetric,
    /// A region of the input is stretched over the output.
    CropAndResize,
}

impl Resize {
    /// How the outputs along each axis are made, for the axes that change.
    pub fn samplings(&self, input: &Shape) -> Vec<Sampling> {
        let samplings = (0..input.rank()).map(|axis| {
            let samples = (0..self.shape.dims()[axis]).map(|at| self.sample(axis, at, input.dims()[axis]));
            Sampling { axis, samples: samples.collect() }
        });
        samplings.filter(|sampling| !sampling.is_identity(input.dims()[sampling.axis])).collect()
    }

    /// The position of the input that the output's `at` stands for.
    fn position(&self, axis: usize, at: usize, input: usize) -> f64 {
        let scale = f64::from(self.scales[axis]);
        let (at, last, output) = (at as f64, (input - 1) as f64, scale * input as f64);
        match self.coordinates {
            Coordinates::HalfPixel => (at + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let rounded = self.shape.dims()[axis] as f64 / output;
                input as f64 / 2.0 * (1.0 - rounded) + (at + 0.5) / scale - 0.5
            }
            Coordinates::PytorchHalfPixel if output == 1.0 => -0.5,
            Coordinates::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
            Coordinates::AlignCorners if output == 1.0 => 0.0,
            Coordinates::AlignCorners => at * last / (output - 1.0),
            Coordinates::Asymmetric => at / scale,
            Coordinates::CropAndResize => {
                let [start, end] = self.region.get(axis).copied().unwrap_or([0.0, 1.0]).map(f64::from);
                let reach = (end - start) * last;
                start * last + if output == 1.0 { reach / 2.0 } else { at * reach / (output - 1.0) }
            }
        }
    }

    fn sample(&self, axis: usize, at: usize, input: usize) -> Sample {
        let position = self.position(axis, at, input);
        let last = (input - 1) as f64;
        if self.coordinates == Coordinates::CropAndResize && !(0.0..=last).contains(&position) {
            return Sample { taps: Vec::new(), constant: f64::from(self.extrapolation) };
        }
        let below = position.floor();
        // A position that is a pixel's own lies at the end of the step before it.
        let fraction = if position == below { 1.0 } else { position - below };
        let weights = self.weights(fraction, f64::from(self.scales[axis]));
        let first = below - (weights.len() / 2) as f64 + if position == below { 0.0 } else { 1.0 };
        let mut taps: Vec<(usize, f64)> = Vec::new();
        for (step, &weight) in weights.iter().enumerate() {
            let place = first + step as f64;
            if weight == 0.0 || self.exclude_outside && !(0.0..=last).contains(&place) {
                continue;
            }
            let place = place.clamp(0.0, last) as usize;
            match taps.last_mut() {
                Some(tap) if tap.0 == place => tap.1 += weight,
                _ => taps.push((place, weight)),
            }
        }
        let total: f64 = taps.iter().map(|tap| tap.1).sum();
        if self.exclude_outside && total != 0.0 {
            taps.iter_mut().for_each(|tap| tap.1 /= total);
        }
        Sample { taps, constant: 0.0 }
    }

    /// The weights of an even number of neighbours, `fraction` of a step behind the one before the middle.
    fn weights(&self, fraction: f64, scale: f64) -> Vec<f64> {
        let kernel: &dyn Fn(f64) -> f64 = match self.interpolation {
            Interpolation::Nearest { rounding } => {
                let second = match rounding {
                    _ if fraction == 1.0 => true,
                    Rounding::PreferFloor => fraction > 0.5,
                    Rounding::PreferCeil => fraction >= 0.5,
                    Rounding::Floor => false,
                    Rounding::Ceil => true,
                };
                return if second { vec![0.0, 1.0] } else { vec![1.0, 0.0] };
            }
            Interpolation::Linear => &|x| (1.0 - x.abs()).max(0.0),
            Interpolation::Cubic { coefficient } => &move |x| keys(x, f64::from(coefficient)),
        };
        let radius = if matches!(self.interpolation, Interpolation::Linear) { 1.0 } else { 2.0 };
        let scale = if self.antialias { scale.min(1.0) } else { 1.0 };
        let reach = (radius / scale).ceil() as i64;
        let weights: Vec<f64> =
            (1 - reach..=reach).map(|step| kernel((step as f64 - fraction) * scale)).collect();
        let total: f64 = if self.antialias { weights.iter().sum() } else { 1.0 };
        weights.into_iter().map(|weight| weight / total).collect()
    }
}

/// The cubic convolution kernel (Keys, 1981).
fn keys(x: f64, a: f64) -> f64 {
    let x = x.abs();
    match x {
        _ if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

impl Operator for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let rank = inputs[0].rank();
        if self.shape.rank() != rank || self.scales.len() != rank {
            return Err(ShapeError::new(format!(
                "resize of {} to {} by {:?}: each needs one number for each of {rank} axes",
                inputs[0], self.shape, self.scales
            )));
        }
        // The smallest scale leaves one element, which bounds how many neighbours a weight can have.
        let fits = |(&scale, &dim): (&f32, &usize)| scale.is_finite() && f64::from(scale) * dim as f64 >= 0.5;
        if !self.scales.iter().zip(inputs[0].dims()).all(fits) {
            return Err(ShapeError::new(format!("{} cannot be resized by {:?}", inputs[0], self.scales)));
        }
        if !self.region.is_empty() && self.region.len() != rank {
            return Err(ShapeError::new(format!("a region of {} axes in {}", self.region.len(), inputs[0])));
        }
        if self.region.iter().flatten().any(|bound| !bound.is_finite()) {
            return Err(ShapeError::new("the bounds of a region are finite"));
        }
        check_samples(self.name(), inputs[0], &self.shape)?;
        Ok(self.shape.clone())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        sample(inputs[0], &self.samplings(inputs[0].shape()))
    }

    fn cost(&self, _inputs: &[&Shape], output: &Shape) -> Cost {
        let per_element = match self.interpolation {
            Interpolation::Nearest { .. } => 0,
            Interpolation::Linear => 2,
            Interpolation::Cubic { .. } => 4,
        };
        Cost { multiply_adds: 0, other: per_element * output.elements() as u64 }
    }
}
