//! Folds a multiplication or division by one number per channel into the weights of the convolution or dense layer
//! before it. With [`fold_bias`](super::fold_bias), a batch norm that is written out as arithmetic folds too.

use super::context::{Answer, Context, Declined, refuse};
use super::fold_bias::is_per_channel;
use super::patch::{Expressions, Patch, Value};
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::{Binary, BinaryFunction, Op};
use crate::tensor::Shape;

pub const PASS: Pass = Pass {
    name: "fold_scale",
    description: "fold a factor or divisor per channel into the weights of the convolution or dense layer before it",
    level: Level::Fusion,
    visit,
};

fn visit(context: &Context, node: NodeId) -> Answer {
    let Op::Binary(Binary { function: function @ (BinaryFunction::Mul | BinaryFunction::Div) }) =
        context.node(node).op
    else {
        return Err(Declined::NotACandidate);
    };
    let (own, epilogue_operands) = context.graph.split_operands(node);
    let (layer, factor) = match (context.is_weight(own[0]), context.is_weight(own[1])) {
        (false, true) => (own[0], own[1]),
        (true, false) if function == BinaryFunction::Mul => (own[1], own[0]),
        _ => return Err(Declined::NotACandidate),
    };
    let nodes = [layer, node];
    let producer = context.node(layer);
    if !matches!(producer.op, Op::Conv(_) | Op::Dense(_)) {
        return Err(Declined::NotACandidate);
    }
    let shape = context.graph.shape(factor);
    let scalar = shape.elements() == 1 && shape.rank() <= producer.shape.rank();
    if !scalar && !is_per_channel(shape, &producer.shape) {
        let reason = format!("a factor of shape {shape} is not one number per channel of {}", producer.shape);
        return Err(refuse(&nodes, reason));
    }
    if !producer.epilogue.is_empty() {
        return Err(refuse(&nodes, format!("'{}' ends in an epilogue already", producer.name)));
    }
    context.sole_reader(layer, node).map_err(|reason| refuse(&nodes, reason))?;
    let operands = context.graph.operands(layer);
    if !operands[1..].iter().all(|&operand| context.is_weight(operand)) {
        let reason = format!("the weights of '{}' are computed when the model runs", producer.name);
        return Err(refuse(&nodes, reason));
    }

    let mut expressions = Expressions::default();
    let name = |what: &str| format!("{}.{what}", context.node(node).name);
    let rank = context.graph.shape(operands[1]).rank();
    let mut per_output = vec![1; rank];
    per_output[0] = shape.elements();
    let factors = expressions.reshape(name("factor_per_output"), factor, Shape::new(per_output));
    let weight = expressions.binary(name("folded_weight"), function, operands[1], factors);
    let mut inputs: Vec<Value> = vec![operands[0].into(), weight];
    if let Some(&bias) = operands.get(2) {
        let factors = expressions.reshape(name("factor_per_channel"), factor, [shape.elements()]);
        inputs.push(expressions.binary(name("folded_bias"), function, bias, factors));
    }
    inputs.extend(epilogue_operands.into_iter().map(Value::from));
    let epilogue = context.node(node).epilogue.clone();
    Ok(Patch::rewrite(&nodes, producer.op.clone(), epilogue, inputs).with(expressions))
}
