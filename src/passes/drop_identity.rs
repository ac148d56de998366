//! Removes operators that return what they are given.

use super::context::{Answer, Context, Declined, refuse};
use super::patch::Patch;
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::{Epilogue, Op, Reshape, Transpose};

pub const PASS: Pass = Pass {
    name: "drop_identity",
    description: "remove dropout, reshapes to the same shape, paddings by nothing and transposes that cancel",
    level: Level::CleanUp,
    visit,
};

fn visit(context: &Context, node: NodeId) -> Answer {
    let this = context.node(node);
    if !this.epilogue.is_empty() || this.op.operator().is_none() {
        return Err(Declined::NotACandidate);
    }
    let operands = context.graph.operands(node);
    let x = operands[0];
    if is_identity(context, node, operands.len()) {
        return bypass(context, node, x);
    }
    merge(context, node, x)
}

/// Whether the operator returns its first operand as it is.
fn is_identity(context: &Context, node: NodeId, operands: usize) -> bool {
    let same_shape = context.graph.shape(context.graph.operands(node)[0]) == context.graph.shape(node);
    match &context.node(node).op {
        Op::Identity(_) => true,
        // The same shape: nothing is left to choose, but for the values.
        Op::Reshape(_) | Op::Pad(_) | Op::GlobalPool(_) => same_shape,
        Op::Concat(_) => operands == 1,
        Op::Transpose(transpose) => transpose.permutation.is_sorted(),
        Op::Pool(pool) => pool.kernel == [1, 1] && same_shape,
        _ => false,
    }
}

/// Two reshapes, or two transposes, in a row are one; which may be none.
fn merge(context: &Context, node: NodeId, x: NodeId) -> Answer {
    let producer = context.node(x);
    let op: Op = match (&context.node(node).op, &producer.op) {
        (Op::Reshape(reshape), Op::Reshape(_)) => Reshape { shape: reshape.shape.clone() }.into(),
        (Op::Transpose(second), Op::Transpose(first)) => Transpose {
            permutation: second.permutation.iter().map(|&axis| first.permutation[axis]).collect(),
        }
        .into(),
        _ => return Err(Declined::NotACandidate),
    };
    if !producer.epilogue.is_empty() {
        return Err(Declined::NotACandidate);
    }
    Ok(Patch::rewrite(&[x, node], op, Epilogue::default(), context.graph.operands(x)))
}

fn bypass(context: &Context, node: NodeId, x: NodeId) -> Answer {
    let source = context.node(x).op.operator().is_none();
    match context.graph.outputs().iter().find(|output| output.node == node) {
        Some(output) if source => {
            let reason = format!(
                "the output '{}' would be '{}' itself, which no operator computes",
                output.name,
                context.node(x).name
            );
            Err(refuse(&[node], reason))
        }
        _ => Ok(Patch::bypass(node, x)),
    }
}
