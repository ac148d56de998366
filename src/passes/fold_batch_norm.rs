//! Folds an inference-mode batch norm into the weights of the convolution or dense layer before it.

use super::context::{Answer, Context, Declined, refuse};
use super::normalisation::RunningBatchNorm;
use super::patch::{Expressions, Patch, Value};
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::{BinaryFunction, Op};
use crate::tensor::Shape;

pub const PASS: Pass = Pass {
    name: "fold_batch_norm",
    description: "fold an inference-mode batch norm into the weights of the convolution or dense layer before it",
    level: Level::Fusion,
    visit,
};

fn visit(context: &Context, node: NodeId) -> Answer {
    let batch_norm = match RunningBatchNorm::at(context, node).ok_or(Declined::NotACandidate)? {
        Ok(batch_norm) => batch_norm,
        Err(reason) => return Err(refuse(&[node], reason)),
    };
    let layer = batch_norm.x;
    let nodes = [layer, node];
    let producer = context.node(layer);
    if !matches!(producer.op, Op::Conv(_) | Op::Dense(_)) {
        let reason = format!("'{}' ({}) has no weights to scale", producer.name, producer.op.name());
        return Err(refuse(&nodes, reason));
    }
    if !producer.epilogue.is_empty() {
        return Err(refuse(&nodes, format!("'{}' ends in an epilogue already", producer.name)));
    }
    context.sole_reader(layer, node).map_err(|reason| refuse(&nodes, reason))?;
    let operands = context.graph.operands(layer);
    let (x, weight, bias) = (operands[0], operands[1], operands.get(2).copied());
    if !operands[1..].iter().all(|&operand| context.is_weight(operand)) {
        let reason = format!("the weights of '{}' are computed when the model runs", producer.name);
        return Err(refuse(&nodes, reason));
    }

    let mut expressions = Expressions::default();
    let (factor, offset) = batch_norm.affine(bias, &mut expressions);
    let weight_shape = context.graph.shape(weight).dims();
    let mut per_output = vec![1; weight_shape.len()];
    per_output[0] = weight_shape[0];
    let name = |what: &str| format!("{}.{what}", context.node(node).name);
    let factor = expressions.reshape(name("factor_per_output"), factor, Shape::new(per_output));
    let weight = expressions.binary(name("folded_weight"), BinaryFunction::Mul, weight, factor);

    let (_, epilogue_operands) = context.graph.split_operands(node);
    let inputs = [x.into(), weight, offset].into_iter();
    let inputs = inputs.chain(epilogue_operands.into_iter().map(Value::from));
    let epilogue = context.node(node).epilogue.clone();
    Ok(Patch::rewrite(&nodes, producer.op.clone(), epilogue, inputs).with(expressions))
}
