//! How a window walks over an image.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ShapeError;

/// How the window of a convolution or a pooling walks over an image. Pairs are `[vertical, horizontal]`.
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

    /// The output positions along `axis` at which the kernel's `tap` reads inside an input of extent `input`.
    pub fn reads_inside(&self, axis: usize, tap: usize, input: usize, output: usize) -> Range<usize> {
        let first_at_or_after =
            |position: usize| position.saturating_sub(tap * self.dilation[axis]).div_ceil(self.stride[axis]);
        let (before, end) = (self.padding[axis], self.padding[axis] + input);
        first_at_or_after(before)..first_at_or_after(end).min(output)
    }

    /// The input position along `axis` that the kernel's `tap` reads for output position `at`, which must be one
    /// of [`Window::reads_inside`].
    pub fn input_position(&self, axis: usize, tap: usize, at: usize) -> usize {
        at * self.stride[axis] + tap * self.dilation[axis] - self.padding[axis]
    }
}
