//! What each operator becomes: the choice of kernel, and the views and weights it is given.

use super::convolutions;
use super::rearrange;
use super::{Binding, LowerError, Lowering, PackSource, Value, Work};
use crate::graph::NodeId;
use crate::kernels::elementwise::{ElementFunction, Elementwise};
use crate::kernels::{FusedEpilogue, FusedStep, KernelSpec, View};
use crate::ops::{Epilogue, EpilogueStep, Op};

/// Bytes per element.
pub(super) const ELEMENT: u64 = 4;

/// Lowers one activation.
pub fn lower_node(l: &mut Lowering, id: NodeId) -> Result<(), LowerError> {
    let graph = l.graph;
    let (own, extra) = graph.split_operands(id);
    let node = graph.node(id);
    match &node.op {
        Op::Input(_) => input(l, id),
        Op::Parameter(_) | Op::Constant(_) => {}
        Op::Conv(conv) => convolutions::convolution(l, id, *conv, &own, &extra),
        Op::ConvChain(chain) => convolutions::conv_chain(l, id, chain, &own),
        Op::Dense(_) => convolutions::dense(l, id, &own, &extra),
        Op::Activation(activation) => {
            elementwise(l, id, ElementFunction::Activation(*activation), &own, &extra)
        }
        Op::Unary(unary) => elementwise(l, id, ElementFunction::Unary(unary.function), &own, &extra),
        Op::Binary(binary) => elementwise(l, id, ElementFunction::Binary(binary.function), &own, &extra),
        Op::ScaleShift(_) => scale_shift(l, id, &own, &extra),
        Op::Identity(_) => {
            let x = l.value(own[0]);
            take_over(l, id, x);
        }
        Op::Concat(concat) => concatenation(l, id, concat.axis, &own),
        Op::Reshape(_) => reshape(l, id, own[0]),
        Op::Transpose(transpose) => rearrange::transpose(l, id, transpose, own[0]),
        Op::Slice(slice) => rearrange::slice(l, id, slice, own[0]),
        Op::Expand(_) => rearrange::expand(l, id, own[0]),
        Op::DepthToSpace(op) => rearrange::depth_to_space(l, id, *op, own[0]),
        Op::SpaceToDepth(op) => rearrange::space_to_depth(l, id, op.block, own[0]),
        Op::Resize(resize) => {
            let samplings = resize.samplings(graph.shape(own[0]));
            rearrange::sample(l, id, own[0], samplings);
        }
        Op::Reduce(reduce) => rearrange::reduce(l, id, reduce, own[0]),
        Op::MatMul(_) => rearrange::matmul(l, id, own[0], own[1]),
        other => super::windows::lower_window(l, id, other, &own, &extra),
    }
    Ok(())
}

/// Copies a result to where the caller wants it.
pub fn lower_output(l: &mut Lowering, position: usize, id: NodeId) -> Result<(), LowerError> {
    let x = l.value(id);
    let y = Value { view: View::row_major(l.graph.shape(id)), binding: Binding::Output(position) };
    l.copy(id, &x, &y);
    Ok(())
}

fn input(l: &mut Lowering, id: NodeId) {
    let position = l.graph.inputs().iter().position(|&input| input == id).expect("an input of the graph");
    let given = Value { view: View::row_major(l.graph.shape(id)), binding: Binding::Input(position) };
    take_over(l, id, given);
}

/// Makes an existing array the value of a node: in place where it lies as the node's readers want it, and copied
/// otherwise.
fn take_over(l: &mut Lowering, id: NodeId, existing: Value) {
    let in_place = same_memory(&l.layout.view(l.graph, id), &existing.view)
        && l.layout.home(id).0 == id
        && l.layout.border(id) == [0; 4];
    if in_place {
        l.values.insert(id, existing);
    } else {
        let y = l.allocate(id);
        l.copy(id, &existing, &y);
    }
}

/// Whether two views of equal dims name the same elements of a buffer.
fn same_memory(a: &View, b: &View) -> bool {
    let strides = |view: &View| -> Vec<usize> {
        view.dims.iter().zip(&view.strides).filter(|(dim, _)| **dim > 1).map(|(_, &stride)| stride).collect()
    };
    a.offset == b.offset && a.dims == b.dims && strides(a) == strides(b)
}

