//! Folds the addition or subtraction of one number per channel into the bias of the convolution or dense layer before it.

use super::context::{Answer, Context, Declined, refuse};
use super::patch::{Expressions, Patch, Value};
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::{Binary, BinaryFunction, Op, UnaryFunction};
use crate::tensor::Shape;

pub const PASS: Pass = Pass {
    name: "fold_bias",
    description: "fold the addition or subtraction of a weight per channel into the bias of the convolution or dense layer before it",
    level: Level::Fusion,
    visit,
};

fn visit(context: &Context, node: NodeId) -> Answer {
    let Op::Binary(Binary { function: function @ (BinaryFunction::Add | BinaryFunction::Sub) }) =
        context.node(node).op
    else {
        return Err(Declined::NotACandidate);
    };
    let (own, epilogue_operands) = context.graph.split_operands(node);
    let (layer, addend) = match (context.is_weight(own[0]), context.is_weight(own[1])) {
        (false, true) => (own[0], own[1]),
        (true, false) if function == BinaryFunction::Add => (own[1], own[0]),
        _ => return Err(Declined::NotACandidate),
    };
    let nodes = [layer, node];
    let producer = context.node(layer);
    if !matches!(producer.op, Op::Conv(_) | Op::Dense(_)) {
        let reason = format!("'{}' ({}) has no bias", producer.name, producer.op.name());
        return Err(refuse(&nodes, reason));
    }
    let shape = context.graph.shape(addend);
    if !is_per_channel(shape, &producer.shape) {
        let reason =
            format!("an addend of shape {shape} is not one number per channel of {}", producer.shape);
        return Err(refuse(&nodes, reason));
    }
    if !producer.epilogue.is_empty() {
        return Err(refuse(&nodes, format!("'{}' ends in an epilogue already", producer.name)));
    }
    context.sole_reader(layer, node).map_err(|reason| refuse(&nodes, reason))?;

    let mut expressions = Expressions::default();
    let name = |what: &str| format!("{}.{what}", context.node(node).name);
    let mut bias = Value::from(addend);
    if shape.rank() != 1 {
        bias = expressions.reshape(name("bias"), bias, [shape.elements()]);
    }
    let operands = context.graph.operands(layer);
    if let Some(&earlier) = operands.get(2) {
        bias = expressions.binary(name("folded_bias"), function, earlier, bias);
    } else if function == BinaryFunction::Sub {
        bias = expressions.unary(name("negated"), UnaryFunction::Neg, bias);
    }
    let inputs = [operands[0].into(), operands[1].into(), bias].into_iter();
    let inputs = inputs.chain(epilogue_operands.into_iter().map(Value::from));
    let epilogue = context.node(node).epilogue.clone();
    Ok(Patch::rewrite(&nodes, producer.op.clone(), epilogue, inputs).with(expressions))
}

/// Whether an array of shape `addend`, broadcast to `value`, holds one number for each channel (axis 1).
pub fn is_per_channel(addend: &Shape, value: &Shape) -> bool {
    let Some(missing) = value.rank().checked_sub(addend.rank()) else { return false };
    let channels = value.dims()[1];
    addend.elements() == channels
        && addend.dims().iter().enumerate().all(|(axis, &dim)| dim == 1 || axis + missing == 1)
}
