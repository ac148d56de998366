//! One small rewrite as data: what a pass proposes and the driver applies.

use crate::graph::NodeId;
use crate::ops::{Binary, BinaryFunction, Constant, Epilogue, Op, Reshape, Unary, UnaryFunction};
use crate::tensor::{Shape, Tensor};

/// A value that a patch refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// Of a node in the graph.
    Old(NodeId),
    /// Of the patch's own weight expression at this place.
    New(usize),
}

impl From<NodeId> for Value {
    fn from(id: NodeId) -> Value {
        Value::Old(id)
    }
}

/// A weight expression to be added.
pub struct NewNode {
    /// Made unique when it is applied.
    pub name: String,
    pub op: Op,
    pub inputs: Vec<Value>,
}

/// What becomes of the node that a patch is for.
pub enum Change {
    /// It computes the same value in another way.
    Rewrite { op: Op, epilogue: Epilogue, inputs: Vec<Value> },
    /// Its readers read this value of the same shape instead.
    Bypass { by: NodeId },
    /// It goes; nobody reads it.
    Remove,
}

/// A rewrite of one node. Whatever nobody reads afterwards is removed with it.
pub struct Patch {
    /// What the explanation names, in dataflow order; the last is the node that changes.
    pub nodes: Vec<NodeId>,
    pub added: Vec<NewNode>,
    pub change: Change,
}

impl Patch {
    /// Whoever reads the last of `nodes` reads `by` instead.
    pub fn bypass(nodes: &[NodeId], by: NodeId) -> Patch {
        Patch { nodes: nodes.to_vec(), added: Vec::new(), change: Change::Bypass { by } }
    }

    /// `node`, which nobody reads, goes.
    pub fn remove(node: NodeId) -> Patch {
        Patch { nodes: vec![node], added: Vec::new(), change: Change::Remove }
    }

    /// Rewrites the last of `nodes`, which then stands for those of the others that nobody reads any more.
    pub fn rewrite(
        nodes: &[NodeId],
        op: impl Into<Op>,
        epilogue: Epilogue,
        inputs: impl IntoIterator<Item = impl Into<Value>>,
    ) -> Patch {
        Patch {
            nodes: nodes.to_vec(),
            added: Vec::new(),
            change: Change::Rewrite {
                op: op.into(),
                epilogue,
                inputs: inputs.into_iter().map(Into::into).collect(),
            },
        }
    }

    /// Brings the weight expressions that the rewritten node reads.
    pub fn with(mut self, expressions: Expressions) -> Patch {
        self.added = expressions.0;
        self
    }
}

/// Weight expressions under construction.
#[derive(Default)]
pub struct Expressions(Vec<NewNode>);

impl Expressions {
    fn add(&mut self, name: String, op: impl Into<Op>, inputs: Vec<Value>) -> Value {
        self.0.push(NewNode { name, op: op.into(), inputs });
        Value::New(self.0.len() - 1)
    }

    pub fn scalar(&mut self, name: String, value: f32) -> Value {
        self.add(name, Op::Constant(Constant { value: Tensor::scalar(value) }), Vec::new())
    }

    pub fn unary(&mut self, name: String, function: UnaryFunction, x: impl Into<Value>) -> Value {
        self.add(name, Unary { function }, vec![x.into()])
    }

    pub fn binary(
        &mut self,
        name: String,
        function: BinaryFunction,
        a: impl Into<Value>,
        b: impl Into<Value>,
    ) -> Value {
        self.add(name, Binary { function }, vec![a.into(), b.into()])
    }

    pub fn reshape(&mut self, name: String, x: impl Into<Value>, shape: impl Into<Shape>) -> Value {
        self.add(name, Reshape { shape: shape.into() }, vec![x.into()])
    }
}
