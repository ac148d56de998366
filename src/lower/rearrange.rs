//! Operators that move elements, or reduce and multiply over axes of any array: views of what is there, and a kernel.

use super::{Lowering, Value, Work};
use crate::graph::NodeId;
use crate::kernels::{KernelSpec, MatMulKernel, ReduceKernel, SamplingKernel, View};
use crate::ops::{DepthToSpace, Reduce, Sampling, Slice, Transpose};
use crate::tensor::Shape;

pub fn transpose(l: &mut Lowering, id: NodeId, transpose: &Transpose, x: NodeId) {
    let x = l.value(x);
    let view = View {
        dims: transpose.permutation.iter().map(|&axis| x.view.dims[axis]).collect(),
        strides: transpose.permutation.iter().map(|&axis| x.view.strides[axis]).collect(),
        offset: x.view.offset,
    };
    let y = l.allocate(id);
    l.copy(id, &Value { view, ..x }, &y);
}

pub fn expand(l: &mut Lowering, id: NodeId, x: NodeId) {
    let x = l.value(x);
    let view = x.view.broadcast_to(l.graph.shape(id));
    let y = l.allocate(id);
    l.copy(id, &Value { view, ..x }, &y);
}

/// Steps forwards are a view; axes that are walked backwards are sampled, from the part of the input that is read.
pub fn slice(l: &mut Lowering, id: NodeId, slice: &Slice, x: NodeId) {
    let mut x = l.value(x);
    for axis in 0..slice.steps.len() {
        if slice.steps[axis] > 0 {
            x.view.offset += slice.starts[axis] * x.view.strides[axis];
            x.view.strides[axis] *= slice.steps[axis] as usize;
            x.view.dims[axis] = slice.extents[axis];
        }
    }
    sample_value(l, id, x, slice.reversals());
}

/// One sampling after the other.
pub fn sample(l: &mut Lowering, id: NodeId, x: NodeId, samplings: Vec<Sampling>) {
    let x = l.value(x);
    sample_value(l, id, x, samplings);
}

fn sample_value(l: &mut Lowering, id: NodeId, mut x: Value, samplings: Vec<Sampling>) {
    let y = l.allocate(id);
    let last = samplings.len();
    if last == 0 {
        return l.copy(id, &x, &y);
    }
    for (at, sampling) in samplings.into_iter().enumerate() {
        let next = if at + 1 == last {
            y.clone()
        } else {
            let shape = sampling.shape(&Shape::new(x.view.dims.clone()));
            let view = match shape.nchw() {
                Some((n, c, h, w)) => View::channels_last([n, c, h, w], [0; 4]),
                None => View::row_major(&shape),
            };
            Value { view, binding: l.buffer(shape.elements(), None) }
        };
        let work = Work { activation_bytes: l.bytes(&[&x, &next]), ..Work::default() };
        let kernel = SamplingKernel { sampling, x: x.view.clone(), y: next.view.clone() };
        l.step(id, KernelSpec::Sampling(kernel), vec![x.binding, next.binding], work);
        x = next;
    }
}

/// `x [n, c, h, w]` read as `[n, c', h, row, w, column]`.
pub fn depth_to_space(l: &mut Lowering, id: NodeId, op: DepthToSpace, x: NodeId) {
    let x = l.value(x);
    let y = l.allocate(id);
    let [n, channels, _, _] = y.view.dims[..] else { unreachable!("rank 4") };
    let [_, _, h, w] = x.view.dims[..] else { unreachable!("rank 4") };
    let dims = vec![n, channels, h, op.block, w, op.block];
    let stride = |channel: usize, place: [usize; 2]| op.channel(channel, place, channels) * x.view.strides[1];
    let [image, _, row, column] = x.view.strides[..] else { unreachable!("rank 4") };
    let strides = vec![image, stride(1, [0, 0]), row, stride(0, [1, 0]), column, stride(0, [0, 1])];
    let from = View { dims: dims.clone(), strides, offset: x.view.offset };
    let to = View { dims, strides: blocks(&y.view, op.block), offset: y.view.offset };
    l.copy(id, &Value { view: from, ..x }, &Value { view: to, ..y });
}

/// `y [n, c · block², h, w]` written as `[n, c, h, row, w, column]`.
pub fn space_to_depth(l: &mut Lowering, id: NodeId, block: usize, x: NodeId) {
    let x = l.value(x);
    let y = l.allocate(id);
    let [n, channels, _, _] = x.view.dims[..] else { unreachable!("rank 4") };
    let [_, _, h, w] = y.view.dims[..] else { unreachable!("rank 4") };
    let [image, channel, row, column] = y.view.strides[..] else { unreachable!("rank 4") };
    let dims = vec![n, channels, h, block, w, block];
    let strides = vec![image, channel, row, block * channels * channel, column, channels * channel];
    let from = View { dims: dims.clone(), strides: blocks(&x.view, block), offset: x.view.offset };
    let to = View { dims, strides, offset: y.view.offset };
    l.copy(id, &Value { view: from, ..x }, &Value { view: to, ..y });
}

/// The strides of `[n, c, h, w]` as `[n, c, h / block, block, w / block, block]`.
fn blocks(view: &View, block: usize) -> Vec<usize> {
    let [image, channel, row, column] = view.strides[..] else { unreachable!("rank 4") };
    vec![image, channel, block * row, row, block * column, column]
}

pub fn reduce(l: &mut Lowering, id: NodeId, reduce: &Reduce, x: NodeId) {
    let x = l.value(x);
    let y = l.allocate(id);
    let mut view = y.view.clone();
    for &axis in &reduce.axes {
        if reduce.keep_axes {
            view.strides[axis] = 0;
        } else {
            view.dims.insert(axis, 1);
            view.strides.insert(axis, 0);
        }
    }
    let work = Work { activation_bytes: l.bytes(&[&x, &y]), ..Work::default() };
    let kernel = ReduceKernel { function: reduce.function, axes: reduce.axes.clone(), x: x.view, y: view };
    l.step(id, KernelSpec::Reduce(kernel), vec![x.binding, y.binding], work);
}

pub fn matmul(l: &mut Lowering, id: NodeId, a: NodeId, b: NodeId) {
    let shape = l.graph.shape(id).clone();
    // Rows of both operands, and of the result, lie as the kernel walks.
    let (a, b) = (l.row_major(a), l.row_major(b));
    let y = l.allocate(id);
    let own = if y.view.is_row_major() {
        y.clone()
    } else {
        Value { view: View::row_major(&shape), binding: l.buffer(shape.elements(), None) }
    };
    let kernel =
        MatMulKernel { a: stretched(&a.view, &shape), b: stretched(&b.view, &shape), y: own.view.clone() };
    let work = Work {
        multiply_adds: kernel.multiply_adds(),
        activation_bytes: l.bytes(&[&a, &b, &own]),
        ..Work::default()
    };
    l.step(id, KernelSpec::MatMul(kernel), vec![a.binding, b.binding, own.binding], work);
    if own.binding != y.binding {
        l.copy(id, &own, &y);
    }
}

/// A batch of matrices with the axes before them broadcast to those of `output`.
fn stretched(view: &View, output: &Shape) -> View {
    let rank = output.rank();
    let mut dims = output.dims().to_vec();
    dims[rank - 2..].copy_from_slice(&view.dims[view.dims.len() - 2..]);
    view.broadcast_to(&Shape::new(dims))
}
