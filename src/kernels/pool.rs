//! Max and average pooling.
//!
//! Output positions along an axis fall into segments whose windows cover the same number of taps, so no padding
//! is looked at when the kernel runs. Small windows are pooled directly, several outputs side by side with their
//! common columns reduced once; large ones in two passes, down the columns into scratch and along the row.

use std::collections::BTreeMap;

use super::epilogue::EpilogueBuffers;
use super::nest::{GRAIN, divide, piece, steps};
use super::view::{dims_name, layout_suffix};
use super::{Family, FusedEpilogue, View, reduce};
use crate::codegen::vector::{Access, Address, Affine, Binary, Builder, Index, Kernel, Reg, Stride};
use crate::ops::{Pool, PoolKind};

/// `x [n, c, h, w]` to `y [n, c, h', w']`, then the epilogue. Buffers: x, the epilogue's operands, y, scratch
/// where the window is large.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolKernel {
    pub pool: Pool,
    pub x: View,
    pub y: View,
    pub epilogue: FusedEpilogue,
}

/// Windows with more taps than this, summed over pairs of segments, are pooled in two passes.
const DIRECT_TAPS: usize = 100;

/// How many outputs are computed side by side, best first: a number that leaves none over, or the first.
const COLUMNS: [usize; 3] = [4, 5, 3];

/// About how many elements a row of columns may take: a part of any L2 cache.
const SCRATCH: usize = 16 * 1024;

/// More taps than this make a loop.
const UNROLLED_TAPS: usize = 8;

/// Output positions along an axis whose windows cover the same taps of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    /// The first output position.
    first: usize,
    extent: usize,
    /// The input position of the first tap of the first output.
    input: usize,
    /// How many taps lie inside the input.
    taps: usize,
    /// How many positions an average counts.
    count: usize,
}

impl PoolKernel {
    fn op(&self) -> Binary {
        match self.pool.kind {
            PoolKind::Max => Binary::Max,
            PoolKind::Average { .. } => Binary::Add,
        }
    }

    /// The segments along `axis` (0 vertical, 1 horizontal).
    fn segments(&self, axis: usize) -> Vec<Segment> {
        let (stride, padding) = (self.pool.window.stride[axis], self.pool.window.padding[axis]);
        let mut segments: Vec<Segment> = Vec::new();
        let mut skipped = 0;
        for at in 0..self.y.dims[2 + axis] {
            let (taps, padded) = self.pool.taps(axis, at, self.x.dims[2 + axis]);
            let input = taps.clone().next().expect("a pooling window covers part of the input");
            let count = match self.pool.kind {
                PoolKind::Average { count_include_pad: true } => padded,
                _ => taps.len(),
            };
            // How far into its window the first tap lies.
            let before = input + padding - at * stride;
            match segments.last_mut() {
                Some(last) if (last.taps, last.count, skipped) == (taps.len(), count, before) => {
                    last.extent += 1;
                }
                _ => segments.push(Segment { first: at, extent: 1, input, taps: taps.len(), count }),
            }
            skipped = before;
        }
        segments
    }

    /// Scales a sum over `count` positions to their mean; leaves a maximum as it is.
    fn average(&self, k: &mut Builder, value: Reg, count: usize) -> Reg {
        match self.pool.kind {
            PoolKind::Average { .. } if count > 1 => {
                let reciprocal = k.constant((1.0 / count as f64) as f32);
                k.mul(value, reciprocal)
            }
            _ => value,
        }
    }

    /// Combines `taps` elements that lie `step` apart.
    fn combine(&self, k: &mut Builder, first: &Address, taps: usize, step: usize, lanes: usize) -> Reg {
        if taps > UNROLLED_TAPS {
            return reduce::stretch(k, self.op(), &Affine::default(), taps, 1, &|k, tap| {
                vec![k.load_lanes(first.at(tap, step), lanes)]
            })[0];
        }
        let start = k.load_lanes(first.clone(), lanes);
        (1..taps).fold(start, |sum, tap| {
            let value = k.load_lanes(first.plus(tap * step), lanes);
            k.binary(self.op(), sum, value)
        })
    }
}

/// A kernel while it is built.
struct Parts<'a> {
    kernel: &'a PoolKernel,
    rows: Vec<Segment>,
    columns: Vec<Segment>,
    x: Address,
    y: Address,
    epilogue: EpilogueBuffers<'a>,
    n: Affine,
}

/// Channels, in vectors of so many lanes.
#[derive(Clone)]
struct Channels {
    first: Affine,
    extent: usize,
    lanes: usize,
}

