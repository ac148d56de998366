//! Implicit matrix products: the part that convolutions, dense layers and the methods with fewer multiplications share.
//!
//! A tile of output pixels × vectors of output channels stays in registers while the reduction runs over
//! `(kh, kw, c)`: one broadcast input element times a vector of packed weights at each step. Padding is a border
//! of zeros in the input's view, so no tile tests for edges.

use serde::{Deserialize, Serialize};

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

/// The rounds in which what the end of a tile touches is brought nearer, and what begins each.
pub(super) struct Rounds<'a> {
    pub count: usize,
    pub begin: &'a dyn Fn(&mut Builder, Index),
}

/// A run of channels of the reduction: where its input, its weights and what they bring nearer begin.
pub(super) struct Run {
    pub x: Address,
    pub weights: Address,
    pub ahead: Ahead,
    pub channels: usize,
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
        let crossing = self.filter.arithmetic.crossing();
        // Crossed products know of each pixel by itself.
        let joined =
            crossing.is_none() && channel_stride == 1 && pixel_stride == channels && dilation[1] == 1;
        let (taps, run) = if joined { (1, kw * channels) } else { (kw, channels) };
        k.repeat(kh, |k, ky| {
            let x = x.along(ky, dilation[0] * row_stride);
            let weights = weights.along(ky, kw * channels * row);
            let ahead = ahead.along(ky, kw * channels);
            let unroll = unroll(k.lanes());
            if taps * run <= MAX_UNROLLED && unroll > 1 && crossing.is_none() {
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
                if let Some(crossing) = crossing {
                    let run = Run { x, weights, ahead, channels: run };
                    return self.cross(k, crossing, &run, &displacements, accumulators, rounds.as_ref());
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

    /// In how many rounds what a tile's end reads and writes is brought nearer, so that it does not come all at once. Where
    /// products are crossed, there is one with each block of channels, or in one block as many as divide it and bring one
    /// pixel too many at most.
    fn rounds(&self, place: &Place) -> usize {
        let Some(crossing) = self.filter.arithmetic.crossing() else { return 1 };
        if self.kernel != [1, 1] || place.rows > 1 {
            return 1;
        }
        let columns = place.columns;
        let [many, last] = crossing.blocks(self.filter.reduction);
        if many.count > 0 {
            return columns.div_ceil(columns.div_ceil(many.count));
        }
        let suits = |rounds: &usize| {
            last.part.is_multiple_of(*rounds) && rounds * columns.div_ceil(*rounds) <= columns + 1
        };
        (1..=columns).rev().find(|rounds| last.part > 0 && suits(rounds)).unwrap_or(1)
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
    pub fn multiply_add(
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

/// Rows of weights that are brought nearer at a time: what a core multiplies with while a line arrives from memory, and
/// somewhat more than its own prefetcher looks ahead.
const SOON: usize = 64;

/// What is to be brought nearer while a tile is computed.
pub(super) struct Ahead {
    at: Address,
    /// Elements for each step of the reduction; none where nothing is to be brought.
    elements: usize,
}

impl Ahead {
    /// Moved on by `steps` for each round of a loop.
    pub fn along(&self, index: Index, steps: usize) -> Self {
        let at =
            if self.elements == 0 { self.at.clone() } else { self.at.along(index, steps * self.elements) };
        Ahead { at, elements: self.elements }
    }

    /// Moved on by `steps`.
    pub fn plus(&self, steps: usize) -> Self {
        Ahead { at: self.at.plus(steps * self.elements), elements: self.elements }
    }

    /// Asks for the lines of `steps` steps.
    pub fn prefetch(&self, k: &mut Builder, steps: usize) {
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
