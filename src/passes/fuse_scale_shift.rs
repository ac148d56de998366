//! Applies a per-channel scale and shift while the value is still in registers.

use super::context::{Answer, Context, Declined, refuse};
use super::{Level, Pass, epilogue};
use crate::graph::NodeId;
use crate::ops::{EpilogueStep, Op};

pub const PASS: Pass = Pass {
    name: "fuse_scale_shift",
    description: "apply a per-channel scale and shift in the epilogue of the operator before it",
    level: Level::Fusion,
    visit,
};

fn visit(context: &Context, node: NodeId) -> Answer {
    if !matches!(context.node(node).op, Op::ScaleShift(_)) || context.is_weight(node) {
        return Err(Declined::NotACandidate);
    }
    let (own, _) = context.graph.split_operands(node);
    let (x, affine) = (own[0], &own[1..]);
    if !affine.iter().all(|&operand| context.is_weight(operand)) {
        return Err(refuse(&[x, node], "its scale or shift is computed when the model runs"));
    }
    epilogue::append(context, x, node, EpilogueStep::ScaleShift, affine)
}
