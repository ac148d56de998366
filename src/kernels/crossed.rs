//! Crossed products: a reduction with fewer multiplications than elements, for cores that add on other units than they
//! multiply on.
//!
//! Two products of an input `x` and weights `w` take one multiplication (Winograd, *A New Algorithm for Inner Product*,
//! 1968):
//!
//! `x₀w₀ + x₁w₁ = (x₀ + w₁)(x₁ + w₀) - x₀x₁ - w₀w₁`
//!
//! What is subtracted depends on the pixel alone and on the output channel alone, so that it is computed once for all
//! channels, or once for all pixels when weights are packed, and sums start from it. Half of the channels are taken
//! crosswise, the others as they are. Four channels then take three multiply-adds and two additions instead of four
//! multiply-adds, which is what keeps a core busiest that issues a multiply-add and two thirds of an addition at a time.
//!
//! The products that are subtracted come and go in the accumulators, so rounding is as small as without them where input
//! and weights are of one magnitude. Hence both are brought there by powers of two, which are exact: the weights of each
//! input and each output channel when they are packed, and each pixel while it is copied to scratch memory; rows of pixels
//! that windows pass over, as in minimal filtering, by one power for all of them. Infinities become NaN in the pixel, or
//! the rows, that hold one.

use serde::{Deserialize, Serialize};

use super::ends::{Elements, Ends};
use super::packed::PackedFilter;
use super::product::{Product, Region};
use super::view::{CACHE_LINE, View};
use crate::codegen::vector::{Address, Affine, Binary, Builder, Index, Reg, Unary, VectorStep};
use crate::ops::Window;

/// How the sums of a matrix product are computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// A multiply-add for each product.
    #[default]
    Straight,
    /// Three multiply-adds and two additions for four products.
    Crossed,
}

impl Arithmetic {
    /// All that there is to choose from, where products may be crossed or not.
    pub fn choices(may_cross: bool) -> &'static [Arithmetic] {
        if may_cross { &[Arithmetic::Straight, Arithmetic::Crossed] } else { &[Arithmetic::Straight] }
    }

    /// Multiply-adds for the products of so many channels.
    pub fn multiply_adds(self, channels: usize) -> usize {
        match self {
            Arithmetic::Straight => channels,
            Arithmetic::Crossed => channels - quarter(channels),
        }
    }

    pub(super) fn suffix(self) -> &'static str {
        match self {
            Arithmetic::Straight => "",
            Arithmetic::Crossed => "_crossed",
        }
    }
}

/// The channels of a reduction are taken in quarters: each channel of the first crosswise with one of the second, the
/// third's and fourth's as they are, and so what is left over.
pub fn quarter(channels: usize) -> usize {
    channels / 4
}

/// The row of a channel in the packed weights of a run of channels: rows that are multiplied with at a time follow one
/// another.
pub fn row_of(channel: usize, channels: usize) -> usize {
    let quarter = quarter(channels);
    if channel < 4 * quarter { 4 * (channel % quarter) + channel / quarter } else { channel }
}

/// What crossed products know of each pixel: what its sums start from (before that, what its elements are to be scaled
/// by), and what brings them back to scale.
#[derive(Clone)]
pub(super) struct Pixels {
    /// `[h, w, 2]` in scratch memory.
    pub at: Address,
    pub columns: usize,
}

impl Pixels {
    /// Elements for each pixel.
    pub const EACH: usize = 2;

    fn of(&self, [row, column]: &[Affine; 2]) -> Address {
        self.at.at(row, Pixels::EACH * self.columns).at(column, Pixels::EACH)
    }

    /// Those from a pixel on.
    pub fn from(&self, first: &[Affine; 2]) -> Self {
        Pixels { at: self.of(first), columns: self.columns }
    }
}

/// Pixels in scratch memory, each scaled by a power of two such that its largest element lies in `[1, 2)`, or as near to
/// that as powers with normal inverses bring it.
pub(super) struct Operand {
    /// `[1, c, h, w]`
    view: View,
    base: Address,
    pub pixels: Pixels,
}

impl Operand {
    /// The view of `rows` of `columns` pixels in scratch memory.
    pub fn view(channels: usize, rows: usize, columns: usize) -> View {
        View::channels_last([1, channels, rows, columns], [0; 4]).spread()
    }

    /// Elements of scratch memory for the pixels of such a view.
    pub fn elements(view: &View) -> usize {
        let [_, _, rows, columns] = view.dims[..] else { unreachable!("rank 4") };
        view.end().next_multiple_of(CACHE_LINE) + Pixels::EACH * rows * columns
    }

    /// Pixels that lie, or will lie, where the view says, in scratch memory from `base` on.
    pub fn new(view: View, base: Address) -> Self {
        let pixels = base.plus(view.end().next_multiple_of(CACHE_LINE));
        Operand::with_pixels(view, base, pixels)
    }

    /// The same with what is known of the pixels elsewhere in scratch memory.
    pub fn with_pixels(view: View, base: Address, pixels: Address) -> Self {
        let pixels = Pixels { at: pixels, columns: view.dims[3] };
        Operand { view, base, pixels }
    }

