//! Checking a graph's invariants: after each rewrite, and on any graph that comes from outside.
//!
//! 1. The graph has no cycle.
//! 2. Names of nodes are unique and not empty.
//! 3. A node's operands have positions 0, 1, 2, … without gap or repetition.
//! 4. A source (input, parameter, constant) has neither operands nor an epilogue.
//! 5. A node's shape is what its operator infers from its operands' shapes, and its epilogue accepts its operands.
//! 6. [`Graph::inputs`] lists every input node, each once, and nothing else.
//! 7. There is an output; names of outputs are unique; each is a node of the graph.
//! 8. Parameters with the same key have the same shape.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use petgraph::Direction;

use super::{Graph, NodeId};
use crate::ops::Op;
use crate::tensor::Shape;

/// Which invariant is broken, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{problem}", place(.node))]
pub struct VerifyError {
    /// The offending node with its name, where the problem is one node's.
    pub node: Option<(NodeId, String)>,
    pub problem: String,
}

fn place(node: &Option<(NodeId, String)>) -> String {
    node.as_ref().map_or(String::new(), |(id, name)| format!("node {} \"{name}\": ", id.index()))
}

/// Checks every invariant that this module lists.
///
/// # Errors
/// The first invariant found broken.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    acyclic(graph)?;
    names(graph)?;
    for id in graph.nodes.node_indices() {
        operands(graph, id)?;
    }
    inputs(graph)?;
    outputs(graph)?;
    parameters(graph)
}

fn at(graph: &Graph, id: NodeId, problem: impl Into<String>) -> VerifyError {
    VerifyError { node: Some((id, graph.nodes[id].name.clone())), problem: problem.into() }
}

fn anywhere(problem: impl Into<String>) -> VerifyError {
    VerifyError { node: None, problem: problem.into() }
}

fn acyclic(graph: &Graph) -> Result<(), VerifyError> {
    petgraph::algo::toposort(&graph.nodes, None)
        .map(|_| ())
        .map_err(|cycle| at(graph, cycle.node_id(), "its value depends on itself"))
}

fn names(graph: &Graph) -> Result<(), VerifyError> {
    let mut seen: HashMap<&str, NodeId> = HashMap::new();
    for id in graph.nodes.node_indices() {
        let name = graph.nodes[id].name.as_str();
        if name.is_empty() {
            return Err(at(graph, id, "the name is empty"));
        }
        if let Some(other) = seen.insert(name, id) {
            return Err(at(graph, id, format!("node {} has the same name", other.index())));
        }
    }
    Ok(())
}

fn operands(graph: &Graph, id: NodeId) -> Result<(), VerifyError> {
    let node = &graph.nodes[id];
    let edges = graph.nodes.edges_directed(id, Direction::Incoming);
    let positions: BTreeSet<usize> = edges.clone().map(|edge| *edge.weight()).collect();
    if !positions.iter().copied().eq(0..edges.clone().count()) {
        let mut found: Vec<usize> = edges.map(|edge| *edge.weight()).collect();
        found.sort_unstable();
        let problem = format!("its operands have positions {found:?}, not 0..{}", found.len());
        return Err(at(graph, id, problem));
    }
    if node.op.operator().is_none() && (!positions.is_empty() || !node.epilogue.is_empty()) {
        return Err(at(graph, id, format!("{} takes no operands and no epilogue", node.op.name())));
    }
    match graph.infer(&node.op, &node.epilogue, &graph.operands(id)) {
        Err(error) => Err(at(graph, id, error.problem)),
        Ok(shape) if shape != node.shape => {
            let problem = format!("it has shape {}, but {} yields {shape}", node.shape, node.op.name());
            Err(at(graph, id, problem))
        }
        Ok(_) => Ok(()),
    }
}

fn inputs(graph: &Graph) -> Result<(), VerifyError> {
    let mut listed = BTreeSet::new();
    for &id in graph.inputs() {
        match graph.nodes.node_weight(id) {
            None => {
                return Err(anywhere(format!("input {} is no node of the graph", id.index())));
            }
            Some(node) if !matches!(node.op, Op::Input(_)) => {
                return Err(at(
                    graph,
                    id,
                    format!("it is listed as an input but is of kind {}", node.op.name()),
                ));
            }
            Some(_) if !listed.insert(id) => return Err(at(graph, id, "it is listed as an input twice")),
            Some(_) => {}
        }
    }
    let is_missing = |id: &NodeId| matches!(graph.nodes[*id].op, Op::Input(_)) && !listed.contains(id);
    match graph.nodes.node_indices().find(is_missing) {
        Some(id) => Err(at(graph, id, "it is missing in the list of inputs")),
        None => Ok(()),
    }
}

fn outputs(graph: &Graph) -> Result<(), VerifyError> {
    if graph.outputs().is_empty() {
        return Err(anywhere("the graph has no output"));
    }
    let mut names = BTreeSet::new();
    for output in graph.outputs() {
        if !graph.contains(output.node) {
            let problem =
                format!("output '{}' is node {}, which does not exist", output.name, output.node.index());
            return Err(anywhere(problem));
        }
        if !names.insert(&output.name) {
            return Err(anywhere(format!("two outputs are called '{}'", output.name)));
        }
    }
    Ok(())
}

fn parameters(graph: &Graph) -> Result<(), VerifyError> {
    let mut shapes: BTreeMap<&str, &Shape> = BTreeMap::new();
    for id in graph.nodes.node_indices() {
        if let Op::Parameter(parameter) = &graph.nodes[id].op {
            let first = shapes.entry(&parameter.key).or_insert(&parameter.shape);
            if *first != &parameter.shape {
                let problem = format!(
                    "parameter '{}' has shape {} here and {first} elsewhere",
                    parameter.key, parameter.shape
                );
                return Err(at(graph, id, problem));
            }
        }
    }
    Ok(())
}
