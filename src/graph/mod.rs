//! The graph: typed operators over values of static shape, on petgraph.
//!
//! A node yields exactly one value; an edge `a → b` says that `b` reads `a` and carries the input's position.

mod draw;
mod json;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod verify;

pub use draw::{DrawOptions, to_dot, to_svg};
pub use summary::{Endpoint, LayerRow, Summary};
pub use text::ParseError;
pub use verify::{VerifyError, verify};

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::{EdgeRef, NodeIndexable};

use crate::ops::{Cost, Epilogue, Op, ShapeError};
use crate::tensor::Shape;

/// Names a node, and with it the one value that it yields.
pub type NodeId = NodeIndex;

/// A set of nodes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NodeSet(Vec<bool>);

impl NodeSet {
    pub fn contains(&self, id: NodeId) -> bool {
        self.0.get(id.index()).is_some_and(|&present| present)
    }

    pub fn insert(&mut self, id: NodeId) {
        self.set(id, true);
    }

    pub fn remove(&mut self, id: NodeId) {
        self.set(id, false);
    }

    fn set(&mut self, id: NodeId, present: bool) {
        if self.0.len() <= id.index() {
            self.0.resize(id.index() + 1, false);
        }
        self.0[id.index()] = present;
    }
}

/// An operation, what is fused behind it, and the value they yield.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Unique in the graph: the label in the source, such as `layer1.0.conv1`.
    pub name: String,
    pub op: Op,
    /// Applied to the operator's result before it is stored.
    pub epilogue: Epilogue,
    /// The value's shape, as [`Op::infer`] gave it.
    pub shape: Shape,
    /// The other layers of the source that passes merged into this node, in dataflow order.
    pub fused: Vec<String>,
}

impl Node {
    /// The layers of the source that this node stands for, in dataflow order: `conv1`, `bn1`, `relu`.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.fused.iter().chain([&self.name]).map(String::as_str)
    }
}

/// A named result of the model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    pub name: String,
    pub node: NodeId,
}

/// A model as a directed acyclic graph of operators.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    nodes: StableDiGraph<Node, usize>,
    inputs: Vec<NodeId>,
    outputs: Vec<Output>,
}