    /// The scaled pixels.
    pub fn x(&self) -> (&View, Address) {
        (&self.view, self.base.clone())
    }

    /// Scales the pixels themselves, channels as `balance` says.
    pub fn scale(&self, k: &mut Builder, balance: &Address, size: [usize; 2]) {
        let [_, _, row, column] = self.view.strides[..] else { unreachable!("rank 4") };
        self.take(k, &self.base, [row, column], balance, size);
    }

    /// Takes `size` pixels from `x` on, whose channels are contiguous, at the strides of rows and columns.
    pub fn take(
        &self,
        k: &mut Builder,
        x: &Address,
        strides: [usize; 2],
        balance: &Address,
        size: [usize; 2],
    ) {
        let channels = Channels { count: self.view.dims[1], balance: balance.clone() };
        let [rows, columns] = size;
        // Some pixels are measured before the first of them is scaled, so that none waits for its scale.
        let together = (1..=columns)
            .rev()
            .find(|&some| columns.is_multiple_of(some) && some * channels.count <= MEASURED_TOGETHER);
        let together = together.unwrap_or(1);
        k.repeat(rows, |k, row| {
            k.repeat(columns / together, |k, group| {
                let from = x.along(row, strides[0]).along(group, together * strides[1]);
                let column = |column| Affine::default().along(group, together).along(column, 1usize);
                k.repeat(together, |k, pixel| {
                    let greatest = Greatest::new(k);
                    channels.measure(k, &from.along(pixel, strides[1]), &greatest);
                    let greatest = greatest.of_all(k);
                    let scale = Scale::of(k, greatest);
                    let pixel = self.pixels.of(&[row.into(), column(pixel)]);
                    k.store_lanes(scale.down, pixel.clone(), 1);
                    k.store_lanes(scale.back, pixel.plus(1usize), 1);
                });
                k.repeat(together, |k, pixel| {
                    let to =
                        self.base.along(row, self.view.strides[2]).at(&column(pixel), self.view.strides[3]);
                    let from = from.along(pixel, strides[1]);
                    let pixel = self.pixels.of(&[row.into(), column(pixel)]);
                    let down = k.broadcast(pixel.clone());
                    let pairs = channels.scale(k, &from, &to, down);
                    let start = k.unary(Unary::Neg, pairs);
                    k.store_lanes(start, pixel, 1);
                });
            });
        });
    }
}

/// Elements that stay in the nearest cache between being measured and being scaled.
const MEASURED_TOGETHER: usize = 3072;

/// Rows of pixels in scratch memory that windows pass over, which need one scale for all of them.
pub(super) struct Rows<'a> {
    /// `[_, c, h, w]`
    pub view: &'a View,
    /// The first pixel.
    pub first: Address,
    /// For each pixel the sum of the products of its own elements: as many elements of scratch memory as there are pixels.
    pub pairs: Address,
    /// What the first row's channels are multiplied with, and how many elements there are from there to the next row's.
    pub balance: (Address, usize),
}

impl Rows<'_> {
    /// Scales the pixels under windows of all rows, and notes for each window in `pixels` what its sums start from.
    pub fn scale(&self, k: &mut Builder, [rows, width]: [usize; 2], window: &Window, pixels: &Pixels) {
        let channels = |row: Index| {
            let balance = self.balance.0.along(row, self.balance.1);
            Channels { count: self.view.dims[1], balance }
        };
        let columns = self.view.dims[3];
        let [_, _, row_stride, column_stride] = self.view.strides[..] else { unreachable!("rank 4") };
        let at = |row: Index, column: Index| self.first.along(row, row_stride).along(column, column_stride);
        let greatest = Greatest::new(k);
        k.repeat(rows, |k, row| {
            k.repeat(columns, |k, column| channels(row).measure(k, &at(row, column), &greatest));
        });
        let greatest = greatest.of_all(k);
        let scale = Scale::of(k, greatest);
        // Nothing, but for infinities, beside which the other pixels of the rows vanish.
        let spoilt = k.sub(greatest, greatest);
        k.repeat(rows, |k, row| {
            k.repeat(columns, |k, column| {
                let pixel = at(row, column);
                let pairs = channels(row).scale(k, &pixel, &pixel, scale.down);
                k.store_lanes(pairs, self.pairs.along(row, columns).along(column, 1usize), 1);
            });
        });
        k.repeat(pixels.columns, |k, column| {
            let start = k.register();
            k.assign_constant(start, 0.0);
            k.repeat(rows, |k, row| {
                k.repeat(width, |k, tap| {
                    let at = self.pairs.along(row, columns).along(tap, window.dilation[1]);
                    let pairs = k.load_lanes(at.along(column, window.stride[1]), 1);
                    k.combine(Binary::Sub, start, pairs);
                });
            });
            k.combine(Binary::Sub, start, spoilt);
            let pixel = pixels.of(&[Affine::default(), column.into()]);
            k.store_lanes(start, pixel.clone(), 1);
            k.store_lanes(scale.back, pixel.plus(1usize), 1);
        });
    }
}

