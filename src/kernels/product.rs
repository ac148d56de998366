//! Implicit matrix products: the part that convolutions, dense layers and the methods with fewer multiplications share.
//!
//! A tile of output pixels × vectors of output channels stays in registers while the reduction runs over
//! `(kh, kw, c)`: one broadcast input element times a vector of packed weights at each step. Padding is a border
//! of zeros in the input's view, so no tile tests for edges.

use serde::{Deserialize, Serialize};

use super::crossed::quarter;
use super::ends::{Elements, Ends};
use super::packed::{PackedFilter, WeightType};
use super::view::{CACHE_LINE, View};
use crate::codegen::clif;
use crate::codegen::vector::{Address, Affine, Builder, Index, Reg};
use crate::ops::Window;

/// How many output pixels and channel vectors one register tile holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// Output rows.
    pub rows: usize,
    /// Output columns.
    pub columns: usize,
    /// Vectors of output channels.
    pub vectors: usize,
}

/// Which loop runs outside, within a grid point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// For each tile of pixels all channels: outputs are written line after line, while the weights stay in the
    /// second-level cache.
    Pixels,
    /// For each panel of weights all pixels: large weights are read once.
    Panels,
}

impl Order {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Order::Pixels => "_px",
            Order::Panels => "",
        }
    }
}

/// Where grid points follow one another along an axis (0 for rows, 1 for columns), each `extent` outputs from `first` on:
/// what the next one reads of `x` and this one does not, as its first element and how many there are.
pub(super) fn next_input(
    (view, x): (&View, &Address),
    image: &Affine,
    (kernel, window): ([usize; 2], &Window),
    axis: usize,
    first: &Affine,
    extent: usize,
) -> (Address, usize) {
    let (step, stride) = (view.strides[2 + axis], window.stride[axis]);
    let read = (extent * stride + (kernel[axis] - 1) * window.dilation[axis] + 1).saturating_sub(stride);
    let at = x
        .plus(view.offset + read * step)
        .plus(-((window.padding[axis] * step) as i64))
        .at(image, view.strides[0])
        .at(first, stride * step);
    (at, extent * stride * step)
}

/// Runs `body` with `block`, or with what is left of `extent` at the last value of `index`.
pub(super) fn uneven(
    k: &mut Builder,
    index: Index,
    extent: usize,
    block: usize,
    mut body: impl FnMut(&mut Builder, usize),
) {
    let last = extent.div_ceil(block) - 1;
    let rest = extent - last * block;
    if rest == block {
        body(k, block);
    } else if last == 0 {
        body(k, rest);
    } else {
        let body = std::cell::RefCell::new(body);
        k.branch(index, last, |k| body.borrow_mut()(k, block), |k| body.borrow_mut()(k, rest));
    }
}

/// Runs `body` for each stretch of `step` in `extent`: a loop over the full ones, then the rest. `body` gets the
/// stretch's start and length.
pub(super) fn stretches(
    k: &mut Builder,
    extent: usize,
    step: usize,
    mut body: impl FnMut(&mut Builder, Affine, usize),
) {
    let full = extent / step;
    match full {
        0 => {}
        1 => body(k, Affine::default(), step),
        _ => k.repeat(full, |k, index| body(k, Affine::default().along(index, step), step)),
    }
    if !extent.is_multiple_of(step) {
        body(k, Affine::constant(full * step), extent % step);
    }
}

/// Adds two coordinates.
pub(super) fn sum(a: &Affine, b: &Affine) -> Affine {
    let mut terms = a.terms.clone();
    terms.extend_from_slice(&b.terms);
    Affine { terms, offset: a.offset + b.offset }
}

/// The part of an output that [`Product::region`] computes.
pub(super) struct Region {
    /// The image in the view of `x`.
    pub image: Affine,
    pub group: Affine,
    /// The input row and column that the first output pixel's first tap reads.
    pub origin: [Affine; 2],
    /// Rows and columns.
    pub size: [usize; 2],
    /// Counted within the group; a multiple of the panel width.
    pub first_channel: Affine,
    pub channels: usize,
}

