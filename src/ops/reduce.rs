//! Sums, means and extremes over some axes (ONNX ReduceSum, ReduceMean, ReduceMax, ReduceMin).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// All elements along `axes` become one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Reduce {
    pub function: ReduceFunction,
    /// In ascending order.
    pub axes: Vec<usize>,
    /// Whether the axes stay, with extent 1.
    #[serde(default)]
    pub keep_axes: bool,
}

/// What elements are reduced to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReduceFunction {
    Sum,
    Mean,
    Max,
    Min,
}

impl ReduceFunction {
    pub fn name(&self) -> &'static str {
        match self {
            ReduceFunction::Sum => "reduce_sum",
            ReduceFunction::Mean => "reduce_mean",
            ReduceFunction::Max => "reduce_max",
            ReduceFunction::Min => "reduce_min",
        }
    }
}

impl Operator for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let dims = inputs[0].dims();
        let ascending = self.axes.windows(2).all(|pair| pair[0] < pair[1]);
        if self.axes.is_empty() || !ascending || self.axes.iter().any(|&axis| axis >= dims.len()) {
            return Err(ShapeError::with_formula(
                format!("{} of {} over axes {:?}", self.function.name(), inputs[0], self.axes),
                format!("some of the axes 0..{}, in ascending order", dims.len()),
            ));
        }
        let extents = dims.iter().enumerate().filter_map(|(axis, &dim)| {
            match (self.axes.contains(&axis), self.keep_axes) {
                (false, _) => Some(dim),
                (true, keep) => keep.then_some(1),
            }
        });
        Ok(Shape::new(extents.collect::<Vec<_>>()))
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let output = self.infer(&[x.shape()]).expect("inferred");
        let kept = Reduce { keep_axes: true, ..self.clone() }.infer(&[x.shape()]).expect("inferred");
        let strides: Vec<usize> = kept
            .strides()
            .into_iter()
            .zip(kept.dims())
            .map(|(s, &dim)| if dim == 1 { 0 } else { s })
            .collect();
        let start = match self.function {
            ReduceFunction::Sum | ReduceFunction::Mean => 0.0,
            ReduceFunction::Max => f64::NEG_INFINITY,
            ReduceFunction::Min => f64::INFINITY,
        };
        let mut results = vec![start; output.elements()];
        let mut index = vec![0; x.shape().rank()];
        for &value in x.data() {
            let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
            let value = f64::from(value);
            results[at] = match self.function {
                ReduceFunction::Sum | ReduceFunction::Mean => results[at] + value,
                ReduceFunction::Max => results[at].max(value),
                ReduceFunction::Min => results[at].min(value),
            };
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < x.shape().dims()[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        if self.function == ReduceFunction::Mean {
            let count: usize = self.axes.iter().map(|&axis| x.shape().dims()[axis]).product();
            results.iter_mut().for_each(|value| *value /= count as f64);
        }
        Tensor::new(output, results.into_iter().map(|value| value as f32).collect())
    }

    fn cost(&self, inputs: &[&Shape], _output: &Shape) -> Cost {
        Cost { multiply_adds: 0, other: inputs[0].checked_elements().unwrap_or(usize::MAX) as u64 }
    }
}
