//! The operators. **An operator is one file**: its attributes, shape rule, reference evaluation and cost.
//!
//! Every operator yields exactly one value. Semantics are those of ONNX and PyTorch on `[n, c, h, w]` arrays.

mod activation;
mod batch_norm;
mod binary;
mod concat;
mod conv;
mod conv_chain;
mod dense;
mod depth_to_space;
mod epilogue;
mod expand;
mod global_pool;
mod identity;
mod lrn;
mod matmul;
mod pad;
mod pool;
mod reduce;
mod reshape;
mod resize;
mod sampling;
mod scale_shift;
mod slice;
mod softmax;
mod source;
mod space_to_depth;
#[cfg(test)]
mod tests;
mod transpose;
mod unary;
mod window;

pub use activation::Activation;
pub use batch_norm::{BatchNorm, Statistics};
pub use binary::{Binary, BinaryFunction};
pub use concat::Concat;
pub use conv::Conv;
pub use conv_chain::{ConvChain, ConvStage};
pub use dense::Dense;
pub use depth_to_space::DepthToSpace;
pub use epilogue::{Epilogue, EpilogueStep};
pub use expand::Expand;
pub use global_pool::{GlobalPool, GlobalReduce};
pub use identity::Identity;
pub use lrn::Lrn;
pub use matmul::MatMul;
pub use pad::{Pad, PadMode};
pub use pool::{Pool, PoolKind};
pub use reduce::{Reduce, ReduceFunction};
pub use reshape::Reshape;
pub use resize::{Coordinates, Interpolation, Resize, Rounding};
pub use sampling::{Sample, Sampling};
pub use scale_shift::ScaleShift;
pub use slice::Slice;
pub use softmax::Softmax;
pub use source::{Constant, Init, Input, Parameter};
pub use space_to_depth::SpaceToDepth;
pub use transpose::Transpose;
pub use unary::{Unary, UnaryFunction};
pub use window::Window;

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::tensor::{Shape, Tensor};

/// What every operator defines about itself.
pub trait Operator {
    /// The operator's name in the graph's text form.
    fn name(&self) -> &'static str;

    /// What the inputs are called, in order; optional ones last.
    fn input_names(&self) -> &'static [&'static str];

    /// How many of [`Operator::input_names`] must be there.
    fn required_inputs(&self) -> usize {
        self.input_names().len()
    }

    /// How many inputs it takes at most; `None` where there is no limit.
    fn maximum_inputs(&self) -> Option<usize> {
        Some(self.input_names().len())
    }

    /// The shape rule: the output's shape, or which inputs do not fit and by which formula.
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError>;

    /// Reference evaluation: plain loops, `f64` accumulation. `inputs` have passed [`Operator::infer`].
    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor;

    /// Arithmetic of one evaluation.
    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost;
}

/// Arithmetic of one evaluation of an operator.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Multiply-adds of convolutions and dense layers: the count the papers' tables give.
    pub multiply_adds: u64,
    /// Everything else: comparisons, additions, exponentials, one each.
    pub other: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.multiply_adds += other.multiply_adds;
        self.other += other.other;
    }
}

/// Why inputs do not fit an operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct ShapeError {
    /// One sentence with the shapes in it.
    pub problem: String,
    /// The formula that failed with its numbers put in, where there is one.
    pub formula: Option<String>,
}

impl ShapeError {
    pub fn new(problem: impl Into<String>) -> Self {
        ShapeError { problem: problem.into(), formula: None }
    }

    pub fn with_formula(problem: impl Into<String>, formula: impl Into<String>) -> Self {
        ShapeError { problem: problem.into(), formula: Some(formula.into()) }
    }
}

macro_rules! operators {
    ($($variant:ident),* $(,)?) => {
        /// Any node's operation: a source of values, or one of the operators.
        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        #[serde(tag = "op", rename_all = "snake_case")]
        pub enum Op {
            Input(Input),
            Parameter(Parameter),
            Constant(Constant),
            $($variant($variant),)*
        }

        impl Op {
            /// The operator, unless this is a source of values.
            pub fn operator(&self) -> Option<&dyn Operator> {
                match self {
                    Op::Input(_) | Op::Parameter(_) | Op::Constant(_) => None,
                    $(Op::$variant(operator) => Some(operator),)*
                }
            }
        }

        $(impl From<$variant> for Op {
            fn from(operator: $variant) -> Op {
                Op::$variant(operator)
            }
        })*
    };
}

