//! Concatenation without copies: operands are written straight into their part of the result.

use std::collections::HashMap;

use crate::graph::{Graph, NodeId, NodeSet};
use crate::ops::Op;

/// The concat along channels that each value is written into, and its first channel there.
pub struct Homes(HashMap<NodeId, (NodeId, usize)>);

impl Homes {
    pub fn of(graph: &Graph, constants: &NodeSet) -> Self {
        let mut homes = HashMap::new();
        // Later concats first, so that a concat of concats finds its operands free.
        for id in graph.topological_order().into_iter().rev() {
            let Op::Concat(concat) = &graph.node(id).op else { continue };
            if concat.axis != 1 || graph.shape(id).rank() != 4 || constants.contains(id) {
                continue;
            }
            if !graph.node(id).epilogue.is_empty() {
                continue;
            }
            let operands = graph.operands(id);
            let mut channel = 0;
            for &operand in &operands {
                let once = operands.iter().filter(|&&other| other == operand).count() == 1;
                let written =
                    !matches!(graph.node(operand).op, Op::Input(_) | Op::Reshape(_) | Op::Identity(_));
                if once && written && !constants.contains(operand) && !homes.contains_key(&operand) {
                    homes.insert(operand, (id, channel));
                }
                channel += graph.shape(operand).dims()[1];
            }
        }
        Homes(homes)
    }

    /// The value that owns the buffer `id` is written to, and the first channel there.
    pub fn of_value(&self, id: NodeId) -> (NodeId, usize) {
        let mut at = (id, 0);
        while let Some(&(concat, channel)) = self.0.get(&at.0) {
            at = (concat, at.1 + channel);
        }
        at
    }
}
