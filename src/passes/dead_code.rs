//! Removes what no output depends on.

use super::context::{Answer, Context, Declined};
use super::patch::Patch;
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::Op;

pub const PASS: Pass =
    Pass { name: "dead_code", description: "remove what no output depends on", level: Level::CleanUp, visit };

/// Model inputs stay: a caller passes them whether they are read or not.
fn visit(context: &Context, node: NodeId) -> Answer {
    if context.graph.is_read(node) || matches!(context.node(node).op, Op::Input(_)) {
        return Err(Declined::NotACandidate);
    }
    Ok(Patch::remove(node))
}
