//! Operators that move elements, or reduce and multiply over axes of any array: views of what is there, and a kernel.

use super::{Lowering, Value, Work, views};
use crate::graph::NodeId;
use crate::kernels::{KernelSpec, MatMulKernel, ReduceKernel, SamplingKernel, View};
use crate::ops::{DepthToSpace, Reduce, Sampling, Slice, Transpose};
use crate::tensor::Shape;

pub fn transpose(l: &mut Lowering, id: NodeId, transpose: &Transpose, x: NodeId) {
    let x = l.value(x);
    let view = views::transposed(&x.view, &transpose.permutation);
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
    let x = l.value(x);
    let x = Value { view: views::sliced(&x.view, slice), ..x };
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

pub fn depth_to_space(l: &mut Lowering, id: NodeId, op: DepthToSpace, x: NodeId) {
    let (x, y) = (l.value(x), l.allocate(id));
    let [from, to] = views::depth_to_space(&x.view, &y.view, op);
    l.copy(id, &Value { view: from, ..x }, &Value { view: to, ..y });
}

pub fn space_to_depth(l: &mut Lowering, id: NodeId, block: usize, x: NodeId) {
    let (x, y) = (l.value(x), l.allocate(id));
    let [from, to] = views::space_to_depth(&x.view, &y.view, block);
    l.copy(id, &Value { view: from, ..x }, &Value { view: to, ..y });
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
    let kernel = MatMulKernel {
        a: views::stretched(&a.view, &shape),
        b: views::stretched(&b.view, &shape),
        y: own.view.clone(),
    };
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