impl Graph {
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// Adds a node that reads `inputs` in that order.
    ///
    /// # Errors
    /// Where the inputs' shapes do not fit the operator.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Result<NodeId, ShapeError> {
        self.add_fused(name, op, Epilogue::default(), inputs)
    }

    /// [`Graph::add`] with an epilogue, whose operands are the last of `inputs`.
    pub fn add_fused(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        epilogue: Epilogue,
        inputs: &[NodeId],
    ) -> Result<NodeId, ShapeError> {
        let op = op.into();
        let shape = self.infer(&op, &epilogue, inputs)?;
        let is_input = matches!(op, Op::Input(_));
        let id = self.nodes.add_node(Node { name: name.into(), op, epilogue, shape, fused: Vec::new() });
        for (position, &input) in inputs.iter().enumerate() {
            self.nodes.add_edge(input, id, position);
        }
        if is_input {
            self.inputs.push(id);
        }
        Ok(id)
    }

    fn infer(&self, op: &Op, epilogue: &Epilogue, inputs: &[NodeId]) -> Result<Shape, ShapeError> {
        let shapes: Vec<&Shape> = inputs.iter().map(|&id| self.shape(id)).collect();
        let own = shapes
            .len()
            .checked_sub(epilogue.operands())
            .ok_or_else(|| ShapeError::new(format!("{} lacks operands of its epilogue", op.name())))?;
        let (own, operands) = shapes.split_at(own);
        let shape = op.infer(own)?;
        epilogue.check(&shape, operands)?;
        Ok(shape)
    }

    /// Declares `node` a result of the model.
    pub fn add_output(&mut self, name: impl Into<String>, node: NodeId) {
        self.outputs.push(Output { name: name.into(), node });
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.nodes[id].shape
    }

    pub fn contains(&self, id: NodeId) -> bool {
        self.nodes.contains_node(id)
    }

    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The model's inputs, in the order of their declaration.
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// The model's results, in the order of their declaration.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// What a node reads, by position: the operator's own inputs, then the epilogue's operands.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut edges: Vec<_> = self
            .nodes
            .edges_directed(id, Direction::Incoming)
            .map(|edge| (*edge.weight(), edge.source()))
            .collect();
        edges.sort_unstable();
        edges.into_iter().map(|(_, source)| source).collect()
    }

    /// A node's operands, split into the operator's own and the epilogue's.
    pub fn split_operands(&self, id: NodeId) -> (Vec<NodeId>, Vec<NodeId>) {
        let mut own = self.operands(id);
        let epilogue = own.split_off(own.len() - self.nodes[id].epilogue.operands());
        (own, epilogue)
    }

    /// The nodes that read a value, each once, in order of their ids. Model outputs do not count.
    pub fn consumers(&self, id: NodeId) -> Vec<NodeId> {
        let readers: BTreeSet<NodeId> = self.nodes.neighbors_directed(id, Direction::Outgoing).collect();
        readers.into_iter().collect()
    }

    /// How many times a value is read, model outputs included.
    pub fn uses(&self, id: NodeId) -> usize {
        let read = self.nodes.edges_directed(id, Direction::Outgoing).count();
        read + self.outputs.iter().filter(|output| output.node == id).count()
    }

    /// Whether anything reads a value, model outputs included.
    pub fn is_read(&self, id: NodeId) -> bool {
        self.nodes.edges_directed(id, Direction::Outgoing).next().is_some()
            || self.outputs.iter().any(|output| output.node == id)
    }

    /// Every reader of `old`, model outputs too, reads `new` instead.
    pub fn replace_uses(&mut self, old: NodeId, new: NodeId) {
        let edges: Vec<_> = self
            .nodes
            .edges_directed(old, Direction::Outgoing)
            .filter(|edge| edge.target() != new)
            .map(|edge| (edge.id(), edge.target(), *edge.weight()))
            .collect();
        for (edge, target, position) in edges {
            self.nodes.remove_edge(edge);
            self.nodes.add_edge(new, target, position);
        }
        for output in &mut self.outputs {
            if output.node == old {
                output.node = new;
            }
        }
    }

    /// A node computes something else of the same shape; its id, its name and its readers stay.
    ///
    /// The caller sees to it that none of `inputs` depends on the node.
    ///
    /// # Errors
    /// Where the inputs' shapes do not fit the operator, or the value's shape would change.
    ///
    /// # Panics
    /// If the node is a model input.
    pub fn rewrite(
        &mut self,
        id: NodeId,
        op: impl Into<Op>,
        epilogue: Epilogue,
        inputs: &[NodeId],
    ) -> Result<(), ShapeError> {
        assert!(!self.inputs.contains(&id), "'{}' is a model input", self.nodes[id].name);
        let op = op.into();
        let shape = self.infer(&op, &epilogue, inputs)?;
        let node = &mut self.nodes[id];
        if shape != node.shape {
            return Err(ShapeError::new(format!(
                "'{}' has shape {}, its replacement {shape}",
                node.name, node.shape
            )));
        }
        (node.op, node.epilogue) = (op, epilogue);
        while let Some(edge) = self.nodes.edges_directed(id, Direction::Incoming).map(|e| e.id()).next() {
            self.nodes.remove_edge(edge);
        }
        for (position, &input) in inputs.iter().enumerate() {
            self.nodes.add_edge(input, id, position);
        }
        Ok(())
    }

    /// Notes that a node now also stands for the layers of `from`, which come before its own.
    pub fn merge_layers(&mut self, from: NodeId, into: NodeId) {
        let mut layers: Vec<String> = self.nodes[from].layers().map(str::to_owned).collect();
        let fused = &mut self.nodes[into].fused;
        layers.append(fused);
        *fused = layers;
    }

    /// Removes a node that nobody reads. Model inputs stay.
    ///
    /// # Panics
    /// If the node is still read.
    pub fn remove(&mut self, id: NodeId) {
        assert!(!self.is_read(id), "'{}' is still read", self.nodes[id].name);
        assert!(!self.inputs.contains(&id), "'{}' is a model input", self.nodes[id].name);
        self.nodes.remove_node(id);
    }

    /// Gives a node another name.
    pub fn rename(&mut self, id: NodeId, name: impl Into<String>) {
        self.nodes[id].name = name.into();
    }

    /// The values that depend on no model input: parameters, constants, and what is computed from them alone.
    /// They are evaluated once, when weights are bound.
    pub fn weight_expressions(&self) -> NodeSet {
        let mut set = NodeSet::default();
        for id in self.topological_order() {
            let mut operands = self.nodes.neighbors_directed(id, Direction::Incoming);
            if !matches!(self.nodes[id].op, Op::Input(_)) && operands.all(|operand| set.contains(operand)) {
                set.insert(id);
            }
        }
        set
    }

    /// Arithmetic of one evaluation of a node, its epilogue included. Sources cost nothing.
    pub fn cost(&self, id: NodeId) -> Cost {
        let node = &self.nodes[id];
        let Some(operator) = node.op.operator() else { return Cost::default() };
        let (own, _) = self.split_operands(id);
        let shapes: Vec<&Shape> = own.iter().map(|&operand| self.shape(operand)).collect();
        let mut cost = operator.cost(&shapes, &node.shape);
        cost += node.epilogue.cost(&node.shape);
        cost
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.node_indices().find(|&id| self.nodes[id].name == name)
    }

    /// The order in which nodes are written down: inputs as declared, then [`Graph::topological_order`].
    pub fn listing(&self) -> Vec<NodeId> {
        let is_inner = |id: &NodeId| !matches!(self.nodes[*id].op, Op::Input(_));
        let inner = self.topological_order().into_iter().filter(is_inner);
        self.inputs.iter().copied().chain(inner).collect()
    }

    /// One more than the largest index of a node.
    pub fn slots(&self) -> usize {
        self.nodes.node_bound()
    }

    /// All nodes, operands before their readers; among independent nodes the older id comes first, so the
    /// order is the same on every run.
    ///
    /// # Panics
    /// If the graph has a cycle, which [`Graph::add`] cannot make.
    pub fn topological_order(&self) -> Vec<NodeId> {
        let mut missing: Vec<usize> = vec![0; self.slots()];
        let mut ready = BTreeSet::new();
        for id in self.nodes.node_indices() {
            missing[id.index()] = self.nodes.edges_directed(id, Direction::Incoming).count();
            if missing[id.index()] == 0 {
                ready.insert(id);
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(id) = ready.pop_first() {
            order.push(id);
            for reader in self.nodes.neighbors_directed(id, Direction::Outgoing) {
                missing[reader.index()] -= 1;
                if missing[reader.index()] == 0 {
                    ready.insert(reader);
                }
            }
        }
        assert_eq!(order.len(), self.len(), "the graph has a cycle");
        order
    }
}