/// An implicit matrix product, ready to be written into kernels.
pub(super) struct Product<'a> {
    pub x: (&'a View, Address),
    pub weights: Address,
    pub filter: PackedFilter,
    pub kernel: [usize; 2],
    pub window: &'a Window,
    pub tile: Tile,
    pub order: Order,
    /// What follows once all pixels have passed the group's weights.
    pub then: Then,
    /// The input that the next grid point reads and this one does not: its first element, and how many follow.
    pub next_input: Option<(Address, usize)>,
}

/// What follows a product in its kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    /// The same with other weights: those of the next group.
    NextGroup,
    /// Nothing: a grid point reads its weights once, panel after panel.
    NextPanel,
}

/// Elements of weights that stay in the second-level cache while blocks of pixels pass.
pub const RESIDENT_WEIGHTS: usize = 96 * 1024;

/// Part of an axis.
#[derive(Clone)]
struct Stretch {
    start: Affine,
    extent: usize,
}

/// The rounds in which the sums of a tile are computed, and what begins each.
struct Rounds<'a> {
    count: usize,
    begin: &'a dyn Fn(&mut Builder, Index),
}

/// A run of channels of the reduction: where its input, its weights and what they bring nearer begin.
struct Run {
    x: Address,
    weights: Address,
    ahead: Ahead,
    channels: usize,
}

/// One register tile's place.
struct Place {
    /// First input row and column.
    x: [Affine; 2],
    /// First output row and column, counted from the region's.
    pixel: [Affine; 2],
    rows: usize,
    columns: usize,
    /// The number of the tile among those of the region's pixels.
    number: Affine,
    /// First output channel, within the group.
    channel: Affine,
    channels: usize,
}

