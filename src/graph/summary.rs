//! What a model holds and computes, layer by layer: the numbers that papers tabulate.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Graph, NodeId, NodeSet};
use crate::ops::{Op, Statistics};
use crate::tensor::Shape;

/// A model's layers and totals.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    /// The model's name.
    pub name: String,
    pub inputs: Vec<Endpoint>,
    pub outputs: Vec<Endpoint>,
    /// One row for each operator that depends on a model input, in topological order.
    pub layers: Vec<LayerRow>,
    /// Trained numbers: a batch norm's running statistics, which no optimiser trains, are not counted.
    /// An array that several layers share counts once, at the first of them.
    pub parameters: u64,
    /// Of convolutions and dense layers, for one evaluation at the graph's batch size.
    pub multiply_adds: u64,
}

/// An input or output of a model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Endpoint {
    pub name: String,
    pub shape: Shape,
}

/// One operator of a [`Summary`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LayerRow {
    pub name: String,
    /// The operator's name, such as `conv` or `max_pool`.
    pub op: &'static str,
    /// The shape of its result.
    pub shape: Shape,
    pub parameters: u64,
    pub multiply_adds: u64,
}

impl Summary {
    /// Summarises a graph.
    pub fn of(graph: &Graph) -> Summary {
        let endpoint = |name: &str, id| Endpoint { name: name.to_owned(), shape: graph.shape(id).clone() };
        let mut counter = ParameterCounter {
            graph,
            weights: graph.weight_expressions(),
            seen: NodeSet::default(),
            keys: BTreeSet::new(),
        };
        let mut layers = Vec::new();
        for id in graph.topological_order() {
            let node = graph.node(id);
            if node.op.operator().is_some() && !counter.weights.contains(id) {
                layers.push(LayerRow {
                    name: node.name.clone(),
                    op: node.op.word(),
                    shape: node.shape.clone(),
                    parameters: counter.read_by(id),
                    multiply_adds: graph.cost(id).multiply_adds,
                });
            }
        }
        Summary {
            name: graph.name.clone(),
            inputs: graph.inputs().iter().map(|&id| endpoint(&graph.node(id).name, id)).collect(),
            outputs: graph.outputs().iter().map(|o| endpoint(&o.name, o.node)).collect(),
            parameters: layers.iter().map(|row| row.parameters).sum(),
            multiply_adds: layers.iter().map(|row| row.multiply_adds).sum(),
            layers,
        }
    }
}

struct ParameterCounter<'a> {
    graph: &'a Graph,
    /// What depends on no model input.
    weights: NodeSet,
    /// The weight expressions counted already.
    seen: NodeSet,
    /// The keys of the parameters counted already.
    keys: BTreeSet<&'a str>,
}

impl ParameterCounter<'_> {
    /// The trained numbers that a layer is the first to read, directly or through weight expressions.
    fn read_by(&mut self, layer: NodeId) -> u64 {
        let mut parameters = 0;
        let mut pending = self.trained_operands(layer);
        while let Some(id) = pending.pop() {
            if !self.weights.contains(id) || self.seen.contains(id) {
                continue;
            }
            self.seen.insert(id);
            if let Op::Parameter(parameter) = &self.graph.node(id).op
                && self.keys.insert(&parameter.key)
            {
                parameters += parameter.shape.elements() as u64;
            }
            pending.extend(self.trained_operands(id));
        }
        parameters
    }

    /// A node's operands without the running statistics of a batch norm.
    fn trained_operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut operands = self.graph.operands(id);
        if let Op::BatchNorm(norm) = &self.graph.node(id).op
            && norm.statistics == Statistics::Running
        {
            operands.drain(3..5);
        }
        operands
    }
}
