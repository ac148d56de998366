//! What each operator becomes on a GPU.

use super::products::{self, Convolution};
use super::rearrange;
use super::{GpuLowerError, GpuPackSource, Lowering, Place, Value};
use crate::codegen::ptx::Element;
use crate::graph::NodeId;
use crate::kernels::View;
use crate::kernels::gpu::lrn::Lrn;
use crate::kernels::gpu::map::{Map, MapFunction};
use crate::kernels::gpu::pool::Pooling;
use crate::kernels::gpu::reduce::{BatchStatistics, GlobalPooling};
use crate::kernels::gpu::softmax::SoftmaxLines;
use crate::kernels::gpu::{Array, GpuEpilogue, GpuKernel, GpuStep};
use crate::lower::{PackSource, views};
use crate::ops::{BatchNorm, Epilogue, EpilogueStep, Op, Pad, PadMode, Statistics};

type Lowered = Result<(), GpuLowerError>;

/// Lowers one activation.
pub fn lower_node(l: &mut Lowering, id: NodeId) -> Lowered {
    let graph = l.graph;
    let (own, extra) = graph.split_operands(id);
    let node = graph.node(id);
    match &node.op {
        Op::Parameter(_) | Op::Constant(_) => {}
        Op::Input(_) => {
            let shape = graph.shape(id);
            let buffer = l.buffer(shape.elements(), Element::F32);
            let array = Array::f32(View::row_major(shape));
            l.values.insert(id, Value { array, place: Place::Arena { buffer, offset: 0 } });
        }
        Op::Conv(conv) => {
            let (x, y) = (l.value(own[0]), l.allocate(id));
            let bias = own.get(2).copied();
            let epilogue = &node.epilogue;
            let conv = Convolution { conv: *conv, weight: own[1], bias, epilogue, operands: &extra };
            products::convolution(l, id, &conv, x, y)?;
        }
        Op::ConvChain(chain) => products::chain(l, id, chain, &own)?,
        Op::Dense(_) => products::dense(l, id, &own, &extra)?,
        Op::Activation(activation) => map(l, id, MapFunction::Activation(*activation), &own, &extra),
        Op::Unary(unary) => map(l, id, MapFunction::Unary(unary.function), &own, &extra),
        Op::Binary(binary) => map(l, id, MapFunction::Binary(binary.function), &own, &extra),
        Op::ScaleShift(_) => {
            let rank = graph.shape(id).rank();
            let mut operands: Vec<Value> = own.iter().map(|&operand| l.value(operand)).collect();
            for operand in &mut operands[1..] {
                operand.array.view = operand.array.view.along_axis_1(rank);
            }
            map_values(l, id, MapFunction::ScaleShift, operands, &extra);
        }
        Op::BatchNorm(norm @ BatchNorm { statistics: Statistics::Running, .. }) => {
            let weights = graph.weight_expressions();
            if !own[1..].iter().all(|&operand| weights.contains(operand)) {
                return l.unsupported(id, "its statistics or parameters are computed when the model runs");
            }
            running_norm(l, id, norm, &own, &extra);
        }
        Op::Transpose(transpose) => {
            let mut x = l.value(own[0]);
            x.array.view = views::transposed(&x.array.view, &transpose.permutation);
            map_values(l, id, MapFunction::Copy, vec![x], &extra);
        }
        op @ (Op::Pool(_) | Op::GlobalPool(_) | Op::Lrn(_) | Op::Softmax(_) | Op::BatchNorm(_)) => {
            windowed(l, id, op, &own, &extra);
        }
        op @ (Op::Identity(_)
        | Op::Reshape(_)
        | Op::Concat(_)
        | Op::Pad(_)
        | Op::Slice(_)
        | Op::Resize(_)
        | Op::Expand(_)
        | Op::DepthToSpace(_)
        | Op::SpaceToDepth(_)
        | Op::Reduce(_)
        | Op::MatMul(_)) => {
            plain(l, id, op, &own)?;
            finish_plain(l, id, &extra);
        }
    }
    Ok(())
}

