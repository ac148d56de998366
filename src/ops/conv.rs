//! Two-dimensional convolution (ONNX Conv, `torch.nn.Conv2d`); depthwise is `groups == c`.

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError, Window};
use crate::parallel::for_each_chunk;
use crate::tensor::{Shape, Tensor};

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

impl Conv {
    /// Adds what one tap `[ky, kx]` of a kernel, of weight `factor`, contributes to each sum of an output plane.
    fn add_tap(
        &self,
        tap: [usize; 2],
        factor: f64,
        plane: &[f32],
        [h, w]: [usize; 2],
        sums: &mut [f64],
        [oh, ow]: [usize; 2],
    ) {
        let columns = self.window.reads_inside(1, tap[1], w, ow);
        if columns.is_empty() {
            return;
        }
        let left = self.window.input_position(1, tap[1], columns.start);
        for oy in self.window.reads_inside(0, tap[0], h, oh) {
            let y = self.window.input_position(0, tap[0], oy);
            let row = &plane[y * w + left..(y + 1) * w];
            let sums = &mut sums[oy * ow..][columns.clone()];
            // Stride 1 is spelled out so that its loop becomes vector code.
            match self.window.stride[1] {
                1 => sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += factor * f64::from(x)),
                stride => {
                    let row = row.iter().step_by(stride);
                    sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += factor * f64::from(x));
                }
            }
        }
    }
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
        let (mut input_extents, mut output_extents) = ([h, w], [output.dims()[2], output.dims()[3]]);
        if self.window == Window::default() && [kh, kw] == [1, 1] {
            // Pointwise: every row of the image lies behind the last as if they were one.
            (input_extents, output_extents) = ([1, h * w], [1, h * w]);
        }
        let mut result = Tensor::zeros(output);
        let plane_length = output_extents[0] * output_extents[1];
        for_each_chunk(result.data_mut(), plane_length, |plane, values| {
            let (image, oc) = (plane / o, plane % o);
            let first = oc / (o / self.groups) * i;
            let mut sums = vec![bias.map_or(0.0, |b| f64::from(b.data()[oc])); plane_length];
            for ic in 0..i {
                let plane = &x.data()[(image * c + first + ic) * h * w..][..h * w];
                let kernel = &weight.data()[(oc * i + ic) * kh * kw..][..kh * kw];
                for (at, &factor) in kernel.iter().enumerate() {
                    let tap = [at / kw, at % kw];
                    self.add_tap(tap, f64::from(factor), plane, input_extents, &mut sums, output_extents);
                }
            }
            for (value, sum) in values.iter_mut().zip(sums) {
                *value = sum as f32;
            }
        });
        result
    }

    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost {
        let per_output = inputs[1].dims()[1..].iter().product::<usize>() as u64;
        Cost { multiply_adds: output.elements() as u64 * per_output, other: 0 }
    }
}
