//! Outputs along one axis as weighted sums of a few inputs along it: what resizing, reversing and padding by what is
//! there come down to.

use super::ShapeError;
use crate::parallel::for_each_chunk;
use crate::tensor::{Shape, Tensor};

/// One output along an axis: `constant + Σ weight · x[position]`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sample {
    /// Positions along the axis of the input, and their weights.
    pub taps: Vec<(usize, f64)>,
    pub constant: f64,
}

/// The most outputs along an axis that is sampled: each may become code of its own.
const MAX_SAMPLES: usize = 1 << 16;

/// # Errors
/// Where an axis of `output` that differs from the input's is too long to be sampled.
pub fn check_samples(operator: &str, input: &Shape, output: &Shape) -> Result<(), ShapeError> {
    let too_long = |(&from, &to): (&usize, &usize)| from != to && to > MAX_SAMPLES;
    match input.dims().iter().zip(output.dims()).any(too_long) {
        false => Ok(()),
        true => Err(ShapeError::new(format!(
            "{operator} of {input} to {output}: an axis may grow or shrink to {MAX_SAMPLES} at most"
        ))),
    }
}

impl Sample {
    /// The element at a position.
    pub fn at(position: usize) -> Self {
        Sample { taps: vec![(position, 1.0)], constant: 0.0 }
    }
}

/// How each output along one axis is made.
#[derive(Clone, PartialEq, Debug)]
pub struct Sampling {
    pub axis: usize,
    pub samples: Vec<Sample>,
}

impl Sampling {
    /// Whether every output is the input at its own place.
    pub fn is_identity(&self, extent: usize) -> bool {
        self.samples.len() == extent
            && self.samples.iter().enumerate().all(|(at, sample)| *sample == Sample::at(at))
    }

    /// The shape of what is made of an array of this shape.
    pub fn shape(&self, input: &Shape) -> Shape {
        let mut dims = input.dims().to_vec();
        dims[self.axis] = self.samples.len();
        Shape::new(dims)
    }
}

/// Reference evaluation of one sampling after the other, without rounding between them.
pub fn sample(x: &Tensor, samplings: &[Sampling]) -> Tensor {
    let mut shape = x.shape().clone();
    let mut data: Vec<f64> = x.data().iter().map(|&value| f64::from(value)).collect();
    for sampling in samplings {
        let extent = shape.dims()[sampling.axis];
        let inner: usize = shape.dims()[sampling.axis + 1..].iter().product();
        let output = sampling.shape(&shape);
        let mut result = vec![0.0; output.elements()];
        for_each_chunk(&mut result, sampling.samples.len() * inner, |outer, block| {
            let input = &data[outer * extent * inner..][..extent * inner];
            for (sample, line) in sampling.samples.iter().zip(block.chunks_exact_mut(inner)) {
                line.fill(sample.constant);
                for &(position, weight) in &sample.taps {
                    let source = &input[position * inner..][..inner];
                    line.iter_mut().zip(source).for_each(|(sum, &value)| *sum += weight * value);
                }
            }
        });
        (shape, data) = (output, result);
    }
    Tensor::new(shape, data.into_iter().map(|value| value as f32).collect())
}