impl Lowering<'_> {
    /// Where a value lies; weight expressions are brought into the weights' memory.
    pub(super) fn value(&mut self, id: NodeId) -> Value {
        if self.layout.is_constant(id) {
            let binding = self.pack(PackSource::Plain { node: id });
            return Value { view: View::row_major(self.graph.shape(id)), binding };
        }
        self.values[&id].clone()
    }

    /// Gives a value its place.
    pub(super) fn allocate(&mut self, id: NodeId) -> Value {
        let (owner, _) = self.layout.home(id);
        let binding = match self.owned.get(&owner) {
            Some(&binding) => binding,
            None => {
                let border = self.layout.border(owner);
                let view = (border != [0; 4]).then(|| self.layout.view(self.graph, owner));
                let elements = self.layout.buffer_elements(self.graph, owner);
                let binding = self.buffer(elements, view);
                self.owned.insert(owner, binding);
                binding
            }
        };
        let value = Value { view: self.layout.view(self.graph, id), binding };
        self.values.insert(id, value.clone());
        value
    }

    /// A value as a row-major array without gaps.
    pub(super) fn row_major(&mut self, id: NodeId) -> Value {
        let x = self.value(id);
        if x.view.is_row_major() {
            return x;
        }
        let y = Value {
            view: View::row_major(self.graph.shape(id)),
            binding: self.buffer(self.graph.shape(id).elements(), None),
        };
        self.copy(id, &x, &y);
        y
    }

    /// Copies between views of equal dims.
    pub(super) fn copy(&mut self, layer: NodeId, from: &Value, to: &Value) {
        let kernel = Elementwise {
            function: ElementFunction::Copy,
            inputs: vec![from.view.clone()],
            output: to.view.clone(),
            epilogue: FusedEpilogue::default(),
        };
        let work = Work { activation_bytes: self.bytes(&[from, to]), ..Work::default() };
        self.step(layer, KernelSpec::Elementwise(kernel), vec![from.binding, to.binding], work);
    }

    /// A bias of `channels` elements, zeros where there is none.
    pub(super) fn pack_bias(&mut self, bias: Option<NodeId>, channels: usize) -> Binding {
        self.pack(match bias {
            Some(node) => PackSource::Plain { node },
            None => PackSource::Zeros { elements: channels },
        })
    }

    /// Bytes of those values that are activations.
    pub(super) fn bytes(&self, values: &[&Value]) -> u64 {
        let activations = values.iter().filter(|value| !matches!(value.binding, Binding::Weights(_)));
        activations.map(|value| value.view.elements() as u64 * ELEMENT).sum()
    }

    /// The epilogue of a node, with its operands' places, in views of the node's own dims.
    pub(super) fn epilogue(
        &mut self,
        epilogue: &Epilogue,
        operands: &[NodeId],
    ) -> (FusedEpilogue, Vec<Value>) {
        let mut steps = Vec::new();
        let mut values = Vec::new();
        let mut operands = operands.iter();
        for step in &epilogue.0 {
            let these: Vec<Value> =
                operands.by_ref().take(step.operands()).map(|&operand| self.value(operand)).collect();
            steps.push(match step {
                EpilogueStep::Activation(activation) => FusedStep::Activation(*activation),
                EpilogueStep::ScaleShift => FusedStep::ScaleShift { channels: these[0].view.elements() },
                EpilogueStep::Add => FusedStep::Add(these[0].view.clone()),
                EpilogueStep::Mul => FusedStep::Mul(these[0].view.clone()),
            });
            values.extend(these);
        }
        (FusedEpilogue(steps), values)
    }
}

pub(super) fn bindings(values: &[Value]) -> impl Iterator<Item = Binding> + '_ {
    values.iter().map(|value| value.binding)
}

fn reshape(l: &mut Lowering, id: NodeId, x: NodeId) {
    let shape = l.graph.shape(id);
    let source = l.row_major(x);
    let reshaped = Value {
        view: View { offset: source.view.offset, ..View::row_major(shape) },
        binding: source.binding,
    };
    take_over(l, id, reshaped);
}

fn concatenation(l: &mut Lowering, id: NodeId, axis: usize, operands: &[NodeId]) {
    let y = l.allocate(id);
    let mut start = 0;
    for &operand in operands {
        let x = l.value(operand);
        let extent = x.view.dims[axis];
        let mut part = y.clone();
        part.view.dims[axis] = extent;
        part.view.offset += start * part.view.strides[axis];
        if x.binding != part.binding || x.view != part.view {
            l.copy(id, &x, &part);
        }
        start += extent;
    }
}

fn elementwise(l: &mut Lowering, id: NodeId, function: ElementFunction, own: &[NodeId], extra: &[NodeId]) {
    let operands: Vec<Value> = own.iter().map(|&operand| l.value(operand)).collect();
    element_kernel(l, id, function, operands, extra);
}

fn scale_shift(l: &mut Lowering, id: NodeId, own: &[NodeId], extra: &[NodeId]) {
    let rank = l.graph.shape(id).rank();
    let mut operands: Vec<Value> = own.iter().map(|&operand| l.value(operand)).collect();
    for operand in &mut operands[1..] {
        operand.view = operand.view.along_axis_1(rank);
    }
    element_kernel(l, id, ElementFunction::ScaleShift, operands, extra);
}

pub(super) fn element_kernel(
    l: &mut Lowering,
    id: NodeId,
    function: ElementFunction,
    operands: Vec<Value>,
    extra: &[NodeId],
) {
    let shape = l.graph.shape(id).clone();
    let (epilogue, extra) = l.epilogue(&l.graph.node(id).epilogue, extra);
    let y = l.allocate(id);
    let kernel = Elementwise {
        function,
        inputs: operands.iter().map(|operand| operand.view.broadcast_to(&shape)).collect(),
        output: y.view.clone(),
        epilogue,
    };
    let values: Vec<Value> = operands.into_iter().chain(extra).chain([y]).collect();
    let work = Work { activation_bytes: l.bytes(&values.iter().collect::<Vec<_>>()), ..Work::default() };
    l.step(id, KernelSpec::Elementwise(kernel), bindings(&values).collect(), work);
}
