//! Element-wise functions of arrays with any strides: activations, sums, broadcasts, copies, layout changes.

use super::epilogue::{EpilogueBuffers, along};
use super::nest::{Axis, Nest, Run, moved, steps};
use super::view::{dims_name, layout_suffix};
use super::{Family, FusedEpilogue, View, math, special};
use crate::codegen::vector::{Access, Address, Affine, Builder, Kernel, Reg, Unary};
use crate::ops::{Activation, BinaryFunction, UnaryFunction};

/// `output = function(inputs …)`, then the epilogue, for each element.
///
/// Buffers: the inputs, the epilogue's operands, the output.
#[derive(Clone, PartialEq, Debug)]
pub struct Elementwise {
    pub function: ElementFunction,
    /// As many as the function takes, all of the output's dims: along a broadcast axis the stride is 0.
    pub inputs: Vec<View>,
    pub output: View,
    pub epilogue: FusedEpilogue,
}

/// What an [`Elementwise`] kernel computes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ElementFunction {
    Copy,
    Unary(UnaryFunction),
    Binary(BinaryFunction),
    Activation(Activation),
    /// `x · scale + shift` of three inputs
    ScaleShift,
    /// `(x - mean) / sqrt(variance + epsilon) · scale + shift` of five inputs
    BatchNorm {
        epsilon: f32,
    },
}

impl ElementFunction {
    fn name(&self) -> String {
        match self {
            ElementFunction::Copy => "copy".to_owned(),
            ElementFunction::Unary(function) => function.name().to_owned(),
            ElementFunction::Binary(function) => function.name().to_owned(),
            ElementFunction::Activation(activation) => math::activation_name(activation),
            ElementFunction::ScaleShift => "scaleshift".to_owned(),
            ElementFunction::BatchNorm { epsilon } => format!("batchnorm{epsilon:?}"),
        }
    }

    fn input_names(&self) -> &'static [&'static str] {
        match self {
            ElementFunction::Copy | ElementFunction::Unary(_) | ElementFunction::Activation(_) => &["x"],
            ElementFunction::Binary(_) => &["a", "b"],
            ElementFunction::ScaleShift => &["x", "scale", "shift"],
            ElementFunction::BatchNorm { .. } => &["x", "scale", "shift", "mean", "variance"],
        }
    }

    /// How many vectors a round of the innermost loop computes: few where a function is long.
    fn unroll(&self) -> usize {
        match self {
            ElementFunction::Unary(UnaryFunction::Exp | UnaryFunction::Log | UnaryFunction::Erf)
            | ElementFunction::Binary(BinaryFunction::Pow)
            | ElementFunction::BatchNorm { .. }
            | ElementFunction::Activation(
                Activation::Sigmoid
                | Activation::Silu
                | Activation::Tanh
                | Activation::Elu { .. }
                | Activation::Selu { .. }
                | Activation::Softplus
                | Activation::Mish,
            ) => 1,
            _ => 4,
        }
    }

    fn apply(&self, k: &mut Builder, x: &[Reg]) -> Reg {
        match self {
            ElementFunction::Copy => x[0],
            ElementFunction::Unary(function) => match function {
                UnaryFunction::Sqrt => k.unary(Unary::Sqrt, x[0]),
                UnaryFunction::Rsqrt => {
                    let root = k.unary(Unary::Sqrt, x[0]);
                    math::reciprocal(k, root)
                }
                UnaryFunction::Exp => math::exp(k, x[0]),
                UnaryFunction::Log => special::natural_log(k, x[0]),
                UnaryFunction::Erf => special::erf(k, x[0]),
                UnaryFunction::Neg => k.unary(Unary::Neg, x[0]),
                UnaryFunction::Abs => k.unary(Unary::Abs, x[0]),
            },
            ElementFunction::Binary(function) => match function {
                BinaryFunction::Add => k.add(x[0], x[1]),
                BinaryFunction::Sub => k.sub(x[0], x[1]),
                BinaryFunction::Mul => k.mul(x[0], x[1]),
                BinaryFunction::Div => k.div(x[0], x[1]),
                BinaryFunction::Max => k.max(x[0], x[1]),
                BinaryFunction::Min => k.min(x[0], x[1]),
                BinaryFunction::Pow => special::power(k, x[0], x[1]),
                BinaryFunction::Prelu => {
                    let (zero, scaled) = (k.constant(0.0), k.mul(x[0], x[1]));
                    k.select(x[0], zero, x[0], scaled)
                }
            },
            ElementFunction::Activation(activation) => math::activation(k, *activation, x[0]),
            ElementFunction::ScaleShift => k.fma(x[0], x[1], x[2]),
            ElementFunction::BatchNorm { epsilon } => {
                let epsilon = k.constant(*epsilon);
                let variance = k.add(x[4], epsilon);
                let deviation = k.unary(Unary::Sqrt, variance);
                let centred = k.sub(x[0], x[3]);
                let normal = k.div(centred, deviation);
                k.fma(normal, x[1], x[2])
            }
        }
    }
}

