//! Where an array's elements lie in a buffer.

use crate::codegen::vector::{Address, Affine};
use crate::tensor::Shape;

/// A strided array inside a buffer. Axes are in the graph's order (`[n, c, h, w]`), whatever the order in memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct View {
    pub dims: Vec<usize>,
    /// Elements between neighbours along each axis.
    pub strides: Vec<usize>,
    /// The first element, counted from the buffer's base.
    pub offset: usize,
}

impl View {
    /// Row-major, without gaps.
    pub fn row_major(shape: &Shape) -> Self {
        View { dims: shape.dims().to_vec(), strides: shape.strides(), offset: 0 }
    }

    /// `[n, c, h, w]` with channels innermost and a border of `[top, left, bottom, right]` pixels around each
    /// image.
    pub fn channels_last(dims: [usize; 4], border: [usize; 4]) -> Self {
        let [_, c, h, w] = dims;
        let [top, left, bottom, right] = border;
        let row = (left + w + right) * c;
        let image = (top + h + bottom) * row;
        View { dims: dims.to_vec(), strides: vec![image, 1, row, c], offset: top * row + left * c }
    }

    /// `[n, c, h, w]` in the graph's own order with a border around each plane.
    pub fn planar(dims: [usize; 4], border: [usize; 4]) -> Self {
        let [_, c, h, w] = dims;
        let [top, left, bottom, right] = border;
        let row = left + w + right;
        let plane = (top + h + bottom) * row;
        View { dims: dims.to_vec(), strides: vec![c * plane, plane, row, 1], offset: top * row + left }
    }

    /// One past the last element that the view reaches, counted from the buffer's base.
    pub fn end(&self) -> usize {
        let reach = self.dims.iter().zip(&self.strides).map(|(dim, stride)| dim.saturating_sub(1) * stride);
        self.offset + reach.sum::<usize>() + 1
    }

    /// The element at `coordinates`, one for each axis.
    pub fn at(&self, base: &Address, coordinates: &[Affine]) -> Address {
        assert_eq!(coordinates.len(), self.dims.len());
        coordinates
            .iter()
            .zip(&self.strides)
            .fold(base.plus(self.offset), |address, (coordinate, &stride)| address.at(coordinate, stride))
    }

    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether the elements fill the range from `offset` on without gaps, in the graph's order.
    pub fn is_row_major(&self) -> bool {
        let mut expected = 1;
        self.dims.iter().zip(&self.strides).rev().all(|(&dim, &stride)| {
            let fits = dim == 1 || stride == expected;
            expected *= dim;
            fits
        })
    }

    /// One element for each channel, the same everywhere else, of an array `[n, c, …]`.
    pub fn per_channel(dims: &[usize]) -> Self {
        let strides = (0..dims.len()).map(|axis| usize::from(axis == 1)).collect();
        View { dims: dims.to_vec(), strides, offset: 0 }
    }

    /// Whether vectors along `axis` are contiguous.
    pub fn is_contiguous_along(&self, axis: usize) -> bool {
        self.dims[axis] == 1 || self.strides[axis] == 1
    }

    /// What a kernel's name says of strides and offset: `nchw` (row-major; `dense` unless of rank 4) or `nhwc`
    /// without gaps, followed by the strides that differ, such as `h3712`, and `+offset`. Together with the
    /// dims, equal names mean equal places of all elements.
    pub fn layout(&self) -> String {
        let shape = Shape::new(self.dims.clone());
        let differing = |canonical: &[usize]| -> String {
            let axes = (0..self.dims.len()).filter(|&axis| self.dims[axis] > 1);
            let differing = axes.filter(|&axis| self.strides[axis] != canonical[axis]);
            differing.map(|axis| format!("{}{}", axis_name(&self.dims, axis), self.strides[axis])).collect()
        };
        let (order, strides) = match self.dims[..] {
            _ if self.is_row_major() => (if self.dims.len() == 4 { "nchw" } else { "dense" }, String::new()),
            [n, c, h, w] if self.is_contiguous_along(1) => {
                ("nhwc", differing(&View::channels_last([n, c, h, w], [0; 4]).strides))
            }
            [_, _, _, _] => ("nchw", differing(&shape.strides())),
            _ => ("dense", differing(&shape.strides())),
        };
        let offset = if self.offset == 0 { String::new() } else { format!("+{}", self.offset) };
        format!("{order}{strides}{offset}")
    }
}

/// What a kernel's name says of an array's extents, such as `n1c64h56w56`.
pub fn dims_name(dims: &[usize]) -> String {
    match dims {
        [] => "scalar".to_owned(),
        _ => (0..dims.len()).map(|axis| format!("{}{}", axis_name(dims, axis), dims[axis])).collect(),
    }
}

/// `n`, `c`, `h` or `w` for arrays of rank 4, otherwise `a`, `b`, …
fn axis_name(dims: &[usize], axis: usize) -> char {
    let names = if dims.len() == 4 { "nchw" } else { "abcdefghijklmnopqrstuvwxyz" };
    names.chars().nth(axis).unwrap_or('z')
}
