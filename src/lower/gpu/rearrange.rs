//! Operators that move elements, or reduce and multiply over axes of any array.

use super::operators::{copy_values, launch_map};
use super::{GpuLowerError, GpuPackSource, Lowering, Value};
use crate::codegen::ptx::Element;
use crate::graph::NodeId;
use crate::kernels::View;
use crate::kernels::gpu::contraction::Contraction;
use crate::kernels::gpu::map::MapFunction;
use crate::kernels::gpu::{Array, GpuEpilogue, GpuKernel};
use crate::lower::views;
use crate::ops::{BinaryFunction, DepthToSpace, Reduce, ReduceFunction, Sampling, Slice};
use crate::tensor::Shape;

type Lowered = Result<(), GpuLowerError>;

/// The most weights of a sampling, which are kept for all pairs of positions.
const MAX_SAMPLING_WEIGHTS: usize = 1 << 24;

fn viewed(value: &Value, view: View) -> Value {
    Value { array: Array { view, ..value.array }, ..*value }
}

/// Steps forwards are a view; axes that are walked backwards are sampled.
pub fn slice(l: &mut Lowering, id: NodeId, slice: &Slice, x: NodeId) -> Lowered {
    let x = l.value(x);
    let x = viewed(&x, views::sliced(&x.array.view, slice));
    sample(l, id, x, slice.reversals())
}

pub fn expand(l: &mut Lowering, id: NodeId, x: NodeId) {
    let (x, y) = (l.value(x), l.allocate(id));
    copy_values(l, id, x, y);
}

pub fn depth_to_space(l: &mut Lowering, id: NodeId, op: DepthToSpace, x: NodeId) {
    let (x, y) = (l.value(x), l.allocate(id));
    let [from, to] = views::depth_to_space(&x.array.view, &y.array.view, op);
    copy_values(l, id, viewed(&x, from), viewed(&y, to));
}

pub fn space_to_depth(l: &mut Lowering, id: NodeId, block: usize, x: NodeId) {
    let (x, y) = (l.value(x), l.allocate(id));
    let [from, to] = views::space_to_depth(&x.array.view, &y.array.view, block);
    copy_values(l, id, viewed(&x, from), viewed(&y, to));
}

/// One sampling after the other, each a product with the matrix of its weights.
pub fn sample(l: &mut Lowering, id: NodeId, mut x: Value, samplings: Vec<Sampling>) -> Lowered {
    let y = l.allocate(id);
    let Some(last) = samplings.len().checked_sub(1) else {
        copy_values(l, id, x, y);
        return Ok(());
    };
    for (number, sampling) in samplings.into_iter().enumerate() {
        let next = match number == last {
            true => y.clone(),
            false => {
                let shape = sampling.shape(&Shape::new(x.array.view.dims.clone()));
                l.temporary(View::row_major(&shape), Element::F32)
            }
        };
        sample_axis(l, id, &x, &next, &sampling)?;
        x = next;
    }
    Ok(())
}