/// An array that the function reads.
struct Operand {
    base: Address,
    view: View,
}

/// The kernel's arrays while it is built.
struct Arrays<'a> {
    function: ElementFunction,
    operands: Vec<Operand>,
    epilogue: EpilogueBuffers<'a>,
    y: Address,
    output: &'a View,
}

impl Arrays<'_> {
    /// Computes `lanes` elements from the one at `at`, along `axis`.
    fn element(&self, k: &mut Builder, at: &[Affine], axis: usize, lanes: usize) {
        let rank = self.output.dims.len();
        let stride = |view: &View| view.strides.get(axis).copied().unwrap_or(0);
        let operand = |k: &mut Builder, operand: &Operand| {
            along(k, operand.view.at(&operand.base, &at[..rank]), stride(&operand.view), lanes)
        };
        let x: Vec<Reg> = self.operands.iter().map(|o| operand(k, o)).collect();
        let value = self.function.apply(k, &x);
        let value = self.epilogue.apply(k, value, &at[..rank], axis, lanes);
        k.store_lanes(value, self.output.at(&self.y, &at[..rank]), lanes);
    }
}

/// How many elements of the output a transposing loop writes side by side: as many streams are read.
const STREAMS: usize = 8;

impl Family for Elementwise {
    fn name(&self) -> String {
        let layout = layout_suffix(self.inputs.iter().chain([&self.output]));
        let (function, dims) = (self.function.name(), dims_name(&self.output.dims));
        format!("{function}_{dims}{layout}{}", self.epilogue.suffix())
    }

    fn build(&self, lanes: usize) -> Kernel {
        let mut k = Builder::new(self.name(), lanes);
        let operand = |(name, view): (&&str, &View)| Operand {
            base: k.buffer(name, Access::Read, view.end()),
            view: view.clone(),
        };
        let operands: Vec<Operand> =
            self.function.input_names().iter().zip(&self.inputs).map(operand).collect();
        let epilogue = self.epilogue.declare(&mut k);
        let y = k.buffer("y", Access::Write, self.output.end());

        let mut strides = vec![self.output.strides.clone()];
        strides.extend(operands.iter().map(|operand| operand.view.strides.clone()));
        strides.extend(self.epilogue.strides(&self.output.dims));
        let dims = &self.output.dims;
        let nest = Nest::new(0..dims.len(), dims, &strides);
        let Run { axis, extent } = nest.run();
        let vector = extent > 1 && strides[0][axis] == 1 && strides.iter().all(|s| s[axis] <= 1);
        let touched = strides.len();
        let across = nest.outer().iter().copied().min_by_key(|outer| reach(&operands, outer.axis));
        let across =
            across.filter(|across| !vector && reach(&operands, across.axis) < reach(&operands, axis));
        let arrays = Arrays { function: self.function, operands, epilogue, y, output: &self.output };
        match across {
            Some(across) => transpose(&mut k, nest, across, touched, &arrays),
            None => {
                let lanes = if vector { lanes } else { 1 };
                let unroll = self.function.unroll();
                nest.emit(&mut k, touched, lanes * unroll, &|k, at, run| {
                    steps(k, &at[run.axis], run.extent, lanes, unroll, |k, start, lanes| {
                        arrays.element(k, &moved(at, run.axis, start.clone()), run.axis, lanes);
                    });
                });
            }
        }
        k.finish()
    }
}

/// How far apart neighbours along `axis` are in the arrays read, summed.
fn reach(operands: &[Operand], axis: usize) -> usize {
    operands.iter().map(|operand| operand.view.strides[axis]).sum()
}

/// Walks along `across`, where the inputs are contiguous, writing several elements of the output's own innermost
/// axis in each round.
fn transpose(k: &mut Builder, nest: Nest, across: Axis, touched: usize, arrays: &Arrays) {
    let inner = nest.run();
    nest.interchange(across).emit(k, touched * inner.extent, 16, &|k, at, run| {
        let columns = |k: &mut Builder, first: &Affine, count: usize| {
            k.repeat(run.extent, |k, index| {
                let at = moved(at, run.axis, at[run.axis].along(index, 1usize));
                for column in 0..count {
                    let at = moved(&at, inner.axis, first.plus(column));
                    arrays.element(k, &at, inner.axis, 1);
                }
            });
        };
        steps(k, &Affine::default(), inner.extent, STREAMS, 1, columns);
    });
}
