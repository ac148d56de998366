//! Crossed products: a reduction with fewer multiplications than elements, for cores that add on other units than they
//! multiply on.
//!
//! Two products of an input `x` and weights `w` take one multiplication (Winograd, *A New Algorithm for Inner Product*,
//! 1968):
//!
//! `x₀w₀ + x₁w₁ = (x₀ + w₁)(x₁ + w₀) - x₀x₁ - w₀w₁`
//!
//! What is subtracted depends on the pixel alone and on the output channel alone, so that it is computed once for all
//! channels, or once for all pixels when weights are packed, and sums start from it. As many channels are taken crosswise
//! as keep a core busiest, the others as they are: half of them, so that four channels take three multiply-adds and two
//! additions instead of four multiply-adds, or two thirds, so that three channels take two of each.
//!
//! The products that are subtracted come and go in the accumulators, so rounding is as small as without them where input
//! and weights are of one magnitude. Hence both are brought there by powers of two, which are exact: the weights of each
//! input and each output channel when they are packed, and each pixel while it is copied to scratch memory; rows of pixels
//! that windows pass over, as in minimal filtering, by one power for all of them. Infinities become NaN in the pixel, or
//! the rows, that hold one.

mod scaling;
mod steps;

use serde::{Deserialize, Serialize};

pub(super) use scaling::{Balance, Operand, Rows};

use super::ends::{Elements, Ends};
use super::packed::PackedFilter;
use super::product::{Product, Region};
use super::view::CACHE_LINE;
use crate::codegen::vector::{Address, Affine, Builder, Reg};

/// How the sums of a matrix product are computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// A multiply-add for each product.
    #[default]
    Straight,
    /// Some channels crosswise.
    Crossed(Crossing),
}

/// How many channels are taken crosswise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crossing {
    /// Two of four: three multiply-adds and two additions. For cores that find two thirds of an addition for each
    /// multiply-add. Input elements are read again for each vector, which leaves more registers for sums.
    Quarters,
    /// Two of three: two multiply-adds and two additions. For cores that find an addition for each multiply-add, and no
    /// time to read an input element again for each vector.
    Thirds,
}

impl Crossing {
    pub const ALL: [Crossing; 2] = [Crossing::Quarters, Crossing::Thirds];

    /// The parts of equal size that a block of channels is taken in: each channel of the first crosswise with one of the
    /// second, those of the others as they are.
    pub fn parts(self) -> usize {
        match self {
            Crossing::Quarters => 4,
            Crossing::Thirds => 3,
        }
    }

    /// How a run of channels is cut into blocks: some of equal size, and one of another. What is left over after the last
    /// is taken as it is.
    pub fn blocks(self, channels: usize) -> [Blocks; 2] {
        let many = match self {
            Crossing::Quarters => Blocks { first: 0, count: 0, part: 0 },
            // Vectors of channels that start on cache lines where a pixel does.
            Crossing::Thirds => Blocks { first: 0, count: channels / (3 * CACHE_LINE), part: CACHE_LINE },
        };
        let first = many.count * self.parts() * many.part;
        [many, Blocks { first, count: 1, part: (channels - first) / self.parts() }]
    }

    /// Pairs of channels that are taken crosswise.
    pub fn pairs(self, channels: usize) -> usize {
        channels / self.parts()
    }

    /// Registers that a step needs beside those of the sums, where a tile has so many vectors.
    pub fn registers(self, vectors: usize) -> usize {
        match self {
            // Two weights and two sums.
            Crossing::Quarters => 4,
            // Two weights of each vector, two elements and two sums.
            Crossing::Thirds => 2 * vectors + 4,
        }
    }
}

/// Blocks of channels that follow one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks {
    /// The first channel of the first.
    pub first: usize,
    pub count: usize,
    /// Channels of each of a block's parts.
    pub part: usize,
}

impl Blocks {
    /// Whether parts are shorter than what is copied at a time.
    fn are_short(&self) -> bool {
        self.part < CACHE_LINE
    }
}

impl Arithmetic {
    /// All that there is to choose from, where products may be crossed in a way, or not.
    pub fn choices(crossing: Option<Crossing>) -> impl Iterator<Item = Arithmetic> + Clone {
        std::iter::once(Arithmetic::Straight).chain(crossing.map(Arithmetic::Crossed))
    }

    pub fn crossing(self) -> Option<Crossing> {
        match self {
            Arithmetic::Straight => None,
            Arithmetic::Crossed(crossing) => Some(crossing),
        }
    }

    pub fn is_crossed(self) -> bool {
        self != Arithmetic::Straight
    }

    /// Multiply-adds for the products of so many channels.
    pub fn multiply_adds(self, channels: usize) -> usize {
        channels - self.crossing().map_or(0, |crossing| crossing.pairs(channels))
    }