fn sample_axis(l: &mut Lowering, id: NodeId, x: &Value, y: &Value, sampling: &Sampling) -> Lowered {
    let axis = sampling.axis;
    let (inputs, outputs) = (x.array.view.dims[axis], sampling.samples.len());
    if inputs * outputs > MAX_SAMPLING_WEIGHTS {
        let reason = format!("sampling {outputs} positions of {inputs} has no GPU kernel");
        return l.unsupported(id, reason);
    }
    let mut weights = vec![0f32; inputs * outputs];
    for (sample, row) in sampling.samples.iter().zip(weights.chunks_exact_mut(inputs)) {
        for &(position, weight) in &sample.taps {
            row[position] += weight as f32;
        }
    }
    let dims = &y.array.view.dims;
    let along = |strides: Vec<usize>, reduced: usize, offset: usize| View {
        dims: dims.iter().copied().chain([inputs]).collect(),
        strides: strides.into_iter().chain([reduced]).collect(),
        offset,
    };
    let only = |stride: usize| (0..dims.len()).map(|at| if at == axis { stride } else { 0 }).collect();
    let View { strides, offset, .. } = &x.array.view;
    let mut others = strides.clone();
    others[axis] = 0;
    let factors = vec![
        Array { view: along(others, strides[axis], *offset), ..x.array },
        Array::f32(along(only(inputs), 1, 0)),
    ];
    let matrix = Array::f32(View::row_major(&Shape::new(vec![outputs, inputs])));
    let matrix = l.pack(GpuPackSource::literal(&weights), matrix);
    let constants: Vec<f32> = sampling.samples.iter().map(|sample| sample.constant as f32).collect();
    let is_plain = constants.iter().all(|&constant| constant == 0.0);
    let sums = match is_plain {
        true => y.clone(),
        false => l.temporary(View::row_major(&Shape::new(dims.clone())), Element::F32),
    };
    let kernel = Contraction { function: ReduceFunction::Sum, factors, y: sums.array.clone() };
    launch(l, id, kernel, [x.clone(), matrix].into(), &sums);
    if !is_plain {
        let view = View { dims: dims.clone(), strides: only(1), offset: 0 };
        let constants = l.pack(GpuPackSource::literal(&constants), Array::f32(view));
        let add = MapFunction::Binary(BinaryFunction::Add);
        launch_map(l, id, add, vec![sums, constants], GpuEpilogue::default(), Vec::new(), y.clone());
    }
    Ok(())
}

pub fn reduce(l: &mut Lowering, id: NodeId, reduce: &Reduce, x: NodeId) {
    let (x, y) = (l.value(x), l.allocate(id));
    let View { dims, strides, offset } = &x.array.view;
    let stays = |axis: &usize| !reduce.axes.contains(axis);
    let own = (0..dims.len()).filter(|axis| reduce.keep_axes || stays(axis));
    let own = own.map(|axis| if stays(&axis) { strides[axis] } else { 0 });
    let view = View {
        dims: y.array.view.dims.iter().copied().chain(reduce.axes.iter().map(|&axis| dims[axis])).collect(),
        strides: own.chain(reduce.axes.iter().map(|&axis| strides[axis])).collect(),
        offset: *offset,
    };
    let factors = vec![Array { view, ..x.array }];
    let kernel = Contraction { function: reduce.function, factors, y: y.array.clone() };
    launch(l, id, kernel, vec![x], &y);
}

pub fn matmul(l: &mut Lowering, id: NodeId, a: NodeId, b: NodeId) {
    let shape = l.graph.shape(id).clone();
    let (a, b, y) = (l.value(a), l.value(b), l.allocate(id));
    let rank = shape.rank();
    let factor = |value: &Value, is_left: bool| {
        let view = views::stretched(&value.array.view, &shape);
        let [row, column] = [view.strides[rank - 2], view.strides[rank - 1]];
        let inner = if is_left { view.dims[rank - 1] } else { view.dims[rank - 2] };
        let ends = if is_left { [row, 0, column] } else { [0, column, row] };
        let view = View {
            dims: shape.dims().iter().copied().chain([inner]).collect(),
            strides: view.strides[..rank - 2].iter().copied().chain(ends).collect(),
            offset: view.offset,
        };
        Array { view, ..value.array }
    };
    let factors = vec![factor(&a, true), factor(&b, false)];
    let kernel = Contraction { function: ReduceFunction::Sum, factors, y: y.array.clone() };
    launch(l, id, kernel, vec![a, b], &y);
}

fn launch(l: &mut Lowering, id: NodeId, kernel: Contraction, mut values: Vec<Value>, y: &Value) {
    let multiply_adds = kernel.multiply_adds();
    values.push(y.clone());
    l.step(id, GpuKernel::Contraction(kernel), &values, multiply_adds);
}