impl Product<'_> {
    /// Computes a region, tile by tile.
    pub fn region(&self, k: &mut Builder, region: &Region, ends: &dyn Ends) {
        match self.order {
            Order::Pixels => self.pixels(k, region, |k, row, column| {
                self.panels(k, region, |k, channel| {
                    self.tile(k, region, &self.place(region, &row, &column, channel), ends)
                });
            }),
            Order::Panels => self.panels(k, region, |k, channel| {
                self.pixels(k, region, |k, row, column| {
                    self.tile(k, region, &self.place(region, &row, &column, channel.clone()), ends);
                });
            }),
        }
    }

    fn panels(&self, k: &mut Builder, region: &Region, mut body: impl FnMut(&mut Builder, Stretch)) {
        stretches(k, region.channels, self.filter.panel_width, |k, start, extent| {
            body(k, Stretch { start: sum(&region.first_channel, &start), extent });
        });
    }

    fn pixels(&self, k: &mut Builder, region: &Region, mut body: impl FnMut(&mut Builder, Stretch, Stretch)) {
        stretches(k, region.size[0], self.tile.rows, |k, start, extent| {
            let row = Stretch { start, extent };
            stretches(k, region.size[1], self.tile.columns, |k, start, extent| {
                body(k, row.clone(), Stretch { start, extent });
            });
        });
    }

    fn place(&self, region: &Region, row: &Stretch, column: &Stretch, channel: Stretch) -> Place {
        let offset = [&row.start, &column.start];
        Place {
            x: [0, 1].map(|axis| sum(&region.origin[axis], &offset[axis].times(self.window.stride[axis]))),
            pixel: offset.map(Affine::clone),
            rows: row.extent,
            columns: column.extent,
            number: sum(
                &row.start.divided_by(self.tile.rows).times(region.size[1].div_ceil(self.tile.columns)),
                &column.start.divided_by(self.tile.columns),
            ),
            channel: channel.start,
            channels: channel.extent,
        }
    }

    fn tile(&self, k: &mut Builder, region: &Region, place: &Place, ends: &dyn Ends) {
        let lanes = k.lanes();
        let pixels: Vec<[usize; 2]> =
            (0..place.rows).flat_map(|row| (0..place.columns).map(move |column| [row, column])).collect();
        let places: Vec<[Affine; 2]> =
            pixels.iter().map(|pixel| [0, 1].map(|axis| place.pixel[axis].plus(pixel[axis]))).collect();
        let vectors: Vec<Elements> = (0..place.channels.div_ceil(lanes))
            .map(|v| Elements {
                channel: place.channel.plus(v * lanes),
                lanes: (place.channels - v * lanes).min(lanes),
                pixels: &places,
            })
            .collect();
        let bring_nearer = |k: &mut Builder, pixels: &[[Affine; 2]]| {
            vectors.iter().for_each(|at| ends.bring_nearer(k, &Elements { pixels, ..at.clone() }));
        };
        let count = if ends.are_far() { self.rounds(place) } else { 1 };
        let begin = |k: &mut Builder, round: Index| {
            let each = place.columns.div_ceil(count);
            let [row, column] = &place.pixel;
            let column = column.along(round, each);
            let pixels: Vec<[Affine; 2]> = (0..each).map(|at| [row.clone(), column.plus(at)]).collect();
            bring_nearer(k, &pixels);
        };
        let rounds = (count > 1).then_some(Rounds { count, begin: &begin });
        if rounds.is_none() {
            bring_nearer(k, &places);
        }
        let sums: Vec<Vec<Reg>> = vectors.iter().map(|at| ends.start(k, at)).collect();
        let of_pixel = |pixel: usize| sums.iter().map(|sums| sums[pixel]).collect();
        let accumulators: Vec<Vec<Reg>> = (0..pixels.len()).map(of_pixel).collect();
        self.reduce(k, region, place, &pixels, &accumulators, rounds);
        vectors.iter().zip(sums).for_each(|(at, sums)| ends.finish(k, at, sums));
    }

    /// Accumulates over `(kh, kw, c)`. Where neighbouring taps of a row lie next to each other in memory, the
    /// horizontal taps and the channels are one run.
    fn reduce(
        &self,
        k: &mut Builder,
        region: &Region,
        place: &Place,
        pixels: &[[usize; 2]],
        accumulators: &[Vec<Reg>],
        rounds: Option<Rounds>,
    ) {
        let view = self.x.0;
        let [kh, kw] = self.kernel;
        let channels = self.filter.reduction / (kh * kw);
        let row = self.filter.row_elements();
        let panel = row * self.filter.reduction;
        let [image_stride, channel_stride, row_stride, pixel_stride] = view.strides[..] else {
            unreachable!("rank 4")
        };
        let first_channel = region.group.times(channels);
        let x = self
            .x
            .1
            .plus(view.offset)
            .at(&region.image, image_stride)
            .at(&first_channel, channel_stride)
            .at(&place.x[0], row_stride)
            .at(&place.x[1], pixel_stride);
        let weights = self
            .weights
            .at(&region.group, self.filter.panels() * panel)
            .at(&place.channel.divided_by(self.filter.panel_width), panel);
        let ahead = self.ahead(k, region, place, &weights);
        let Window { stride, dilation, .. } = self.window;
        let displacements: Vec<usize> = pixels
            .iter()
            .map(|[row, column]| row * stride[0] * row_stride + column * stride[1] * pixel_stride)
            .collect();
        let step = |k: &mut Builder, x: &Address, weights: &Address| {
            self.multiply_add(k, x, weights, &displacements, accumulators);
        };
        let is_crossed = self.filter.is_crossed();
        // Crossed products know of each pixel by itself.
        let joined = !is_crossed && channel_stride == 1 && pixel_stride == channels && dilation[1] == 1;
        let (taps, run) = if joined { (1, kw * channels) } else { (kw, channels) };
        k.repeat(kh, |k, ky| {
            let x = x.along(ky, dilation[0] * row_stride);
            let weights = weights.along(ky, kw * channels * row);
            let ahead = ahead.along(ky, kw * channels);
            let unroll = unroll(k.lanes());
            if taps * run <= MAX_UNROLLED && unroll > 1 && !is_crossed {
                for at in 0..taps * run {
                    if at.is_multiple_of(unroll) {
                        ahead.plus(at).prefetch(k, unroll);
                    }
                    let (tap, channel) = (at / run, at % run);
                    let x = x.plus(tap * dilation[1] * pixel_stride + channel * channel_stride);
                    step(k, &x, &weights.plus(at * row));
                }
                return;
            }
            k.repeat(taps, |k, kx| {
                let x = x.along(kx, dilation[1] * pixel_stride);
                let weights = weights.along(kx, run * row);
                let ahead = ahead.along(kx, run);
                if is_crossed {
                    let run = Run { x, weights, ahead, channels: run };
                    return self.cross(k, &run, &displacements, accumulators, rounds.as_ref());
                }
                k.repeat(run / unroll, |k, channel| {
                    let x = x.along(channel, unroll * channel_stride);
                    let weights = weights.along(channel, unroll * row);
                    ahead.along(channel, unroll).prefetch(k, unroll);
                    for unrolled in 0..unroll {
                        step(k, &x.plus(unrolled * channel_stride), &weights.plus(unrolled * row));
                    }
                });
                for channel in run / unroll * unroll..run {
                    step(k, &x.plus(channel * channel_stride), &weights.plus(channel * row));
                }
            });
        });
    }

    /// In how many rounds the sums of a tile are computed. Where products are crossed, what the tile's end reads and
    /// writes is brought nearer round by round, so that it does not come all at once: as many as divide the reduction and
    /// bring one pixel too many at most.
    fn rounds(&self, place: &Place) -> usize {
        let quarter = quarter(self.filter.reduction);
        if !self.filter.is_crossed() || self.kernel != [1, 1] || place.rows > 1 || quarter == 0 {
            return 1;
        }
        let suits = |rounds: &usize| {
            quarter.is_multiple_of(*rounds) && rounds * place.columns.div_ceil(*rounds) <= place.columns + 1
        };
        (1..=place.columns).rev().find(suits).unwrap_or(1)
    }

    /// Accumulates over one run of channels, quarter beside quarter: of each four channels, two crosswise.
    fn cross(
        &self,
        k: &mut Builder,
        run: &Run,
        displacements: &[usize],
        accumulators: &[Vec<Reg>],
        rounds: Option<&Rounds>,
    ) {
        let (row, stride) = (self.filter.row_elements(), self.x.0.strides[1]);
        let quarter = quarter(run.channels);
        let count = rounds.map_or(1, |rounds| rounds.count);
        let steps = quarter / count;
        k.repeat(count, |k, round| {
            if let Some(rounds) = rounds {
                (rounds.begin)(k, round);
            }
            k.repeat(steps, |k, step| {
                let x = run.x.along(round, steps * stride).along(step, stride);
                let weights = run.weights.along(round, steps * 4 * row).along(step, 4 * row);
                run.ahead.along(round, steps * 4).along(step, 4).prefetch(k, 4);
                let parts =
                    [0, 1, 2, 3].map(|part| (x.plus(part * quarter * stride), weights.plus(part * row)));
                cross_four(k, &parts, displacements, accumulators);
            });
        });
        for channel in 4 * quarter..run.channels {
            let (x, weights) = (run.x.plus(channel * stride), run.weights.plus(channel * row));
            self.multiply_add(k, &x, &weights, displacements, accumulators);
        }
    }

    /// What a tile brings nearer: its share of the panel that is wanted once all pixels have passed this one, or
    /// where no second tile passes, the rows of this one that are wanted soon. One long run of rows, as of a dense layer,
    /// is left to the core's own prefetcher. Where the weights are there to stay, its share of the next input.
    fn ahead(&self, k: &mut Builder, region: &Region, place: &Place, weights: &Address) -> Ahead {
        let panel = self.filter.row_elements() * self.filter.reduction;
        let tiles = region.size[0].div_ceil(self.tile.rows) * region.size[1].div_ceil(self.tile.columns);
        let distance = match (self.order, self.then) {
            (_, Then::NextGroup) if tiles == 1 => SOON * self.filter.row_elements(),
            _ if tiles == 1 => 0,
            (Order::Panels, Then::NextPanel | Then::NextGroup) => panel,
            (Order::Pixels, Then::NextGroup) => self.filter.panels() * panel,
            (Order::Pixels, Then::NextPanel) => 0,
        };
        if distance == 0 || self.filter.elements() <= RESIDENT_WEIGHTS {
            return self.input_ahead(k, place, tiles, weights);
        }
        let elements = self.filter.row_elements().div_ceil(tiles);
        let at = weights.plus(distance).at(&place.number, elements * self.filter.reduction);
        Ahead { at, elements }
    }

    /// A tile's share of the next input: with the steps of its reduction, or, where that is few lines, at once.
    fn input_ahead(&self, k: &mut Builder, place: &Place, tiles: usize, weights: &Address) -> Ahead {
        let nothing = Ahead { at: weights.clone(), elements: 0 };
        let Some((at, elements)) = &self.next_input else { return nothing };
        let panels = self.filter.panels();
        let panel = place.channel.divided_by(self.filter.panel_width);
        let number = sum(&place.number.times(panels), &panel);
        let unroll = unroll(k.lanes());
        let rounds = self.filter.reduction.div_ceil(unroll);
        let lines = elements.div_ceil(CACHE_LINE * tiles * panels);
        if lines < rounds {
            let at = at.at(&number, lines * CACHE_LINE);
            (0..lines).for_each(|line| k.prefetch(at.plus(line * CACHE_LINE)));
            return nothing;
        }
        let elements = lines.div_ceil(rounds) * CACHE_LINE / unroll;
        Ahead { at: at.at(&number, elements * self.filter.reduction), elements }
    }

    /// One step of the reduction: one input element of each pixel times one row of the weights' panel.
    fn multiply_add(
        &self,
        k: &mut Builder,
        x: &Address,
        weights: &Address,
        displacements: &[usize],
        accumulators: &[Vec<Reg>],
    ) {
        let lanes = k.lanes();
        let row = (0..accumulators[0].len()).map(|v| match self.filter.weight_type {
            WeightType::F32 => k.load(weights.plus(v * lanes)),
            WeightType::F16 => k.load_half(weights.plus(v * lanes / 2)),
        });
        let row: Vec<Reg> = row.collect();
        for (&displacement, registers) in displacements.iter().zip(accumulators) {
            let element = k.broadcast(x.plus(displacement));
            for (&accumulator, &weight) in registers.iter().zip(&row) {
                k.accumulate(accumulator, element, weight);
            }
        }
    }
}

