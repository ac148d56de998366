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
//! crosswise, the others as they are: three multiply-adds and two additions instead of four multiply-adds, since a core
//! that has two units of each kind and issues five vector operations in the time of three multiply-adds is busiest so.
//!
//! Sums of squares come and go in the accumulators, so rounding is as small as without them where input and weights are
//! of one magnitude. Hence both are brought there by powers of two, which are exact: each output channel's weights when
//! they are packed, each pixel while it is copied to scratch memory.

use serde::{Deserialize, Serialize};

use super::packed::PackedFilter;
use super::product::{Element, Ends};
use super::view::{CACHE_LINE, View};
use crate::codegen::vector::{Address, Affine, Binary, Builder, Reg, Unary, VectorStep};

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

/// What is known of a pixel: what its sums start from, and the scale that they are brought back to.
pub(super) const PER_PIXEL: usize = 2;

/// Pixels in scratch memory, each scaled by a power of two such that its largest element lies in `[1, 2)`.
pub(super) struct Operand {
    /// `[1, c, h, w]`
    view: View,
    base: Address,
    pixels: Address,
}

impl Operand {
    /// The view of `rows` of `columns` pixels in scratch memory.
    pub fn view(channels: usize, rows: usize, columns: usize) -> View {
        View::channels_last([1, channels, rows, columns], [0; 4]).spread()
    }

    /// Elements of scratch memory for the pixels of such a view.
    pub fn elements(view: &View) -> usize {
        let [_, _, rows, columns] = view.dims[..] else { unreachable!("rank 4") };
        view.end().next_multiple_of(CACHE_LINE) + PER_PIXEL * rows * columns
    }

    /// Pixels that lie, or will lie, where the view says, in scratch memory from `base` on.
    pub fn new(view: View, base: Address) -> Self {
        let pixels = base.plus(view.end().next_multiple_of(CACHE_LINE));
        Operand { view, base, pixels }
    }

    /// The same with `[h, w, 2]` elements of scratch memory elsewhere for what is known of each pixel.
    pub fn with_pixels(view: View, base: Address, pixels: Address) -> Self {
        Operand { view, base, pixels }
    }

    /// The scaled pixels.
    pub fn x(&self) -> (&View, Address) {
        (&self.view, self.base.clone())
    }

    /// Scales the pixels themselves.
    pub fn scale(&self, k: &mut Builder, size: [usize; 2]) {
        let [_, _, row, column] = self.view.strides[..] else { unreachable!("rank 4") };
        self.take(k, &self.base, [row, column], size);
    }

    /// Takes `size` pixels from `x` on, whose channels are contiguous, at the strides of rows and columns.
    pub fn take(&self, k: &mut Builder, x: &Address, strides: [usize; 2], size: [usize; 2]) {
        let [_, channels, _, columns] = self.view.dims[..] else { unreachable!("rank 4") };
        k.repeat(size[0], |k, row| {
            k.repeat(size[1], |k, column| {
                let from = x.along(row, strides[0]).along(column, strides[1]);
                let to = self.base.along(row, self.view.strides[2]).along(column, self.view.strides[3]);
                let pixel = self.pixels.along(row, PER_PIXEL * columns).along(column, PER_PIXEL);
                scale_pixel(k, channels, &from, &to, &pixel);
            });
        });
    }

    /// Where a pixel's own figures lie.
    fn pixel(&self, pixel: &[Affine; 2]) -> Address {
        self.pixels.at(&pixel[0], PER_PIXEL * self.view.dims[3]).at(&pixel[1], PER_PIXEL)
    }
}

/// Copies a pixel's channels to scale, then what its sums start from and what brings them back.
fn scale_pixel(k: &mut Builder, channels: usize, from: &Address, to: &Address, pixel: &Address) {
    let quarter = quarter(channels);
    // The quarters side by side, then what is left over.
    let vectors = |k: &mut Builder, body: &mut dyn FnMut(&mut Builder, &[usize], VectorStep)| {
        k.vectors(quarter, |k, step| body(k, &[0, quarter, 2 * quarter, 3 * quarter], step));
        k.vectors(channels - 4 * quarter, |k, step| body(k, &[4 * quarter], step));
    };
    let [even, odd] = [0, 1].map(|_| {
        let greatest = k.register();
        k.assign_constant(greatest, 0.0);
        greatest
    });
    vectors(k, &mut |k, starts, step| {
        for (&start, greatest) in starts.iter().zip([even, odd].into_iter().cycle()) {
            let x = k.load_lanes(step.at(&from.plus(start)), step.lanes);
            let size = k.unary(Unary::Abs, x);
            k.combine(Binary::Max, greatest, size);
        }
    });
    let greatest = k.max(even, odd);
    let greatest = k.reduce(Binary::Max, greatest);
    // What is smaller than the smallest normal number counts as zero; infinities stay what they are.
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
    let squares = k.register();
    k.assign_constant(squares, 0.0);
    vectors(k, &mut |k, starts, step| {
        let scaled: Vec<Reg> = starts
            .iter()
            .map(|&start| {
                let x = k.load_lanes(step.at(&from.plus(start)), step.lanes);
                let x = k.mul(x, down);
                k.store_lanes(x, step.at(&to.plus(start)), step.lanes);
                x
            })
            .collect();
        if let [first, second, ..] = scaled[..] {
            k.accumulate(squares, first, second);
        }
    });
    let squares = k.reduce(Binary::Add, squares);
    let start = k.unary(Unary::Neg, squares);
    k.store_lanes(start, pixel.clone(), 1);
    k.store_lanes(back, pixel.plus(1usize), 1);
}

/// `2^126`: the largest power of two whose inverse is a normal number.
const LARGEST_SCALE: f32 = 8.507_059_2e37;

/// The ends of crossed products: sums start from what the squares will add, and go back to the scale of the ends that
/// they stand for, whose own start is added then.
pub(super) struct Rescaled<'a, E> {
    pub ends: E,
    pub operand: &'a Operand,
    pub terms: Terms,
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
        (filter.arithmetic == Arithmetic::Crossed).then_some(Terms { at, plane })
    }
}

impl<E: Ends> Ends for Rescaled<'_, E> {
    fn bring_nearer(&self, k: &mut Builder, at: &Element) {
        self.ends.bring_nearer(k, at);
    }

    fn start(&self, k: &mut Builder, at: &Element) -> Reg {
        let pixel = k.broadcast(self.operand.pixel(&at.pixel));
        let channel = k.load(self.terms.at.at(&at.channel, 1usize));
        k.sub(pixel, channel)
    }

    fn finish(&self, k: &mut Builder, at: &Element, value: Reg) {
        let pixel = k.broadcast(self.operand.pixel(&at.pixel).plus(1usize));
        let value = k.mul(value, pixel);
        let channel = k.load(self.terms.at.plus(self.terms.plane).at(&at.channel, 1usize));
        let start = self.ends.start(k, at);
        let value = k.fma(value, channel, start);
        self.ends.finish(k, at, value);
    }
}