impl Channels {
    /// Runs `body` for each vector: its distance from the first channel, and its channels.
    fn vectors(&self, k: &mut Builder, body: &dyn Fn(&mut Builder, &Affine, &Channels)) {
        steps(k, &Affine::default(), self.extent, self.lanes, 1, |k, distance, lanes| {
            body(k, distance, &Channels { first: self.first.sum(distance), extent: lanes, lanes });
        });
    }
}

impl Parts<'_> {
    /// Pools a row of output, whose number is `row`, looking at each window as a whole.
    fn direct(&self, k: &mut Builder, row: Index, channels: &Channels) {
        let stride = self.kernel.pool.window.stride;
        select(k, row, &self.rows, stride[0], &|k, rows, input_row| {
            for columns in &self.columns {
                let even = COLUMNS.into_iter().find(|&count| columns.extent.is_multiple_of(count));
                let abreast = even.unwrap_or(COLUMNS[0]);
                steps(k, &Affine::default(), columns.extent, abreast, 1, |k, column, count| {
                    let input = [input_row.clone(), column.times(stride[1]).plus(columns.input)];
                    let output = [row.into(), column.plus(columns.first)];
                    channels.vectors(k, &|k, _, c| {
                        self.windows(k, [rows, columns], &input, &output, count, c);
                    });
                });
            }
        });
    }

    /// Pools `count` windows side by side, which share columns where they overlap.
    fn windows(
        &self,
        k: &mut Builder,
        [rows, columns]: [&Segment; 2],
        input: &[Affine; 2],
        output: &[Affine; 2],
        count: usize,
        c: &Channels,
    ) {
        let PoolKernel { pool, x, .. } = self.kernel;
        let base = x.at(&self.x, &self.at(&c.first, input));
        let mut reduced: BTreeMap<usize, Reg> = BTreeMap::new();
        for window in 0..count {
            let mut total = None;
            for tap in 0..columns.taps {
                let column = window * pool.window.stride[1] + tap * pool.window.dilation[1];
                let part = *reduced.entry(column).or_insert_with(|| {
                    let first = base.plus(column * x.strides[3]);
                    let step = pool.window.dilation[0] * x.strides[2];
                    self.kernel.combine(k, &first, rows.taps, step, c.lanes)
                });
                total = Some(total.map_or(part, |total| k.binary(self.kernel.op(), total, part)));
            }
            let total = total.expect("a pooling window covers part of the input");
            let value = self.kernel.average(k, total, rows.count * columns.count);
            self.store(k, value, &[output[0].clone(), output[1].plus(window)], c);
        }
    }

    /// Pools a row of output in two passes: down each column of the input, then along the row. Scratch holds
    /// `block` channels of each column.
    fn two_passes(&self, k: &mut Builder, row: Index, channels: &Channels, scratch: &Address, block: usize) {
        let PoolKernel { pool, x, .. } = self.kernel;
        let (stride, dilation) = (pool.window.stride, pool.window.dilation);
        steps(k, &channels.first, channels.extent, block, 1, |k, first, extent| {
            let block_channels = Channels { first: first.clone(), extent, lanes: channels.lanes };
            select(k, row, &self.rows, stride[0], &|k, rows, input_row| {
                k.repeat(x.dims[3], |k, column| {
                    block_channels.vectors(k, &|k, distance, c| {
                        let at = self.at(&c.first, &[input_row.clone(), column.into()]);
                        let (first, step) = (x.at(&self.x, &at), dilation[0] * x.strides[2]);
                        let total = self.kernel.combine(k, &first, rows.taps, step, c.lanes);
                        let value = self.kernel.average(k, total, rows.count);
                        k.store_lanes(value, scratch.along(column, block).at(distance, 1usize), c.lanes);
                    });
                });
            });
            for columns in &self.columns {
                k.repeat(columns.extent, |k, column| {
                    let first = scratch.plus(columns.input * block).along(column, stride[1] * block);
                    let output = [row.into(), Affine::from(column).plus(columns.first)];
                    block_channels.vectors(k, &|k, distance, c| {
                        let (first, step) = (first.at(distance, 1usize), dilation[1] * block);
                        let total = self.kernel.combine(k, &first, columns.taps, step, c.lanes);
                        let value = self.kernel.average(k, total, columns.count);
                        self.store(k, value, &output, c);
                    });
                });
            }
        });
    }

    fn at(&self, c: &Affine, [row, column]: &[Affine; 2]) -> [Affine; 4] {
        [self.n.clone(), c.clone(), row.clone(), column.clone()]
    }

    fn store(&self, k: &mut Builder, value: Reg, output: &[Affine; 2], c: &Channels) {
        let at = self.at(&c.first, output);
        let value = self.epilogue.apply(k, value, &at, 1, c.lanes);
        k.store_lanes(value, self.kernel.y.at(&self.y, &at), c.lanes);
    }
}

