//! Adds or multiplies a second map while the first is still in registers (the shortcut of a residual block).

use super::context::{Answer, Context, Declined, refuse};
use super::{Level, Pass, epilogue};
use crate::graph::NodeId;
use crate::ops::{BinaryFunction, EpilogueStep, Op};

pub const PASS: Pass = Pass {
    name: "fuse_residual",
    description: "add or multiply a map of the same shape in the epilogue of the operator that produces the other",
    level: Level::Fusion,
    visit,
};

/// Of the two maps, the one computed later takes the operation: the other is already there to be read. Where that
/// one cannot, the other may.
fn visit(context: &Context, node: NodeId) -> Answer {
    let Op::Binary(binary) = context.node(node).op else {
        return Err(Declined::NotACandidate);
    };
    let (own, _) = context.graph.split_operands(node);
    let (a, b) = (own[0], own[1]);
    if context.is_weight(a) || context.is_weight(b) {
        return Err(Declined::NotACandidate);
    }
    let (later, earlier) = if context.is_after(a, b) { (a, b) } else { (b, a) };
    let step = match binary.function {
        BinaryFunction::Add => EpilogueStep::Add,
        BinaryFunction::Mul => EpilogueStep::Mul,
        _ => return Err(refuse(&[later, node], "an epilogue adds and multiplies maps, nothing else")),
    };
    let (value, of_later, of_earlier) =
        (context.graph.shape(node), context.graph.shape(later), context.graph.shape(earlier));
    if of_later != of_earlier {
        let narrow = if of_later == value { of_earlier } else { of_later };
        return Err(refuse(
            &[later, node],
            format!("an operand of shape {narrow} is broadcast to {value}; an epilogue reads whole maps"),
        ));
    }
    epilogue::append(context, later, node, step, &[earlier]).or_else(|declined| {
        let Declined::Refused { reason: first, .. } = declined else { return Err(declined) };
        epilogue::append(context, earlier, node, step, &[later]).map_err(|declined| match declined {
            Declined::Refused { reason: second, .. } if first == second => refuse(&[later, node], first),
            Declined::Refused { reason: second, .. } => {
                refuse(&[earlier, later, node], format!("{first}; {second}"))
            }
            Declined::NotACandidate => declined,
        })
    })
}
