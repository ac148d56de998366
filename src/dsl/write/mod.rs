//! A graph as a model file: the inverse of elaboration, with repeated structure as blocks.

mod blocks;
mod calls;
mod emit;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::graph::{Graph, NodeId};
use crate::ops::Op;

/// A model file that describes a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    pub text: String,
    /// Which value of the graph, one that depends on weights alone, each key of the model's weights stands for.
    pub weights: BTreeMap<String, NodeId>,
}

/// Layers that the language has no words for, one a line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the layer language cannot express {} of its layers:{}", .0.len(), .0.iter().map(|line| format!("\n  {line}")).collect::<String>())]
pub struct WriteError(pub Vec<String>);

/// What a layer reads.
#[derive(Clone, PartialEq, Debug)]
enum Operand {
    /// Another layer's value, or an input's.
    Value(NodeId),
    /// A number, as it is written.
    Number(String),
    /// A trained array.
    Weight { node: NodeId, shape: String },
}

/// One layer as it will be written.
#[derive(Clone, Debug)]
struct Layer {
    node: NodeId,
    /// The operator's word; a symbol for arithmetic.
    word: String,
    operands: Vec<Operand>,
    /// The arguments behind the operands.
    arguments: Vec<String>,
    /// The arrays that belong to the layer, by the end of their keys.
    weights: Vec<(&'static str, NodeId)>,
    /// What its weights' keys begin with.
    label: String,
    /// Whether the word is that of a layer, which a chain can have, rather than a function's.
    chains: bool,
}

impl Layer {
    fn has_weights(&self) -> bool {
        !self.weights.is_empty()
            || self.operands.iter().any(|operand| matches!(operand, Operand::Weight { .. }))
    }
}

/// Writes a graph as a model file.
///
/// # Errors
/// Where the language has no words for a layer.
pub fn write(graph: &Graph) -> Result<Written, WriteError> {
    let constants = graph.weight_expressions();
    let mut layers = Vec::new();
    let mut unknown = Vec::new();
    let mut labels = HashSet::new();
    let order = graph.topological_order();
    for id in order {
        if constants.contains(id) && !graph.outputs().iter().any(|output| output.node == id) {
            continue;
        }
        if matches!(graph.node(id).op, Op::Input(_)) {
            continue;
        }
        match calls::layer(graph, &constants, id) {
            Ok(mut layer) => {
                layer.label = unique(&layer.label, &mut labels);
                layers.push(layer);
            }
            Err(problem) => unknown.push(format!("'{}': {problem}", graph.node(id).name)),
        }
    }
    if !unknown.is_empty() {
        return Err(WriteError(unknown));
    }
    let blocks = blocks::find(graph, &layers);
    Ok(emit::emit(graph, &layers, &blocks))
}

/// `base`, with a number behind it where it is taken.
fn unique(base: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (1..).map(|number| format!("{base}_{number}"));
    let free = std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken.contains(name));
    let name = free.expect("numbers do not end");
    taken.insert(name.clone());
    name
}

/// How often each value is read, outputs included.
fn uses(graph: &Graph, layers: &[Layer]) -> HashMap<NodeId, usize> {
    let mut uses = HashMap::new();
    for layer in layers {
        for operand in &layer.operands {
            if let Operand::Value(node) = operand {
                *uses.entry(*node).or_default() += 1;
            }
        }
    }
    for output in graph.outputs() {
        *uses.entry(output.node).or_default() += 1;
    }
    uses
}
