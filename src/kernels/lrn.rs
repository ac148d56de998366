//! Local response normalisation across channels.

use super::epilogue::EpilogueBuffers;
use super::nest::{Nest, Run, moved, steps};
use super::view::{dims_name, layout_suffix};
use super::{Family, FusedEpilogue, View, math, reduce};
use crate::codegen::vector::{Access, Address, Affine, Binary, Builder, Kernel};
use crate::ops::Lrn;

/// `x [n, c, …]` to `y` of the same dims, then the epilogue. Buffers: x, the epilogue's operands, y, scratch.
///
/// The squares go to scratch between zeros, so that each sum is one of shifted loads without a case apart.
#[derive(Clone, PartialEq, Debug)]
pub struct LrnKernel {
    pub lrn: Lrn,
    pub x: View,
    pub y: View,
    pub epilogue: FusedEpilogue,
}

/// About how many squares are kept at a time where channels are contiguous: half of a small L1 cache. Shifted
/// loads then come long after the stores that they span.
const SQUARES: usize = 4096;

/// More neighbours than this make a loop.
const UNROLLED_NEIGHBOURS: usize = 8;

/// How squares lie in scratch: `margin` zeros, then for each line its channels and `margin` zeros more.
#[derive(Clone, Copy)]
struct Squares {
    channels: usize,
    /// The neighbours before a channel.
    before: usize,
    /// The neighbours before and after a channel, and itself.
    count: usize,
    /// Zeros on each side of a line's channels.
    margin: usize,
}

impl Squares {
    fn new(lrn: &Lrn, channels: usize) -> Self {
        let reach = |neighbours: usize| neighbours.min(channels - 1);
        let (before, after) = (reach((lrn.size - 1) / 2), reach(lrn.size / 2));
        Squares { channels, before, count: before + 1 + after, margin: before.max(after) }
    }

    /// From one line to the next.
    fn pitch(&self) -> usize {
        self.channels + self.margin
    }

    /// Where the neighbours of a line's first channel begin.
    fn neighbours(&self) -> usize {
        self.margin - self.before
    }
}

/// A kernel while it is built.
struct Parts<'a> {
    kernel: &'a LrnKernel,
    squares: Squares,
    x: Address,
    y: Address,
    scratch: Address,
    epilogue: EpilogueBuffers<'a>,
}