operators!(
    Activation,
    BatchNorm,
    Binary,
    Concat,
    Conv,
    ConvChain,
    Dense,
    DepthToSpace,
    Expand,
    GlobalPool,
    Identity,
    Lrn,
    MatMul,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Resize,
    ScaleShift,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
    Unary,
);

impl Op {
    /// The name in the graph's text form.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Parameter(_) => "parameter",
            Op::Constant(_) => "constant",
            _ => self.operator().expect("not a source").name(),
        }
    }

    /// What people call the operation: that of several functions by its function's name, such as `relu`, `add` or
    /// `max_pool`; others by their own.
    pub fn word(&self) -> &'static str {
        match self {
            Op::Activation(activation) => Activation::name(activation),
            Op::Binary(binary) => binary.function.name(),
            Op::Unary(unary) => unary.function.name(),
            Op::Reduce(reduce) => reduce.function.name(),
            Op::Softmax(Softmax { log: true, .. }) => "log_softmax",
            Op::Pool(Pool { kind: PoolKind::Max, .. }) => "max_pool",
            Op::Pool(Pool { kind: PoolKind::Average { .. }, .. }) => "average_pool",
            Op::GlobalPool(GlobalPool { reduce: GlobalReduce::Max }) => "global_max_pool",
            Op::GlobalPool(GlobalPool { reduce: GlobalReduce::Average }) => "global_average_pool",
            _ => self.name(),
        }
    }

    /// The shape of the value that the operation yields from inputs of these shapes.
    pub fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let shape = match self {
            Op::Input(input) => input.shape.clone(),
            Op::Parameter(parameter) => parameter.shape.clone(),
            Op::Constant(constant) => constant.value.shape().clone(),
            _ => {
                let operator = self.operator().expect("not a source");
                let (given, least, most) =
                    (inputs.len(), operator.required_inputs(), operator.maximum_inputs());
                if given < least || most.is_some_and(|most| given > most) {
                    let count = match most {
                        Some(most) if most == least => format!("{least}"),
                        Some(most) => format!("{least} to {most}"),
                        None => format!("at least {least}"),
                    };
                    let names = operator.input_names().join(", ");
                    let inputs = if most == Some(1) { "input" } else { "inputs" };
                    return Err(ShapeError::new(format!(
                        "{} takes {count} {inputs} ({names}), not {given}",
                        operator.name()
                    )));
                }
                operator.infer(inputs)?
            }
        };
        if shape.dims().contains(&0) {
            return Err(ShapeError::new(format!(
                "an array of shape {shape} has no elements; every extent must be at least 1"
            )));
        }
        match shape.checked_elements() {
            Some(elements) if elements <= MAX_ELEMENTS => Ok(shape),
            _ => Err(ShapeError::new(format!(
                "an array of shape {shape} is larger than the {MAX_ELEMENTS} elements kiln works with"
            ))),
        }
    }
}

/// The largest array kiln accepts, in elements: every byte offset then fits a signed 32-bit displacement's
/// multiples and every size computed from it fits `u64`.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// Checks that every input after `x [n, c, …]` is an array `[c]`.
fn per_channel(operator: &str, inputs: &[&Shape], names: &[&str]) -> Result<(), ShapeError> {
    let Some(&channels) = inputs[0].dims().get(1) else {
        return Err(ShapeError::new(format!("{operator} takes [n, c, …], not {}", inputs[0])));
    };
    for (shape, name) in inputs.iter().zip(names).skip(1) {
        if shape.dims() != [channels] {
            return Err(ShapeError::with_formula(
                format!("{operator} of {} does not take a {name} of shape {shape}", inputs[0]),
                format!("the input has {channels} channels, so the {name} must be [{channels}]"),
            ));
        }
    }
    Ok(())
}

/// Maps each element of `x [n, c, …]`, given the channel that it belongs to.
fn map_channels(x: &Tensor, map: impl Fn(usize, f64) -> f64) -> Tensor {
    let dims = x.shape().dims();
    let inner: usize = dims[2..].iter().product();
    let planes = x.data().chunks_exact(inner).enumerate();
    let data = planes.flat_map(|(plane, values)| {
        let (map, channel) = (&map, plane % dims[1]);
        values.iter().map(move |&value| map(channel, f64::from(value)) as f32)
    });
    Tensor::new(x.shape().clone(), data.collect())
}