/// Operators whose kernels know no epilogue.
fn plain(l: &mut Lowering, id: NodeId, op: &Op, own: &[NodeId]) -> Lowered {
    match op {
        Op::Identity(_) => {
            let value = l.value(own[0]);
            l.values.insert(id, value);
        }
        Op::Reshape(_) => reshape(l, id, own[0]),
        Op::Concat(concat) => concatenation(l, id, concat.axis, own),
        Op::Pad(pad) if pad.mode == PadMode::Constant => padding(l, id, pad, own[0]),
        Op::Pad(pad) => {
            let x = l.value(own[0]);
            rearrange::sample(l, id, x, pad.samplings(l.graph.shape(own[0])))?;
        }
        Op::Slice(slice) => rearrange::slice(l, id, slice, own[0])?,
        Op::Resize(resize) => {
            let x = l.value(own[0]);
            rearrange::sample(l, id, x, resize.samplings(l.graph.shape(own[0])))?;
        }
        Op::Expand(_) => rearrange::expand(l, id, own[0]),
        Op::DepthToSpace(op) => rearrange::depth_to_space(l, id, *op, own[0]),
        Op::SpaceToDepth(op) => rearrange::space_to_depth(l, id, op.block, own[0]),
        Op::Reduce(reduce) => rearrange::reduce(l, id, reduce, own[0]),
        Op::MatMul(_) => rearrange::matmul(l, id, own[0], own[1]),
        other => unreachable!("'{}' is lowered elsewhere", other.name()),
    }
    Ok(())
}

/// A value as the caller fetches it: row-major `f32` in the arena.
pub fn result(l: &mut Lowering, id: NodeId) -> Value {
    let value = l.value(id);
    let in_arena = matches!(value.place, Place::Arena { .. });
    if in_arena && value.array.element == Element::F32 && value.array.view.is_row_major() {
        return value;
    }
    let copy = l.temporary(View::row_major(l.graph.shape(id)), Element::F32);
    copy_values(l, id, value, copy.clone());
    copy
}

impl Lowering<'_> {
    /// The epilogue of a node, with its operands' places.
    pub(super) fn epilogue(&mut self, epilogue: &Epilogue, operands: &[NodeId]) -> (GpuEpilogue, Vec<Value>) {
        let mut values = Vec::new();
        let mut operands = operands.iter();
        let steps = epilogue.0.iter().map(|step| {
            let these: Vec<Value> =
                operands.by_ref().take(step.operands()).map(|&operand| self.value(operand)).collect();
            let fused = match step {
                EpilogueStep::Activation(activation) => GpuStep::Activation(*activation),
                EpilogueStep::ScaleShift => GpuStep::ScaleShift,
                EpilogueStep::Add => GpuStep::Add(these[0].array.clone()),
                EpilogueStep::Mul => GpuStep::Mul(these[0].array.clone()),
            };
            values.extend(these);
            fused
        });
        let steps = steps.collect();
        (GpuEpilogue(steps), values)
    }
}

fn map(l: &mut Lowering, id: NodeId, function: MapFunction, own: &[NodeId], extra: &[NodeId]) {
    let operands = own.iter().map(|&operand| l.value(operand)).collect();
    map_values(l, id, function, operands, extra);
}

fn map_values(l: &mut Lowering, id: NodeId, function: MapFunction, operands: Vec<Value>, extra: &[NodeId]) {
    let (epilogue, extra) = l.epilogue(&l.graph.node(id).epilogue, extra);
    let y = l.allocate(id);
    launch_map(l, id, function, operands, epilogue, extra, y);
}

/// Adds a [`Map`] that writes `y`; operands are broadcast to it.
pub(super) fn launch_map(
    l: &mut Lowering,
    id: NodeId,
    function: MapFunction,
    operands: Vec<Value>,
    epilogue: GpuEpilogue,
    extra: Vec<Value>,
    y: Value,
) {
    let shape = crate::tensor::Shape::new(y.array.view.dims.clone());
    let input = |value: &Value| Array { view: value.array.view.broadcast_to(&shape), ..value.array };
    let inputs = operands.iter().map(input).collect();
    let kernel = Map { function, inputs, output: y.array.clone(), epilogue };
    let values: Vec<Value> = operands.into_iter().chain(extra).chain([y]).collect();
    l.step(id, GpuKernel::Map(kernel), &values, 0);
}

pub(super) fn copy_values(l: &mut Lowering, id: NodeId, from: Value, to: Value) {
    launch_map(l, id, MapFunction::Copy, vec![from], GpuEpilogue::default(), Vec::new(), to);
}