/// Accumulates four channels, each with its input and its row of weights: the first two crosswise.
fn cross_four(
    k: &mut Builder,
    parts: &[(Address, Address); 4],
    displacements: &[usize],
    accumulators: &[Vec<Reg>],
) {
    let lanes = k.lanes();
    let element =
        |k: &mut Builder, part: usize, displacement: usize| k.broadcast(parts[part].0.plus(displacement));
    let weight = |k: &mut Builder, part: usize, v: usize| k.load(parts[part].1.plus(v * lanes));
    for v in 0..accumulators[0].len() {
        let [first, second] = [0, 1].map(|part| weight(k, part, v));
        for (&displacement, registers) in displacements.iter().zip(accumulators) {
            let [x0, x1] = [0, 1].map(|part| element(k, part, displacement));
            let (left, right) = (k.add(x0, second), k.add(x1, first));
            k.accumulate(registers[v], left, right);
        }
        let [third, fourth] = [2, 3].map(|part| weight(k, part, v));
        for (&displacement, registers) in displacements.iter().zip(accumulators) {
            for (part, weight) in [(2, third), (3, fourth)] {
                let x = element(k, part, displacement);
                k.accumulate(registers[v], x, weight);
            }
        }
    }
}

/// Rows of weights that are brought nearer at a time: what a core multiplies with while a line arrives from memory, and
/// somewhat more than its own prefetcher looks ahead.
const SOON: usize = 64;

