//! Moving element-wise work into the epilogue of the operator that produces the value.

use super::context::{Context, Declined, refuse};
use super::patch::Patch;
use crate::graph::NodeId;
use crate::ops::{EpilogueStep, Op};

/// The patch by which `producer` applies the work of `node` too: `step` with its operands, then the epilogue that
/// `node` itself has. The fused node keeps the id and name of `node`.
///
/// No cycle can arise, whatever `operands` are: `node` is the only reader of `producer`, so an operand that
/// depended on `producer` would depend on `node`, which reads the operand.
pub fn append(
    context: &Context,
    producer: NodeId,
    node: NodeId,
    step: EpilogueStep,
    operands: &[NodeId],
) -> Result<Patch, Declined> {
    let nodes = [producer, node];
    may_take_epilogue(context, producer).map_err(|reason| refuse(&nodes, reason))?;
    context.sole_reader(producer, node).map_err(|reason| refuse(&nodes, reason))?;

    let mut epilogue = context.node(producer).epilogue.clone();
    epilogue.0.push(step);
    epilogue.0.extend(&context.node(node).epilogue.0);
    let (_, own_epilogue_operands) = context.graph.split_operands(node);
    let inputs = context.graph.operands(producer).into_iter();
    let inputs = inputs.chain(operands.iter().copied()).chain(own_epilogue_operands);
    Ok(Patch::rewrite(&nodes, context.node(producer).op.clone(), epilogue, inputs))
}

/// That the operator computes its elements one by one, in registers, where more can be done to them.
fn may_take_epilogue(context: &Context, producer: NodeId) -> Result<(), String> {
    let node = context.node(producer);
    if context.is_weight(producer) {
        return Err(format!("'{}' is not computed when the model runs", node.name));
    }
    match node.op {
        Op::Conv(_)
        | Op::Dense(_)
        | Op::Pool(_)
        | Op::GlobalPool(_)
        | Op::Lrn(_)
        | Op::Binary(_)
        | Op::ScaleShift(_)
        | Op::Unary(_)
        | Op::Activation(_) => Ok(()),
        _ => Err(format!("'{}' ({}) has no epilogue", node.name, node.op.name())),
    }
}