/// The channels of a pixel.
struct Channels {
    count: usize,
    /// What each is multiplied with.
    balance: Address,
}

impl Channels {
    /// The quarters side by side, then what is left over: calls `body` with the first channels of what is taken at once.
    fn vectors(&self, k: &mut Builder, mut body: impl FnMut(&mut Builder, &[usize], VectorStep)) {
        let quarter = quarter(self.count);
        k.vectors(quarter, |k, step| body(k, &[0, quarter, 2 * quarter, 3 * quarter], step));
        k.vectors(self.count - 4 * quarter, |k, step| body(k, &[4 * quarter], step));
    }

    /// Elements as they contribute to sums.
    fn balanced(&self, k: &mut Builder, from: &Address, start: usize, step: &VectorStep) -> Reg {
        let x = k.load_lanes(step.at(&from.plus(start)), step.lanes);
        let balance = k.load_lanes(step.at(&self.balance.plus(start)), step.lanes);
        k.mul(x, balance)
    }

    /// Takes the elements into account for a scale.
    fn measure(&self, k: &mut Builder, from: &Address, greatest: &Greatest) {
        self.vectors(k, |k, starts, step| {
            for (&start, &greatest) in starts.iter().zip(greatest.0.iter().cycle()) {
                let x = self.balanced(k, from, start, &step);
                let size = k.unary(Unary::Abs, x);
                k.combine(Binary::Max, greatest, size);
            }
        });
    }

    /// Copies the elements, scaled by `down`; what those that are taken crosswise will add to sums.
    fn scale(&self, k: &mut Builder, from: &Address, to: &Address, down: Reg) -> Reg {
        let pairs = k.register();
        k.assign_constant(pairs, 0.0);
        self.vectors(k, |k, starts, step| {
            let scaled: Vec<Reg> = starts
                .iter()
                .map(|&start| {
                    let x = self.balanced(k, from, start, &step);
                    let x = k.mul(x, down);
                    k.store_lanes(x, step.at(&to.plus(start)), step.lanes);
                    x
                })
                .collect();
            if let [first, second, ..] = scaled[..] {
                k.accumulate(pairs, first, second);
            }
        });
        k.reduce(Binary::Add, pairs)
    }
}

/// The largest absolute values of two sets of elements, in each lane: two, so that one need not wait for the other.
struct Greatest([Reg; 2]);

/// A power of two that brings elements to scale, and its inverse.
struct Scale {
    down: Reg,
    back: Reg,
}

impl Greatest {
    fn new(k: &mut Builder) -> Self {
        Greatest([0, 1].map(|_| {
            let greatest = k.register();
            k.assign_constant(greatest, 0.0);
            greatest
        }))
    }

    /// The largest of all, in every lane.
    fn of_all(self, k: &mut Builder) -> Reg {
        let Greatest([even, odd]) = self;
        let greatest = k.max(even, odd);
        k.reduce(Binary::Max, greatest)
    }
}

impl Scale {
    /// The scale of elements of which the largest is `greatest`.
    fn of(k: &mut Builder, greatest: Reg) -> Self {
        // What is smaller than the smallest normal number counts as zero.
        let least = k.constant(f32::MIN_POSITIVE);
        let most = k.constant(LARGEST_SCALE);
        let clamped = k.max(greatest, least);
        let clamped = k.min(clamped, most);
        let exponent = k.unary(Unary::Exponent, clamped);
        let back = k.unary(Unary::Exp2, exponent);
        let zero = k.constant(0.0);
        let back = k.select(greatest, least, back, zero);
        let down = k.unary(Unary::Neg, exponent);
        let down = k.unary(Unary::Exp2, down);
        Scale { down, back }
    }
}

/// `2^126`: the largest power of two whose inverse is a normal number.
const LARGEST_SCALE: f32 = 8.507_059e37;

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

/// Where a group's packed weights say what elements of the input are multiplied with.
pub(super) fn balance(filter: &PackedFilter, weights: &Address, group: &Affine) -> Address {
    weights.plus(filter.panel_elements() + 2 * filter.bias_elements()).at(group, filter.reduction)
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
            let pixel = k.broadcast(self.pixels.of(pixel));
            k.add(channel, pixel)
        };
        at.pixels.iter().map(start).collect()
    }

    fn finish(&self, k: &mut Builder, at: &Elements, mut sums: Vec<Reg>) {
        let channel = k.load(self.terms.at.plus(self.terms.plane).at(&at.channel, 1usize));
        let starts = self.ends.start(k, at);
        for ((sum, pixel), start) in sums.iter_mut().zip(at.pixels).zip(starts) {
            // Scales first: one may be as large as the other is small.
            let pixel = k.broadcast(self.pixels.of(pixel).plus(1usize));
            let scale = k.mul(channel, pixel);
            *sum = k.fma(*sum, scale, start);
        }
        self.ends.finish(k, at, sums);
    }
}
