//! What kernels do with sums in registers before they store them.

use super::{Array, math};
use crate::codegen::ptx::{Builder, Value};
use crate::kernels::View;
use crate::kernels::math::activation_name;
use crate::ops::Activation;

/// An [`Epilogue`](crate::ops::Epilogue) whose operands have found their place in memory.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GpuEpilogue(pub Vec<GpuStep>);

/// A step of a [`GpuEpilogue`].
#[derive(Clone, PartialEq, Debug)]
pub enum GpuStep {
    Activation(Activation),
    /// `x + bias[c]`; one array `[c]`.
    Bias,
    /// `x · scale[c] + shift[c]`; two arrays `[c]`.
    ScaleShift,
    /// `x + operand`
    Add(Array),
    /// `x · operand`
    Mul(Array),
}

/// An epilogue and the arguments that hold its operands.
pub struct BoundEpilogue<'a> {
    steps: Vec<(&'a GpuStep, Vec<Value>)>,
}

impl GpuEpilogue {
    /// Declares the operands' arguments, in order.
    pub fn declare(&self, b: &mut Builder) -> BoundEpilogue<'_> {
        let operands = |step: &GpuStep| match step {
            GpuStep::Activation(_) => 0,
            GpuStep::Bias | GpuStep::Add(_) | GpuStep::Mul(_) => 1,
            GpuStep::ScaleShift => 2,
        };
        let bind = |step| (step, (0..operands(step)).map(|_| b.pointer()).collect());
        BoundEpilogue { steps: self.0.iter().map(bind).collect() }
    }

    /// What a kernel's name says of its epilogue, such as `_bias_add_relu`.
    pub fn suffix(&self) -> String {
        let name = |step: &GpuStep| match step {
            GpuStep::Activation(activation) => activation_name(activation),
            GpuStep::Bias => "bias".to_owned(),
            GpuStep::ScaleShift => "scaleshift".to_owned(),
            GpuStep::Add(array) => format!("add{}", array.suffix()),
            GpuStep::Mul(array) => format!("mul{}", array.suffix()),
        };
        self.0.iter().map(|step| format!("_{}", name(step))).collect()
    }

    /// The maps that the steps read beside the value.
    pub fn arrays_mut(&mut self) -> impl Iterator<Item = &mut Array> {
        self.0.iter_mut().filter_map(|step| match step {
            GpuStep::Add(array) | GpuStep::Mul(array) => Some(array),
            GpuStep::Activation(_) | GpuStep::Bias | GpuStep::ScaleShift => None,
        })
    }

    /// The maps that the steps read beside the value.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.0.iter().filter_map(|step| match step {
            GpuStep::Add(array) | GpuStep::Mul(array) => Some(array),
            GpuStep::Activation(_) | GpuStep::Bias | GpuStep::ScaleShift => None,
        })
    }

    /// Whether `lanes` neighbours along `axis` of every operand can be read at once.
    pub fn is_vector(&self, axis: usize, lanes: usize) -> bool {
        self.arrays().all(|array| array.is_vector(axis, lanes))
    }
}

impl BoundEpilogue<'_> {
    /// Applies the steps to `values`, lanes along `axis` from `coordinates` (`[n, c, …]`) on. Maps are read only where
    /// the first of `guards` holds, arrays `[c]` where the second does.
    pub fn apply(
        &self,
        b: &mut Builder,
        mut values: Vec<Value>,
        coordinates: &[Value],
        axis: usize,
        [guard, channel_exists]: [Option<Value>; 2],
    ) -> Vec<Value> {
        let lanes = values.len();
        for (step, pointers) in &self.steps {
            let per_channel = |b: &mut Builder, pointer: Value| {
                let mut dims = vec![1; coordinates.len()];
                dims[1] = if axis == 1 { lanes } else { 1 };
                let mut strides = vec![0; coordinates.len()];
                strides[1] = 1;
                let array = Array::f32(View { dims, strides, offset: 0 });
                array.load(b, pointer, coordinates, axis, lanes, channel_exists)
            };
            values = match step {
                GpuStep::Activation(activation) => {
                    values.into_iter().map(|value| math::activation(b, *activation, value)).collect()
                }
                GpuStep::Bias => {
                    let bias = per_channel(b, pointers[0]);
                    values.into_iter().zip(bias).map(|(value, bias)| b.fadd(value, bias)).collect()
                }
                GpuStep::ScaleShift => {
                    let (scale, shift) = (per_channel(b, pointers[0]), per_channel(b, pointers[1]));
                    let factors = scale.into_iter().zip(shift);
                    values
                        .into_iter()
                        .zip(factors)
                        .map(|(v, (scale, shift))| b.fma(v, scale, shift))
                        .collect()
                }
                GpuStep::Add(array) => {
                    let operand = array.load(b, pointers[0], coordinates, axis, lanes, guard);
                    values.into_iter().zip(operand).map(|(value, other)| b.fadd(value, other)).collect()
                }
                GpuStep::Mul(array) => {
                    let operand = array.load(b, pointers[0], coordinates, axis, lanes, guard);
                    values.into_iter().zip(operand).map(|(value, other)| b.fmul(value, other)).collect()
                }
            };
        }
        values
    }
}
