//! Padding with a constant, or with what the array holds (ONNX Pad).

use serde::{Deserialize, Serialize};

use super::sampling::{Sample, Sampling, check_samples, sample};
use super::{Cost, Operator, ShapeError};
use crate::json_float;
use crate::tensor::{Shape, Tensor};

/// Per axis, how many elements come before and after.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pad {
    pub before: Vec<usize>,
    pub after: Vec<usize>,
    #[serde(default, with = "json_float")]
    pub value: f32,
    #[serde(default)]
    pub mode: PadMode,
}

/// What an array is padded with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// `value`
    #[default]
    Constant,
    /// The nearest element.
    Edge,
    /// What lies as far behind the edge, the edge itself not repeated.
    Reflect,
    /// The array from its other end on.
    Wrap,
}

impl Pad {
    /// How the outputs along each axis are made, for the axes that grow; not for [`PadMode::Constant`].
    pub fn samplings(&self, input: &Shape) -> Vec<Sampling> {
        let grows = |axis: &usize| self.before[*axis] + self.after[*axis] > 0;
        let samplings = (0..input.rank()).filter(grows).map(|axis| {
            let (extent, before) = (input.dims()[axis] as i64, self.before[axis] as i64);
            let source = |at: i64| match self.mode {
                PadMode::Constant | PadMode::Edge => at.clamp(0, extent - 1),
                PadMode::Wrap => at.rem_euclid(extent),
                PadMode::Reflect => {
                    let folded = at.rem_euclid((2 * (extent - 1)).max(1));
                    folded.min(2 * (extent - 1) - folded)
                }
            };
            let positions = -before..extent + self.after[axis] as i64;
            Sampling { axis, samples: positions.map(|at| Sample::at(source(at) as usize)).collect() }
        });
        samplings.collect()
    }
}

impl Operator for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let dims = inputs[0].dims();
        if self.before.len() != dims.len() || self.after.len() != dims.len() {
            return Err(ShapeError::with_formula(
                format!(
                    "padding {:?} before and {:?} after does not fit {}",
                    self.before, self.after, inputs[0]
                ),
                format!("both need one number for each of the {} axes", dims.len()),
            ));
        }
        let padded = dims.iter().zip(&self.before).zip(&self.after);
        let padded = padded
            .map(|((&dim, &before), &after)| dim.checked_add(before)?.checked_add(after))
            .collect::<Option<Vec<_>>>()
            .map(Shape::new)
            .ok_or_else(|| {
                ShapeError::new(format!(
                    "{} padded by {:?} before and {:?} after is too large",
                    inputs[0], self.before, self.after
                ))
            })?;
        if self.mode != PadMode::Constant {
            check_samples(self.name(), inputs[0], &padded)?;
        }
        Ok(padded)
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        if self.mode != PadMode::Constant {
            return sample(x, &self.samplings(x.shape()));
        }
        let (dims, strides) = (x.shape().dims(), x.shape().strides());
        let output = self.infer(&[x.shape()]).expect("inferred");
        Tensor::from_fn(output, |at| {
            let mut offset = 0;
            for (axis, &position) in at.iter().enumerate() {
                match position.checked_sub(self.before[axis]) {
                    Some(inside) if inside < dims[axis] => offset += inside * strides[axis],
                    _ => return self.value,
                }
            }
            x.data()[offset]
        })
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
