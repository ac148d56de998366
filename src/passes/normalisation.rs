//! An inference-mode batch norm as the affine map that it is.

use super::context::Context;
use super::patch::{Expressions, Value};
use crate::graph::NodeId;
use crate::ops::{BinaryFunction, Op, Statistics, UnaryFunction};

/// A batch norm whose statistics and affine parameters are weights.
pub struct RunningBatchNorm<'g> {
    name: &'g str,
    epsilon: f32,
    pub x: NodeId,
    scale: NodeId,
    shift: NodeId,
    mean: NodeId,
    variance: NodeId,
}

impl<'g> RunningBatchNorm<'g> {
    /// The batch norm at `node`; `None` where it is something else.
    ///
    /// # Errors
    /// Why it is no affine map that is known before the model runs.
    pub fn at(context: &Context<'g>, node: NodeId) -> Option<Result<Self, String>> {
        let Op::BatchNorm(batch_norm) = context.graph.node(node).op else { return None };
        if context.is_weight(node) {
            return None;
        }
        if batch_norm.statistics == Statistics::Batch {
            return Some(Err("it normalises with the statistics of the batch itself".into()));
        }
        let (own, _) = context.graph.split_operands(node);
        let &[x, scale, shift, mean, variance] = &own[..] else {
            return Some(Err("it lacks its running statistics".into()));
        };
        if ![scale, shift, mean, variance].into_iter().all(|operand| context.is_weight(operand)) {
            return Some(Err("its statistics or parameters are computed when the model runs".into()));
        }
        let name = &context.graph.node(node).name;
        let epsilon = batch_norm.epsilon;
        Some(Ok(RunningBatchNorm { name, epsilon, x, scale, shift, mean, variance }))
    }

    /// `(factor, offset)`, both `[c]`, such that the batch norm of `x + bias` is `x · factor + offset`:
    /// `factor = scale / sqrt(variance + epsilon)`, `offset = shift - (mean - bias) · factor`.
    pub fn affine(&self, bias: Option<NodeId>, expressions: &mut Expressions) -> (Value, Value) {
        use BinaryFunction::{Add, Div, Mul, Sub};
        let name = |what: &str| format!("{}.{what}", self.name);
        let epsilon = expressions.scalar(name("epsilon"), self.epsilon);
        let variance = expressions.binary(name("variance_plus_epsilon"), Add, self.variance, epsilon);
        let deviation = expressions.unary(name("deviation"), UnaryFunction::Sqrt, variance);
        let factor = expressions.binary(name("factor"), Div, self.scale, deviation);
        let mean = match bias {
            Some(bias) => expressions.binary(name("mean_without_bias"), Sub, self.mean, bias),
            None => self.mean.into(),
        };
        let centre = expressions.binary(name("scaled_mean"), Mul, mean, factor);
        let offset = expressions.binary(name("offset"), Sub, self.shift, centre);
        (factor, offset)
    }
}
