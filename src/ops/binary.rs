//! Element-wise operators of two arrays, with broadcasting (ONNX Add, Sub, Mul, Div, Max, Min, Pow, PRelu).

use std::iter;

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// `a ∘ b` with multidirectional broadcasting.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Binary {
    pub function: BinaryFunction,
}

/// A function of two elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryFunction {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    /// `a^b`
    Pow,
    /// `a` where positive, `a · b` elsewhere
    Prelu,
}

impl BinaryFunction {
    pub fn name(&self) -> &'static str {
        match self {
            BinaryFunction::Add => "add",
            BinaryFunction::Sub => "sub",
            BinaryFunction::Mul => "mul",
            BinaryFunction::Div => "div",
            BinaryFunction::Max => "max",
            BinaryFunction::Min => "min",
            BinaryFunction::Pow => "pow",
            BinaryFunction::Prelu => "prelu",
        }
    }
}

/// An axis of the output with the strides, in elements, at which `a` and `b` are read along it; 0 repeats.
#[derive(Clone, Copy)]
struct Axis {
    extent: usize,
    a: usize,
    b: usize,
}

/// The axes along which two arrays are read for an output, joined where memory order allows.
fn broadcast_axes(output: &Shape, a: &Shape, b: &Shape) -> Vec<Axis> {
    let strides = |shape: &Shape| {
        let mut strides = vec![0; output.rank() - shape.rank()];
        let own = shape.strides().into_iter().zip(shape.dims());
        strides.extend(own.map(|(stride, &extent)| if extent == 1 { 0 } else { stride }));
        strides
    };
    let mut axes: Vec<Axis> = Vec::new();
    for ((&extent, a), b) in output.dims().iter().zip(strides(a)).zip(strides(b)) {
        match axes.last_mut() {
            _ if extent == 1 => {}
            Some(outer) if outer.a == a * extent && outer.b == b * extent => {
                *outer = Axis { extent: outer.extent * extent, a, b };
            }
            _ => axes.push(Axis { extent, a, b }),
        }
    }
    axes
}

/// `function` of two arrays with broadcasting. The innermost axis runs as a loop over slices: large weights are
/// folded with this when a model is compiled.
fn zip_broadcast(inputs: &[&Tensor], function: impl Fn(f32, f32) -> f32) -> Tensor {
    let (a, b) = (inputs[0], inputs[1]);
    let output = a.shape().broadcast(b.shape()).expect("inferred");
    let mut axes = broadcast_axes(&output, a.shape(), b.shape());
    let inner = axes.pop().unwrap_or(Axis { extent: 1, a: 0, b: 0 });
    let mut data = Vec::with_capacity(output.elements());
    for at in 0..output.elements() / inner.extent {
        let (mut rest, mut from_a, mut from_b) = (at, 0, 0);
        for axis in axes.iter().rev() {
            from_a += rest % axis.extent * axis.a;
            from_b += rest % axis.extent * axis.b;
            rest /= axis.extent;
        }
        let (a, b) = (&a.data()[from_a..], &b.data()[from_b..]);
        match (inner.a, inner.b) {
            (0, 0) => data.extend(iter::repeat_n(function(a[0], b[0]), inner.extent)),
            (0, _) => data.extend(b[..inner.extent].iter().map(|&b| function(a[0], b))),
            (_, 0) => data.extend(a[..inner.extent].iter().map(|&a| function(a, b[0]))),
            _ => data.extend(a[..inner.extent].iter().zip(b).map(|(&a, &b)| function(a, b))),
        }
    }
    Tensor::new(output, data)
}

impl Operator for Binary {
    fn name(&self) -> &'static str {
        "binary"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["a", "b"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let (a, b) = (inputs[0], inputs[1]);
        a.broadcast(b).ok_or_else(|| {
            ShapeError::with_formula(
                format!("{} of {a} and {b}: the shapes do not broadcast", self.function.name()),
                "aligned at the last axis, extents must be equal or one of them 1",
            )
        })
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        // One operation rounded once: computing in f64 would round to the same f32.
        match self.function {
            BinaryFunction::Add => zip_broadcast(inputs, |a, b| a + b),
            BinaryFunction::Sub => zip_broadcast(inputs, |a, b| a - b),
            BinaryFunction::Mul => zip_broadcast(inputs, |a, b| a * b),
            BinaryFunction::Div => zip_broadcast(inputs, |a, b| a / b),
            BinaryFunction::Max => zip_broadcast(inputs, f32::max),
            BinaryFunction::Min => zip_broadcast(inputs, f32::min),
            BinaryFunction::Pow => zip_broadcast(inputs, |a, b| f64::from(a).powf(f64::from(b)) as f32),
            BinaryFunction::Prelu => zip_broadcast(inputs, |a, b| if a > 0.0 { a } else { a * b }),
        }
    }

    fn cost(&self, _inputs: &[&Shape], output: &Shape) -> Cost {
        Cost { multiply_adds: 0, other: output.elements() as u64 }
    }
}
