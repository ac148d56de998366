//! What a pass sees of the graph, and how it answers.

use super::patch::Patch;
use crate::graph::{Graph, Node, NodeId, NodeSet};

/// A pass's answer for one node: a patch, or why there is none.
pub type Answer = Result<Patch, Declined>;

/// Why a pass has no patch for a node.
pub enum Declined {
    /// The node is not of the kind that the pass rewrites.
    NotACandidate,
    /// It is, but the rewrite would be wrong or cannot be expressed.
    Refused {
        /// In dataflow order; the last is the node that was visited.
        nodes: Vec<NodeId>,
        reason: String,
    },
}

/// Declines to rewrite `nodes`, the last of which is the node visited.
pub fn refuse(nodes: &[NodeId], reason: impl Into<String>) -> Declined {
    Declined::Refused { nodes: nodes.to_vec(), reason: reason.into() }
}

/// The graph, and what the driver knows about it.
pub struct Context<'g> {
    pub graph: &'g Graph,
    /// The values that are evaluated once, when weights are bound; all others are activations.
    pub weights: &'g NodeSet,
    /// By node index: the place in a topological order.
    pub position: &'g [usize],
}

impl Context<'_> {
    pub fn node(&self, id: NodeId) -> &Node {
        self.graph.node(id)
    }

    pub fn is_weight(&self, id: NodeId) -> bool {
        self.weights.contains(id)
    }

    /// Whether `a` is computed after `b`.
    pub fn is_after(&self, a: NodeId, b: NodeId) -> bool {
        self.position[a.index()] > self.position[b.index()]
    }

    /// That `reader` is the only reader of `value` and reads it once: then nobody misses `value` when the two
    /// become one node.
    ///
    /// # Errors
    /// Who else reads it.
    pub fn sole_reader(&self, value: NodeId, reader: NodeId) -> Result<(), String> {
        let uses = self.graph.uses(value);
        if uses == 1 {
            return Ok(());
        }
        let name = &self.node(value).name;
        if let Some(output) = self.graph.outputs().iter().find(|output| output.node == value) {
            return Err(format!("'{name}' is the model's output '{}'", output.name));
        }
        if uses > 8 {
            return Err(format!("'{name}' is read {uses} times"));
        }
        let other = self.graph.consumers(value).into_iter().find(|&other| other != reader);
        Err(match other {
            Some(other) => format!("'{name}' is also read by '{}'", self.node(other).name),
            None => format!("'{}' reads '{name}' more than once", self.node(reader).name),
        })
    }
}
