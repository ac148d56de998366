//! Picking elements at even distances along each axis, forwards or backwards (ONNX Slice).

use serde::{Deserialize, Serialize};

use super::sampling::{Sample, Sampling};
use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// Along each axis, `extents` elements: the one at `starts`, then every `steps`-th.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Slice {
    pub starts: Vec<usize>,
    pub extents: Vec<usize>,
    pub steps: Vec<i64>,
}

impl Slice {
    /// The position along `axis` of the input that the output's `at` reads.
    pub fn position(&self, axis: usize, at: usize) -> usize {
        self.starts[axis].wrapping_add_signed((at as i64 * self.steps[axis]) as isize)
    }

    /// How the outputs along the axes that are walked backwards are made.
    pub fn reversals(&self) -> Vec<Sampling> {
        let backwards = (0..self.steps.len()).filter(|&axis| self.steps[axis] < 0);
        let samplings = backwards.map(|axis| {
            let samples = (0..self.extents[axis]).map(|at| Sample::at(self.position(axis, at)));
            Sampling { axis, samples: samples.collect() }
        });
        samplings.collect()
    }

    /// Whether all picked positions along an axis of this extent exist.
    fn fits(&self, axis: usize, extent: usize) -> bool {
        let [start, count] = [self.starts[axis], self.extents[axis]].map(|value| i128::try_from(value).ok());
        let (Some(start), Some(count)) = (start, count) else { return false };
        let last = start + (count - 1) * i128::from(self.steps[axis]);
        let inside = |position: i128| (0..extent as i128).contains(&position);
        count == 0 || (self.steps[axis] != 0 && inside(start) && inside(last))
    }
}

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let dims = inputs[0].dims();
        let Slice { starts, extents, steps } = self;
        if [starts.len(), extents.len(), steps.len()] != [dims.len(); 3] {
            return Err(ShapeError::with_formula(
                format!("a slice of {} axes does not fit {}", starts.len(), inputs[0]),
                format!("starts, extents and steps need one number for each of the {} axes", dims.len()),
            ));
        }
        match (0..dims.len()).find(|&axis| !self.fits(axis, dims[axis])) {
            None => Ok(Shape::new(extents.clone())),
            Some(axis) => Err(ShapeError::with_formula(
                format!("a slice reaches beyond axis {axis} of {}", inputs[0]),
                format!(
                    "it picks {} from {} in steps of {}, of {}",
                    extents[axis], starts[axis], steps[axis], dims[axis]
                ),
            )),
        }
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let strides = x.shape().strides();
        Tensor::from_fn(Shape::new(self.extents.clone()), |at| {
            let offsets = (0..at.len()).map(|axis| self.position(axis, at[axis]) * strides[axis]);
            x.data()[offsets.sum::<usize>()]
        })
    }

    fn cost(&self, _inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost::default()
    }
}
