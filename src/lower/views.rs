//! Operators that only move elements, as views of what they read and write.

use crate::kernels::View;
use crate::ops::{DepthToSpace, Slice};
use crate::tensor::Shape;

/// Axis `i` is the array's `permutation[i]`.
pub fn transposed(x: &View, permutation: &[usize]) -> View {
    View {
        dims: permutation.iter().map(|&axis| x.dims[axis]).collect(),
        strides: permutation.iter().map(|&axis| x.strides[axis]).collect(),
        offset: x.offset,
    }
}

/// The part that a slice reads, where it steps forwards; axes that are walked backwards are whole.
pub fn sliced(x: &View, slice: &Slice) -> View {
    let mut view = x.clone();
    for axis in 0..slice.steps.len() {
        if slice.steps[axis] > 0 {
            view.offset += slice.starts[axis] * view.strides[axis];
            view.strides[axis] *= slice.steps[axis] as usize;
            view.dims[axis] = slice.extents[axis];
        }
    }
    view
}

/// `x [n, c, h, w]` and `y`, both as `[n, c', h, row, w, column]`.
pub fn depth_to_space(x: &View, y: &View, op: DepthToSpace) -> [View; 2] {
    let [n, channels, _, _] = y.dims[..] else { unreachable!("rank 4") };
    let [_, _, h, w] = x.dims[..] else { unreachable!("rank 4") };
    let [image, channel_stride, row, column] = x.strides[..] else { unreachable!("rank 4") };
    let dims = vec![n, channels, h, op.block, w, op.block];
    let stride = |channel: usize, place: [usize; 2]| op.channel(channel, place, channels) * channel_stride;
    let strides = vec![image, stride(1, [0, 0]), row, stride(0, [1, 0]), column, stride(0, [0, 1])];
    let from = View { dims: dims.clone(), strides, offset: x.offset };
    [from, View { dims, strides: blocks(y, op.block), offset: y.offset }]
}

/// `x` and `y [n, c · block², h, w]`, both as `[n, c, h, row, w, column]`.
pub fn space_to_depth(x: &View, y: &View, block: usize) -> [View; 2] {
    let [n, channels, _, _] = x.dims[..] else { unreachable!("rank 4") };
    let [_, _, h, w] = y.dims[..] else { unreachable!("rank 4") };
    let [image, channel, row, column] = y.strides[..] else { unreachable!("rank 4") };
    let dims = vec![n, channels, h, block, w, block];
    let strides = vec![image, channel, row, block * channels * channel, column, channels * channel];
    let from = View { dims: dims.clone(), strides: blocks(x, block), offset: x.offset };
    [from, View { dims, strides, offset: y.offset }]
}

/// The strides of `[n, c, h, w]` as `[n, c, h / block, block, w / block, block]`.
fn blocks(view: &View, block: usize) -> Vec<usize> {
    let [image, channel, row, column] = view.strides[..] else { unreachable!("rank 4") };
    vec![image, channel, block * row, row, block * column, column]
}

/// A batch of matrices with the axes before them broadcast to those of `output`.
pub fn stretched(view: &View, output: &Shape) -> View {
    let rank = output.rank();
    let mut dims = output.dims().to_vec();
    dims[rank - 2..].copy_from_slice(&view.dims[view.dims.len() - 2..]);
    view.broadcast_to(&Shape::new(dims))
}
