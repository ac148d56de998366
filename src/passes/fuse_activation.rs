//! Applies an activation while the value is still in registers.

use super::context::{Answer, Context, Declined};
use super::{Level, Pass, epilogue};
use crate::graph::NodeId;
use crate::ops::{EpilogueStep, Op};

pub const PASS: Pass = Pass {
    name: "fuse_activation",
    description: "apply an activation in the epilogue of the operator before it",
    level: Level::Fusion,
    visit,
};

fn visit(context: &Context, node: NodeId) -> Answer {
    let Op::Activation(activation) = context.node(node).op else {
        return Err(Declined::NotACandidate);
    };
    if context.is_weight(node) {
        return Err(Declined::NotACandidate);
    }
    let x = context.graph.operands(node)[0];
    epilogue::append(context, x, node, EpilogueStep::Activation(activation), &[])
}