/// What is to be brought nearer while a tile is computed.
struct Ahead {
    at: Address,
    /// Elements for each step of the reduction; none where nothing is to be brought.
    elements: usize,
}

impl Ahead {
    /// Moved on by `steps` for each round of a loop.
    fn along(&self, index: Index, steps: usize) -> Self {
        let at =
            if self.elements == 0 { self.at.clone() } else { self.at.along(index, steps * self.elements) };
        Ahead { at, elements: self.elements }
    }

    /// Moved on by `steps`.
    fn plus(&self, steps: usize) -> Self {
        Ahead { at: self.at.plus(steps * self.elements), elements: self.elements }
    }

    /// Asks for the lines of `steps` steps.
    fn prefetch(&self, k: &mut Builder, steps: usize) {
        for line in 0..(steps * self.elements).div_ceil(CACHE_LINE) {
            k.prefetch(self.at.plus(line * CACHE_LINE));
        }
    }
}

/// Steps of the reduction in one round of its innermost loop. Cranelift moves arithmetic down to its use, past all
/// loads of the round, so that only a round of one step leaves the accumulators in registers.
fn unroll(lanes: usize) -> usize {
    if lanes == clif::LANES { 1 } else { 4 }
}

/// The longest run over horizontal taps and channels that is written out instead of looped over.
const MAX_UNROLLED: usize = 36;
