//! A graph as JSON: nodes in topological order that name their operands by position in that list.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Graph, NodeId};
use crate::ops::{Epilogue, Op};
use crate::tensor::Shape;

/// The layout's version. A reader refuses any other.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    kiln_graph: u32,
    name: String,
    /// Model inputs first, in order; then operands before their readers.
    nodes: Vec<NodeDocument>,
    outputs: Vec<OutputDocument>,
}

#[derive(Serialize, Deserialize)]
struct NodeDocument {
    name: String,
    operation: Op,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    operands: Vec<usize>,
    #[serde(default, skip_serializing_if = "Epilogue::is_empty")]
    epilogue: Epilogue,
    shape: Shape,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fused: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct OutputDocument {
    name: String,
    node: usize,
}

impl Serialize for Graph {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let order = self.listing();
        let mut positions = vec![0; self.slots()];
        for (position, id) in order.iter().enumerate() {
            positions[id.index()] = position;
        }
        let node = |&id: &NodeId| {
            let node = self.node(id).clone();
            NodeDocument {
                name: node.name,
                operation: node.op,
                operands: self.operands(id).iter().map(|operand| positions[operand.index()]).collect(),
                epilogue: node.epilogue,
                shape: node.shape,
                fused: node.fused,
            }
        };
        let outputs = self
            .outputs()
            .iter()
            .map(|output| OutputDocument { name: output.name.clone(), node: positions[output.node.index()] });
        Document {
            kiln_graph: VERSION,
            name: self.name.clone(),
            nodes: order.iter().map(node).collect(),
            outputs: outputs.collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Graph {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Document::deserialize(deserializer)?.into_graph().map_err(de::Error::custom)
    }
}

impl Document {
    fn into_graph(self) -> Result<Graph, String> {
        if self.kiln_graph != VERSION {
            return Err(format!("kiln_graph is version {}, this kiln reads {VERSION}", self.kiln_graph));
        }
        let mut graph = Graph::new(self.name);
        let mut ids = Vec::with_capacity(self.nodes.len());
        for NodeDocument { name, operation, operands, epilogue, shape, fused } in self.nodes {
            let fail = |problem: String| format!("node '{name}': {problem}");
            let find = |position: &usize| {
                let id: Option<&NodeId> = ids.get(*position);
                id.copied().ok_or_else(|| fail(format!("operand {position} does not come before it")))
            };
            let operands = operands.iter().map(find).collect::<Result<Vec<_>, _>>()?;
            let id = graph
                .add_fused(name.as_str(), operation, epilogue, &operands)
                .map_err(|error| fail(error.problem))?;
            if *graph.shape(id) != shape {
                return Err(fail(format!("its shape is {}, not {shape}", graph.shape(id))));
            }
            graph.nodes[id].fused = fused;
            ids.push(id);
        }
        for OutputDocument { name, node } in self.outputs {
            let id = ids.get(node).ok_or_else(|| format!("output '{name}': there is no node {node}"))?;
            graph.add_output(name, *id);
        }
        Ok(graph)
    }
}
