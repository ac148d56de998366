//! Two-dimensional convolution (ONNX Conv, `torch.nn.Conv2d`); depthwise is `groups == c`.

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// How a window walks over an image: shared by convolution and pooling. Pairs are `[vertical, horizontal]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    pub stride: [usize; 2],
    /// `[top, left, bottom, right]`
    pub padding: [usize; 4],
    pub dilation: [usize; 2],
}

impl Default for Window {
    fn default() -> Self {
        Window { stride: [1, 1], padding: [0; 4], dilation: [1, 1] }
    }
}

impl Window {
    /// The output extent along `axis` (0 vertical, 1 horizontal) for an input extent and a kernel extent.
    pub fn output_extent(
        &self,
        axis: usize,
        input: usize,
        kernel: usize,
        ceil_mode: bool,
    ) -> Result<usize, ShapeError> {
        let name = ["height", "width"][axis];
        let (before, after) = (self.padding[axis], self.padding[axis + 2]);
        let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
        if stride == 0 || dilation == 0 || kernel == 0 {
            return Err(ShapeError::new(format!(
                "kernel, stride and dilation must be positive, but along the {name} they are \
                 {kernel}, {stride} and {dilation}"
            )));
        }
        let too_large = || ShapeError::new(format!("the padded {name} of {input} is too large"));
        let padded = input.checked_add(before).and_then(|v| v.checked_add(after)).ok_or_else(too_large)?;
        let reach =
            (kernel - 1).checked_mul(dilation).and_then(|v| v.checked_add(1)).ok_or_else(too_large)?;
        if padded < reach {
            return Err(ShapeError::with_formula(
                format!("a window that reaches over {reach} does not fit a padded {name} of {padded}"),
                format!(
                    "({input} + {before} + {after} - ({kernel} - 1)·{dilation} - 1) / {stride} + 1 \
                     must be at least 1"
                ),
            ));
        }
        let span = padded - reach;
        let mut extent = if ceil_mode { span.div_ceil(stride) } else { span / stride } + 1;
        // A window that would start in the padding after the image is dropped (PyTorch, ONNX).
        if ceil_mode && (extent - 1).saturating_mul(stride) >= input + before {
            extent -= 1;
        }
        Ok(extent)
    }
}

/// Inputs: `x [n, c, h, w]`, `weight [o, c / groups, kh, kw]`, optional `bias [o]`. Output `[n, o, h', w']`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Conv {
    #[serde(flatten)]
    pub window: Window,
    #[serde(default = "one")]
    pub groups: usize,
}

fn one() -> usize {
    1
}

impl Operator for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x", "weight", "bias"]
    }

    fn required_inputs(&self) -> usize {
        2
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let Some((n, c, h, w)) = inputs[0].nchw() else {
            return Err(ShapeError::new(format!("conv takes [n, c, h, w], not {}", inputs[0])));
        };
        let Some((o, i, kh, kw)) = inputs[1].nchw() else {
            return Err(ShapeError::new(format!("conv weights are [o, i, kh, kw], not {}", inputs[1])));
        };
        let g = self.groups;
        if g == 0 || c % g != 0 || o % g != 0 {
            return Err(ShapeError::with_formula(
                format!("{g} groups do not divide {c} input and {o} output channels"),
                format!("{c} mod {g} = 0 and {o} mod {g} = 0"),
            ));
        }
        if i != c / g {
            return Err(ShapeError::with_formula(
                format!("input {} does not fit weights {}", inputs[0], inputs[1]),
                format!("{c} / {g} groups = {} channels per group, the weights have {i}", c / g),
            ));
        }
        if let Some(bias) = inputs.get(2)
            && bias.dims() != [o]
        {
            return Err(ShapeError::new(format!("the bias of {o} channels must be [{o}], not {bias}")));
        }
        let oh = self.window.output_extent(0, h, kh, false)?;
        let ow = self.window.output_extent(1, w, kw, false)?;
        Ok(Shape::from([n, o, oh, ow]))
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let (x, weight) = (inputs[0], inputs[1]);
        let bias = inputs.get(2);
        let (_, c, h, w) = x.shape().nchw().expect("inferred");
        let (o, i, kh, kw) = weight.shape().nchw().expect("inferred");
        let shapes: Vec<_> = inputs.iter().map(|t| t.shape()).collect();
        let output = self.infer(&shapes).expect("inferred");
        let Window { stride, padding, dilation } = self.window;
        Tensor::from_fn(output, |at| {
            let [n, oc, oy, ox] = at[..] else { unreachable!("rank 4") };
            let first = oc / (o / self.groups) * i;
            let mut sum = bias.map_or(0.0, |b| f64::from(b.data()[oc]));
            for ic in 0..i {
                for ky in 0..kh {
                    let y = (oy * stride[0] + ky * dilation[0]).wrapping_sub(padding[0]);
                    if y >= h {
                        continue;
                    }
                    let x_row = ((n * c + first + ic) * h + y) * w;
                    let w_row = ((oc * i + ic) * kh + ky) * kw;
                    for kx in 0..kw {
                        let xx = (ox * stride[1] + kx * dilation[1]).wrapping_sub(padding[1]);
                        if xx < w {
                            sum += f64::from(x.data()[x_row + xx]) * f64::from(weight.data()[w_row + kx]);
                        }
                    }
                }
            }
            sum as f32
        })
    }

    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost {
        let per_output = inputs[1].dims()[1..].iter().product::<usize>() as u64;
        Cost { multiply_adds: output.elements() as u64 * per_output, other: 0 }
    }
}