impl Parts<'_> {
    /// Normalises `lanes` elements along `axis` from `at` on; their neighbours' squares begin at `neighbours` and
    /// lie `step` apart.
    fn normalise(
        &self,
        k: &mut Builder,
        at: &[Affine],
        axis: usize,
        lanes: usize,
        neighbours: &Address,
        step: usize,
    ) {
        let LrnKernel { lrn, x, y, .. } = self.kernel;
        let count = self.squares.count;
        let sum = if count > UNROLLED_NEIGHBOURS {
            reduce::stretch(k, Binary::Add, &Affine::default(), count, 1, &|k, neighbour| {
                vec![k.load(neighbours.at(neighbour, step))]
            })[0]
        } else {
            let first = k.load(neighbours.clone());
            (1..count).fold(first, |sum, neighbour| {
                let square = k.load(neighbours.plus(neighbour * step));
                k.add(sum, square)
            })
        };
        let factor = k.constant(lrn.alpha / lrn.size as f32);
        let bias = k.constant(lrn.bias);
        let scale = k.fma(sum, factor, bias);
        let power = math::power(k, scale, -lrn.beta);
        let value = k.load_lanes(x.at(&self.x, at), lanes);
        let value = k.mul(value, power);
        let value = self.epilogue.apply(k, value, at, axis, lanes);
        k.store_lanes(value, y.at(&self.y, at), lanes);
    }

    /// Squares `lanes` elements into a full vector of scratch.
    fn square(&self, k: &mut Builder, at: &[Affine], lanes: usize, to: Address) {
        let value = k.load_lanes(self.kernel.x.at(&self.x, at), lanes);
        let square = k.mul(value, value);
        k.store(square, to);
    }

    /// Clears `vectors` vectors of scratch.
    fn clear(&self, k: &mut Builder, from: &Address, vectors: usize) {
        let (zero, lanes) = (k.constant(0.0), k.lanes());
        k.repeat(vectors, |k, index| k.store(zero, from.along(index, lanes)));
    }

    /// Channels are contiguous: a line of squares is a pixel, and several pixels are worked on at a time.
    ///
    /// Stores of full vectors reach beyond a pixel's channels and zeros; what comes next overwrites that.
    fn pixels(&self, k: &mut Builder, at: &[Affine], run: Run, most: usize) {
        let Squares { channels, margin, .. } = self.squares;
        let (lanes, pitch) = (k.lanes(), self.squares.pitch());
        let even = run.extent.div_ceil(run.extent.div_ceil(most));
        steps(k, &at[run.axis], run.extent, even, 1, |k, start, pixels| {
            let pixel = |index| moved(at, run.axis, start.along(index, 1usize));
            self.clear(k, &self.scratch, margin.div_ceil(lanes));
            k.repeat(pixels, |k, index| {
                let line = self.scratch.plus(margin).along(index, pitch);
                steps(k, &Affine::default(), channels, lanes, 1, |k, c, lanes| {
                    self.square(k, &moved(&pixel(index), 1, c.clone()), lanes, line.at(c, 1usize));
                });
                self.clear(k, &line.plus(channels), margin.div_ceil(lanes));
            });
            k.repeat(pixels, |k, index| {
                let line = self.scratch.plus(self.squares.neighbours()).along(index, pitch);
                steps(k, &Affine::default(), channels, lanes, 1, |k, c, lanes| {
                    let at = moved(&pixel(index), 1, c.clone());
                    self.normalise(k, &at, 1, lanes, &line.at(c, 1usize), 1);
                });
            });
        });
    }

    /// Channels are apart: a line of squares is a vector of pixels, or one, for each channel.
    fn planes(&self, k: &mut Builder, at: &[Affine], run: Run, lanes: usize) {
        let Squares { channels, margin, .. } = self.squares;
        let pitch = k.lanes();
        steps(k, &at[run.axis], run.extent, lanes, 1, |k, start, lanes| {
            let at = moved(at, run.axis, start.clone());
            let line = self.scratch.plus(margin * pitch);
            self.clear(k, &self.scratch, margin);
            k.repeat(channels, |k, c| self.square(k, &moved(&at, 1, c.into()), lanes, line.along(c, pitch)));
            self.clear(k, &line.plus(channels * pitch), margin);
            k.repeat(channels, |k, c| {
                let neighbours = self.scratch.plus(self.squares.neighbours() * pitch).along(c, pitch);
                self.normalise(k, &moved(&at, 1, c.into()), run.axis, lanes, &neighbours, pitch);
            });
        });
    }
}

impl Family for LrnKernel {
    fn name(&self) -> String {
        let Lrn { size, alpha, beta, bias } = self.lrn;
        let (dims, layout) = (dims_name(&self.x.dims), layout_suffix([&self.x, &self.y]));
        format!("lrn{size}_{dims}_alpha{alpha:?}_beta{beta:?}_bias{bias:?}{layout}") + &self.epilogue.suffix()
    }

    fn build(&self, lanes: usize) -> Kernel {
        let (x, y, dims) = (&self.x, &self.y, &self.x.dims);
        let mut k = Builder::new(self.name(), lanes);
        let from = k.buffer("x", Access::Read, x.end());
        let epilogue = self.epilogue.declare(&mut k);
        let to = k.buffer("y", Access::Write, y.end());
        let channels = dims[1];
        let squares = Squares::new(&self.lrn, channels);
        let mut strides = vec![y.strides.clone(), x.strides.clone()];
        strides.extend(self.epilogue.strides(dims));
        let nest = Nest::new((0..dims.len()).filter(|&axis| axis != 1), dims, &strides);
        let contiguous = |axis: usize| {
            [x, y].iter().all(|view| view.is_contiguous_along(axis))
                && self.epilogue.is_contiguous_along(dims, axis)
        };
        let touched = 4 * channels;
        if contiguous(1) {
            let most = (SQUARES / squares.pitch()).clamp(1, nest.run().extent);
            let elements = squares.margin + most * squares.pitch() + 2 * lanes;
            let scratch = k.buffer("squares", Access::Scratch, elements);
            let parts = Parts { kernel: self, squares, x: from, y: to, scratch, epilogue };
            nest.emit(&mut k, touched, 1, &|k, at, run| parts.pixels(k, at, run, most));
        } else {
            let elements = (squares.margin + squares.pitch()) * lanes;
            let scratch = k.buffer("squares", Access::Scratch, elements);
            let parts = Parts { kernel: self, squares, x: from, y: to, scratch, epilogue };
            let lanes = if contiguous(nest.run().axis) { lanes } else { 1 };
            nest.emit(&mut k, touched, lanes, &|k, at, run| parts.planes(k, at, run, lanes));
        }
        k.finish()
    }
}