fn running_norm(l: &mut Lowering, id: NodeId, norm: &BatchNorm, own: &[NodeId], extra: &[NodeId]) {
    let [x, scale, shift, mean, variance] = own[..] else { unreachable!("inferred") };
    let epsilon = norm.epsilon.to_bits();
    let rank = l.graph.shape(id).rank();
    let view = View::row_major(l.graph.shape(scale)).along_axis_1(rank);
    let factor = PackSource::NormScale { scale, variance, epsilon };
    let offset = PackSource::NormShift { scale, shift, mean, variance, epsilon };
    let operands = vec![
        l.value(x),
        l.pack(GpuPackSource::Common(factor), Array::f32(view.clone())),
        l.pack(GpuPackSource::Common(offset), Array::f32(view)),
    ];
    map_values(l, id, MapFunction::ScaleShift, operands, extra);
}

/// The same elements under another shape: a copy only where they do not lie in row-major order.
fn reshape(l: &mut Lowering, id: NodeId, x: NodeId) {
    let mut source = l.value(x);
    if !source.array.view.is_row_major() {
        let copy = l.temporary(View::row_major(l.graph.shape(x)), source.array.element);
        copy_values(l, id, source, copy.clone());
        source = copy;
    }
    let offset = source.array.view.offset;
    source.array.view = View { offset, ..View::row_major(l.graph.shape(id)) };
    if l.homes.of_value(id).0 == id {
        l.values.insert(id, source);
    } else {
        let y = l.allocate(id);
        copy_values(l, id, source, y);
    }
}

fn concatenation(l: &mut Lowering, id: NodeId, axis: usize, operands: &[NodeId]) {
    let y = l.allocate(id);
    let mut start = 0;
    for &operand in operands {
        let x = l.value(operand);
        let extent = x.array.view.dims[axis];
        let mut part = y.clone();
        part.array.view.dims[axis] = extent;
        part.array.view.offset += start * part.array.view.strides[axis];
        if x.place != part.place || x.array != part.array {
            copy_values(l, id, x, part);
        }
        start += extent;
    }
}

/// Fills the output, then copies the input into its interior.
fn padding(l: &mut Lowering, id: NodeId, pad: &Pad, x: NodeId) {
    let (x, y) = (l.value(x), l.allocate(id));
    let fill = MapFunction::Fill(pad.value);
    launch_map(l, id, fill, Vec::new(), GpuEpilogue::default(), Vec::new(), y.clone());
    let mut interior = y;
    let view = &mut interior.array.view;
    view.offset +=
        pad.before.iter().zip(&view.strides).map(|(before, stride)| before * stride).sum::<usize>();
    view.dims.clone_from(&x.array.view.dims);
    copy_values(l, id, x, interior);
}

/// Applies the epilogue, if there is one, of a node whose kernels know none.
fn finish_plain(l: &mut Lowering, id: NodeId, extra: &[NodeId]) {
    let epilogue = &l.graph.node(id).epilogue;
    if epilogue.is_empty() {
        return;
    }
    let (epilogue, extra) = l.epilogue(epilogue, extra);
    let moved = l.value(id);
    let finished = l.temporary(l.layout(id), moved.array.element);
    launch_map(l, id, MapFunction::Copy, vec![moved.clone()], epilogue, extra, finished.clone());
    if l.homes.of_value(id).0 == id {
        l.values.insert(id, finished);
    } else {
        copy_values(l, id, finished, moved);
    }
}

/// Operators with kernels of their own that need no choice.
fn windowed(l: &mut Lowering, id: NodeId, op: &Op, own: &[NodeId], extra: &[NodeId]) {
    let mut values: Vec<Value> = own.iter().map(|&operand| l.value(operand)).collect();
    let (epilogue, extra) = l.epilogue(&l.graph.node(id).epilogue, extra);
    let y = l.allocate(id);
    let (x, y_array) = (values[0].array.clone(), y.array.clone());
    let kernel = match op {
        Op::Pool(pool) => GpuKernel::Pool(Pooling { pool: *pool, x, y: y_array, epilogue }),
        Op::GlobalPool(pool) => GpuKernel::GlobalPool(GlobalPooling { pool: *pool, x, y: y_array, epilogue }),
        Op::Lrn(lrn) => GpuKernel::Lrn(Lrn { lrn: *lrn, x, y: y_array, epilogue }),
        Op::Softmax(softmax) => {
            GpuKernel::Softmax(SoftmaxLines { softmax: *softmax, x, y: y_array, epilogue })
        }
        Op::BatchNorm(norm) => {
            GpuKernel::BatchNorm(BatchStatistics { epsilon: norm.epsilon, x, y: y_array, epilogue })
        }
        other => unreachable!("'{}' is lowered elsewhere", other.name()),
    };
    values.extend(extra);
    values.push(y);
    l.step(id, kernel, &values, 0);
}