    /// The row of a channel in the packed weights of a run of channels: rows that are multiplied with at a time follow one
    /// another.
    pub fn row_of(self, channel: usize, channels: usize) -> usize {
        let Some(crossing) = self.crossing() else { return channel };
        let parts = crossing.parts();
        let of = |Blocks { first, count, part }: Blocks| {
            let within = channel.checked_sub(first).filter(|within| *within < count * parts * part)?;
            let (block, within) = (within / (parts * part), within % (parts * part));
            Some(first + parts * (block * part + within % part) + within / part)
        };
        crossing.blocks(channels).into_iter().find_map(of).unwrap_or(channel)
    }

    pub(super) fn suffix(self) -> &'static str {
        match self {
            Arithmetic::Straight => "",
            Arithmetic::Crossed(Crossing::Quarters) => "_crossed",
            Arithmetic::Crossed(Crossing::Thirds) => "_crossed_thirds",
        }
    }
}

/// What crossed products know of each pixel: what its sums start from (before that, what its elements are to be scaled
/// by), and what brings them back to scale.
#[derive(Clone)]
pub(super) struct Pixels {
    /// `[2, h, w]` in scratch memory.
    at: Address,
    rows: usize,
    columns: usize,
}

impl Pixels {
    /// Elements for each pixel.
    pub const EACH: usize = 2;

    /// Those of `[rows, columns]` pixels, in scratch memory from `at` on.
    pub fn new(at: Address, [rows, columns]: [usize; 2]) -> Self {
        Pixels { at, rows, columns }
    }

    /// What a pixel's sums start from.
    fn start(&self, [row, column]: &[Affine; 2]) -> Address {
        self.at.at(row, self.columns).at(column, 1usize)
    }

    /// What brings them back to scale.
    fn back(&self, pixel: &[Affine; 2]) -> Address {
        self.start(pixel).plus(self.rows * self.columns)
    }

    /// Those from a pixel on.
    pub fn from(&self, first: &[Affine; 2]) -> Self {
        Pixels { at: self.start(first), ..*self }
    }
}

/// The ends of crossed products: sums start from what the pairs will add, and go back to the scale of the ends that
/// they stand for, whose own start is added then.
struct Rescaled<'a, E> {
    ends: E,
    pixels: &'a Pixels,
    terms: Terms,
}

/// What [`PackedFilter`] keeps behind its panels.
#[derive(Clone)]
pub(super) struct Terms {
    /// What a group's output channels add to their sums.
    at: Address,
    /// Elements from there to what brings them back to scale.
    plane: usize,
}

impl Terms {
    /// Those of a group in packed weights, if there are any.
    pub fn of(filter: &PackedFilter, weights: &Address, group: &Affine) -> Option<Self> {
        let (plane, group_elements) = (filter.bias_elements(), filter.panels() * filter.panel_width);
        let at = weights.plus(filter.panel_elements()).at(group, group_elements);
        filter.is_crossed().then_some(Terms { at, plane })
    }
}

/// Computes a region with these ends: by way of scaled sums, where products are crossed.
pub(super) fn region(
    product: &Product,
    k: &mut Builder,
    region: &Region,
    ends: impl Ends,
    crossed: Option<(Terms, &Pixels)>,
) {
    match crossed {
        Some((terms, pixels)) => product.region(k, region, &Rescaled { ends, pixels, terms }),
        None => product.region(k, region, &ends),
    }
}

impl<E: Ends> Ends for Rescaled<'_, E> {
    fn are_far(&self) -> bool {
        self.ends.are_far()
    }

    fn bring_nearer(&self, k: &mut Builder, at: &Elements) {
        self.ends.bring_nearer(k, at);
    }

    fn start(&self, k: &mut Builder, at: &Elements) -> Vec<Reg> {
        let channel = k.load(self.terms.at.at(&at.channel, 1usize));
        let start = |pixel| {
            let pixel = k.broadcast(self.pixels.start(pixel));
            k.add(channel, pixel)
        };
        at.pixels.iter().map(start).collect()
    }

    fn finish(&self, k: &mut Builder, at: &Elements, mut sums: Vec<Reg>) {
        let channel = k.load(self.terms.at.plus(self.terms.plane).at(&at.channel, 1usize));
        let starts = self.ends.start(k, at);
        for ((sum, pixel), start) in sums.iter_mut().zip(at.pixels).zip(starts) {
            // Scales first: one may be as large as the other is small.
            let pixel = k.broadcast(self.pixels.back(pixel));
            let scale = k.mul(channel, pixel);
            *sum = k.fma(*sum, scale, start);
        }
        self.ends.finish(k, at, sums);
    }
}
