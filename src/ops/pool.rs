//! Max and average pooling (ONNX MaxPool, AveragePool; `torch.nn.MaxPool2d`, `AvgPool2d`).

use std::iter::StepBy;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError, Window};
use crate::tensor::{Shape, Tensor};

/// What a window is reduced to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "reduce", rename_all = "snake_case")]
pub enum PoolKind {
    Max,
    /// With `count_include_pad`, padding counts as zeros in the divisor too.
    Average {
        #[serde(default)]
        count_include_pad: bool,
    },
}

/// Input `x [n, c, h, w]`, output `[n, c, h', w']`. Padding never wins a maximum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Pool {
    #[serde(flatten)]
    pub kind: PoolKind,
    /// `[kh, kw]`
    pub kernel: [usize; 2],
    #[serde(flatten)]
    pub window: Window,
    #[serde(default)]
    pub ceil_mode: bool,
}

impl Pool {
    fn output_extent(&self, axis: usize, input: usize) -> Result<usize, ShapeError> {
        let kernel = self.kernel[axis];
        let extent = self.window.output_extent(axis, input, kernel, self.ceil_mode)?;
        let padding = self.window.padding[axis].max(self.window.padding[axis + 2]);
        let reach = (kernel - 1) * self.window.dilation[axis] + 1;
        if padding >= reach {
            return Err(ShapeError::with_formula(
                format!("a pooling window that reaches over {reach} would see nothing but padding"),
                format!(
                    "padding {padding} must be less than ({kernel} - 1)·{} + 1",
                    self.window.dilation[axis]
                ),
            ));
        }
        if padding > 0 && self.window.dilation[axis] > input {
            return Err(ShapeError::new(format!(
                "a pooling window with padding and dilation {} can step over an input of extent {input}",
                self.window.dilation[axis]
            )));
        }
        Ok(extent)
    }

    /// For output position `at` along `axis` of an input extent: the input positions that the window covers,
    /// and how many positions of the padded input it covers (a window of `ceil_mode` may reach beyond that).
    pub fn taps(&self, axis: usize, at: usize, input: usize) -> (StepBy<Range<usize>>, usize) {
        let Window { stride, padding, dilation } = self.window;
        let (before, after, dilation) = (padding[axis], padding[axis + 2], dilation[axis]);
        // Positions here are those of the padded input.
        let start = at * stride[axis];
        let end = (start + (self.kernel[axis] - 1) * dilation + 1).min(before + input + after);
        let skipped = before.saturating_sub(start).next_multiple_of(dilation);
        let first = start + skipped - before;
        (
            (first..end.min(before + input).saturating_sub(before)).step_by(dilation),
            (end - start).div_ceil(dilation),
        )
    }
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let Some((n, c, h, w)) = inputs[0].nchw() else {
            return Err(ShapeError::new(format!("pool takes [n, c, h, w], not {}", inputs[0])));
        };
        Ok(Shape::from([n, c, self.output_extent(0, h)?, self.output_extent(1, w)?]))
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let (_, _, h, w) = x.shape().nchw().expect("inferred");
        let output = self.infer(&[x.shape()]).expect("inferred");
        let (n, c, oh, ow) = output.nchw().expect("inferred");
        let mut data = Vec::with_capacity(n * c * oh * ow);
        for plane in x.data().chunks_exact(h * w) {
            for oy in 0..oh {
                let (rows, row_count) = self.taps(0, oy, h);
                for ox in 0..ow {
                    let (columns, column_count) = self.taps(1, ox, w);
                    let taps = rows
                        .clone()
                        .flat_map(|y| columns.clone().map(move |x| (y, x)))
                        .map(|(y, x)| plane[y * w + x]);
                    data.push(match self.kind {
                        PoolKind::Max => taps.fold(f32::NEG_INFINITY, f32::max),
                        PoolKind::Average { count_include_pad } => {
                            let count = if count_include_pad {
                                row_count * column_count
                            } else {
                                rows.len() * columns.len()
                            };
                            (taps.map(f64::from).sum::<f64>() / count as f64) as f32
                        }
                    });
                }
            }
        }
        Tensor::new(output, data)
    }

    fn cost(&self, _inputs: &[&Shape], output: &Shape) -> Cost {
        let taps = (self.kernel[0] as u64).saturating_mul(self.kernel[1] as u64);
        Cost { multiply_adds: 0, other: taps.saturating_mul(output.elements() as u64) }
    }
}
