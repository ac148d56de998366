//! Removes operators that return what they are given.

use super::context::{Answer, Context, Declined, refuse};
use super::patch::Patch;
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::{Epilogue, Op, Transpose};

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
    let same_shape = this.shape == *context.graph.shape(x);
    let is_identity = match &this.op {
        Op::Identity(_) => true,
        Op::Reshape(_) | Op::Pad(_) | Op::GlobalPool(_) => same_shape,
        Op::Concat(_) => operands.len() == 1,
        Op::Transpose(transpose) => transpose.permutation.is_sorted(),
        Op::Pool(pool) => pool.kernel == [1, 1] && same_shape,
        _ => false,
    };
    if is_identity { bypass(context, &[node], x) } else { merge(context, x, node) }
}

/// Two reshapes, or two transposes, in a row are one, or none.
fn merge(context: &Context, first: NodeId, second: NodeId) -> Answer {
    let producer = context.node(first);
    if !producer.epilogue.is_empty() {
        return Err(Declined::NotACandidate);
    }
    let op: Op = match (&producer.op, &context.node(second).op) {
        (Op::Reshape(_), Op::Reshape(reshape)) => reshape.clone().into(),
        (Op::Transpose(first), Op::Transpose(second)) => Transpose {
            permutation: second.permutation.iter().map(|&axis| first.permutation[axis]).collect(),
        }
        .into(),
        _ => return Err(Declined::NotACandidate),
    };
    let x = context.graph.operands(first)[0];
    let cancel = match &op {
        Op::Transpose(transpose) => transpose.permutation.is_sorted(),
        _ => context.graph.shape(second) == context.graph.shape(x),
    };
    if cancel {
        bypass(context, &[first, second], x)
    } else {
        Ok(Patch::rewrite(&[first, second], op, Epilogue::default(), [x]))
    }
}

/// Whoever reads the last of `nodes` reads `x` instead.
fn bypass(context: &Context, nodes: &[NodeId], x: NodeId) -> Answer {
    let last = nodes.last().expect("a patch is for some node");
    let source = context.node(x);
    match context.graph.outputs().iter().find(|output| output.node == *last) {
        Some(output) if source.op.operator().is_none() => {
            let reason = format!(
                "the output '{}' would be '{}' itself, which no operator computes",
                output.name, source.name
            );
            Err(refuse(nodes, reason))
        }
        _ => Ok(Patch::bypass(nodes, x)),
    }
}
