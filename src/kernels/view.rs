//! Where an array's elements lie in a buffer.

use std::ops::Range;

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

    /// A channels-last view with pixels moved apart where their distance is a multiple of half a page: a tile reads
    /// one channel of many pixels at once, and first-level caches hold only a few lines at such distances.
    pub fn spread(mut self) -> Self {
        let [image, _, row, pixel] = self.strides[..] else { return self };
        if pixel % CACHE_PERIOD == 0 {
            let wider = |stride: usize| stride / pixel * (pixel + CACHE_LINE);
            self.strides = vec![wider(image), 1, wider(row), wider(pixel)];
            self.offset = wider(self.offset);
        }
        self
    }

    /// `[n, c, h, w]` in the graph's own order with a border around each plane.
    pub fn planar(dims: [usize; 4], border: [usize; 4]) -> Self {
        let [_, c, h, w] = dims;
        let [top, left, bottom, right] = border;
        let row = left + w + right;
        let plane = (top + h + bottom) * row;
        View { dims: dims.to_vec(), strides: vec![c * plane, plane, row, 1], offset: top * row + left }
    }

    /// The elements of a buffer of `elements` that lie before, between and after the rows of images, in stretches. Gaps
    /// between the pixels of a row are not among them.
    pub fn border(&self, elements: usize) -> impl Iterator<Item = Range<usize>> {
        let ([images, channels, height, width], [image, channel, row, pixel]) =
            (self.dims[..].try_into().expect("rank 4"), self.strides[..].try_into().expect("rank 4"));
        let planes: usize = if channel == 1 { 1 } else { channels };
        let starts = (0..images).flat_map(move |n| {
            (0..planes).flat_map(move |c| (0..height).map(move |h: usize| n * image + c * channel + h * row))
        });
        let offset = self.offset;
        let rows = starts.map(move |start| (offset + start, offset + start + width * pixel));
        let mut end = 0;
        rows.chain([(elements, elements)]).filter_map(move |(start, next)| {
            let gap = end..start.min(elements);
            end = next;
            (!gap.is_empty()).then_some(gap)
        })
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

    /// The view broadcast to `shape`: axes that it lacks or that have one element get stride 0.
    ///
    /// # Panics
    /// If the view does not broadcast to `shape`.
    pub fn broadcast_to(&self, shape: &Shape) -> View {
        let missing = shape.rank() - self.dims.len();
        let stride = |axis: usize| {
            let own = axis.checked_sub(missing)?;
            (self.dims[own] == shape.dims()[axis]).then_some(self.strides[own])
        };
        let strides = (0..shape.rank()).map(|axis| stride(axis).unwrap_or(0)).collect();
        View { dims: shape.dims().to_vec(), strides, offset: self.offset }
    }

    /// `[c]` as `[1, c, 1, …]` of `rank` axes.
    ///
    /// # Panics
    /// If the view has not one axis.
    pub fn along_axis_1(&self, rank: usize) -> View {
        assert_eq!(self.dims.len(), 1);
        let mut view = View { dims: vec![1; rank], strides: vec![0; rank], offset: self.offset };
        view.dims[1] = self.dims[0];
        view.strides[1] = self.strides[0];
        view
    }

    /// `[n, c, h, w]` as `[1, c, 1, n · h · w]`, where the pixels of all images lie at even distances.
    pub fn joined_pixels(&self) -> Option<View> {
        let [n, c, h, w] = self.dims[..] else { return None };
        let [image, channel, row, pixel] = self.strides[..] else { return None };
        // The distance between pixels, read off the innermost axis that has two.
        let pixel = if w > 1 {
            pixel
        } else if h > 1 {
            row
        } else {
            image
        };
        let even = (h == 1 || w == 1 || row == w * pixel) && (n == 1 || h * w == 1 || image == h * w * pixel);
        let dims = vec![1, c, 1, n * h * w];
        even.then(|| View { dims, strides: vec![0, channel, 0, pixel], offset: self.offset })
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

    /// Whether vectors along `axis` are contiguous.
    pub fn is_contiguous_along(&self, axis: usize) -> bool {
        self.dims[axis] == 1 || self.strides[axis] == 1
    }

    /// What a kernel's name says of strides and offset: `nhwc` for channels-last and `nchw` for row-major without
    /// gaps (`dense` unless of rank 4), followed by the strides that differ, such as `h3712`, and `+offset`.
    /// Together with the dims, equal names mean equal places of all elements.
    pub fn layout(&self) -> String {
        let differing = |canonical: &[usize]| -> String {
            // Windows reach beyond rows and columns, into the border, also where there is one of them.
            let is_reached = |axis: usize| self.dims.len() == 4 && axis >= 2 && self.strides[axis] > 0;
            let counts = |axis: &usize| self.dims[*axis] > 1 || is_reached(*axis);
            let axes = (0..self.dims.len()).filter(counts);
            let differing = axes.filter(|&axis| self.strides[axis] != canonical[axis]);
            differing.map(|axis| format!("{}{}", axis_name(&self.dims, axis), self.strides[axis])).collect()
        };
        let planar = differing(&Shape::new(self.dims.clone()).strides());
        let (order, strides) = match self.dims[..] {
            [n, c, h, w] => {
                let nhwc = differing(&View::channels_last([n, c, h, w], [0; 4]).strides);
                let channels_last = nhwc.is_empty() || !planar.is_empty() && self.is_contiguous_along(1);
                if channels_last { ("nhwc", nhwc) } else { ("nchw", planar) }
            }
            _ => ("dense", planar),
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

/// Elements of half a page.
const CACHE_PERIOD: usize = 512;

/// Elements of a cache line.
pub(crate) const CACHE_LINE: usize = 16;

/// What a kernel's name says of its arrays' layouts: nothing where all are channels-last (or not images) and
/// without gaps, else each one's [`View::layout`].
pub fn layout_suffix<'a>(views: impl IntoIterator<Item = &'a View>) -> String {
    let layouts: Vec<String> = views.into_iter().map(View::layout).collect();
    if layouts.iter().all(|layout| is_plain(layout)) {
        return String::new();
    }
    layouts.iter().map(|layout| format!("_{layout}")).collect()
}

/// Whether a layout is the usual one.
pub fn is_plain(layout: &str) -> bool {
    matches!(layout, "nhwc" | "dense")
}

#[cfg(test)]
mod tests {
    use super::View;

    /// Border and rows take turns and make up the whole buffer.
    #[test]
    fn borders_are_what_rows_leave() {
        let (dims, border) = ([2, 3, 2, 4], [1, 2, 0, 1]);
        for (view, rows, row) in [
            (View::channels_last(dims, border), 2 * 2, 3 * 4),
            (View::channels_last([2, 512, 2, 4], border).spread(), 2 * 2, (512 + 16) * 4),
            (View::planar(dims, border), 2 * 3 * 2, 4),
        ] {
            let elements = view.strides[0] * 2;
            let ranges: Vec<_> = view.border(elements).collect();
            assert_eq!(ranges.len(), rows + 1);
            assert_eq!((ranges[0].start, ranges[rows].end), (0, elements));
            assert_eq!(ranges[0].end, view.offset);
            assert!(ranges.windows(2).all(|pair| pair[1].start == pair[0].end + row), "{ranges:?}");
        }
        let unpadded = View::channels_last(dims, [0; 4]);
        assert_eq!(unpadded.border(unpadded.end()).count(), 0);
        let empty = View::channels_last([0, 3, 2, 4], border);
        assert!(empty.border(10).eq(std::iter::once(0..10)));
    }
}