/// How many channels of `columns` columns are pooled in two passes at a time: about [`SCRATCH`] elements, of whole
/// vectors.
fn block(channels: usize, columns: usize, lanes: usize) -> usize {
    let most = (SCRATCH / columns).max(lanes);
    channels.div_ceil(channels.div_ceil(most)).next_multiple_of(lanes)
}

/// Runs `body` for the segment in which `index` is, with the input position of its window's first tap.
fn select(
    k: &mut Builder,
    index: Index,
    segments: &[Segment],
    stride: usize,
    body: &dyn Fn(&mut Builder, &Segment, &Affine),
) {
    if let [segment] = segments {
        let before = (segment.first * stride).elements() - segment.input.elements();
        return body(k, segment, &Affine::from(index).times(stride).plus(-before));
    }
    let (low, high) = segments.split_at(segments.len() / 2);
    k.branch(
        index,
        high[0].first,
        |k| select(k, index, low, stride, body),
        |k| select(k, index, high, stride, body),
    );
}

impl Family for PoolKernel {
    fn name(&self) -> String {
        let Pool { kind, kernel: [kh, kw], window, ceil_mode } = self.pool;
        let kind = match kind {
            PoolKind::Max => "max",
            PoolKind::Average { count_include_pad: false } => "avg",
            PoolKind::Average { count_include_pad: true } => "avgpad",
        };
        let ([sh, sw], [pt, pl, pb, pr]) = (window.stride, window.padding);
        let dilation = match window.dilation {
            [1, 1] => String::new(),
            [dh, dw] => format!("_dh{dh}dw{dw}"),
        };
        let ceil = if ceil_mode { "_ceil" } else { "" };
        let (dims, layout) = (dims_name(&self.x.dims), layout_suffix([&self.x, &self.y]));
        format!(
            "{kind}pool_{dims}_kh{kh}kw{kw}_sh{sh}sw{sw}_pt{pt}pl{pl}pb{pb}pr{pr}{dilation}{ceil}{layout}"
        ) + &self.epilogue.suffix()
    }

    fn build(&self, lanes: usize) -> Kernel {
        let (x, y) = (&self.x, &self.y);
        let mut k = Builder::new(self.name(), lanes);
        let from = k.buffer("x", Access::Read, x.end());
        let epilogue = self.epilogue.declare(&mut k);
        let to = k.buffer("y", Access::Write, y.end());
        let (rows, columns) = (self.segments(0), self.segments(1));
        let taps = |segments: &[Segment]| segments.iter().map(|segment| segment.taps).sum::<usize>();
        let direct = taps(&rows) * taps(&columns) <= DIRECT_TAPS;
        let vector = x.is_contiguous_along(1)
            && y.is_contiguous_along(1)
            && self.epilogue.is_contiguous_along(&y.dims, 1);
        let block = if vector { block(x.dims[1], x.dims[3], lanes) } else { 1 };
        let scratch = (!direct).then(|| k.buffer("columns", Access::Scratch, x.dims[3] * block));

        let n = k.grid(0, x.dims[0]).into();
        let parts = Parts { kernel: self, rows, columns, x: from, y: to, epilogue, n };
        let row = |k: &mut Builder, row: Index, channels: &Channels| match &scratch {
            Some(scratch) => parts.two_passes(k, row, channels, scratch, block),
            None => parts.direct(k, row, channels),
        };
        let plane = y.dims[2] * y.dims[3] * self.pool.kernel.iter().product::<usize>();
        if !vector {
            divide(&mut k, 1, x.dims[1], piece(x.dims[1], plane, 1), &|k, start, extent| {
                k.repeat(extent, |k, channel| {
                    let one = Channels { first: start.along(channel, 1usize), extent: 1, lanes: 1 };
                    k.repeat(y.dims[2], |k, index| row(k, index, &one));
                });
            });
            return k.finish();
        }
        let all = Channels { first: Affine::default(), extent: x.dims[1], lanes };
        if plane * x.dims[1] > GRAIN {
            let index = k.grid(1, y.dims[2]);
            row(&mut k, index, &all);
        } else {
            k.repeat(y.dims[2], |k, index| row(k, index, &all));
        }
        k.finish()
    }
}
