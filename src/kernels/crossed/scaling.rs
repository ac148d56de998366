//! Pixels brought to scale by powers of two, for products that are crossed.

use super::{Blocks, Crossing, Pixels};
use crate::codegen::vector::{Address, Affine, Binary, Builder, Index, Reg, Unary, VectorStep};
use crate::kernels::packed::PackedFilter;
use crate::kernels::view::{CACHE_LINE, View};
use crate::ops::Window;

/// Pixels in scratch memory, each scaled by a power of two such that its largest element lies in `[1, 2)`, or as near to
/// that as powers with normal inverses bring it.
pub(in crate::kernels) struct Operand {
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
        let pixels = Pixels::new(pixels, [view.dims[2], view.dims[3]]);
        Operand { view, base, pixels }
    }

    /// The scaled pixels.
    pub fn x(&self) -> (&View, Address) {
        (&self.view, self.base.clone())
    }

    /// Scales the pixels themselves, channels as `balance` says.
    pub fn scale(&self, k: &mut Builder, balance: &Balance, size: [usize; 2]) {
        let [_, _, row, column] = self.view.strides[..] else { unreachable!("rank 4") };
        self.take(k, &self.base, [row, column], balance, size);
    }

    /// Takes `size` pixels from `x` on, whose channels are contiguous, at the strides of rows and columns.
    pub fn take(
        &self,
        k: &mut Builder,
        x: &Address,
        strides: [usize; 2],
        balance: &Balance,
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
                    k.store_lanes(greatest, self.pixels.start(&[row.into(), column(pixel)]), 1);
                });
                let first = [row.into(), Affine::default().along(group, together)];
                let [start, back] = [self.pixels.start(&first), self.pixels.back(&first)];
                k.vectors(together, |k, step| {
                    let greatest = k.load_lanes(step.at(&start), step.lanes);
                    let scale = Scale::of(k, greatest);
                    k.store_lanes(scale.down, step.at(&start), step.lanes);
                    k.store_lanes(scale.back, step.at(&back), step.lanes);
                });
                k.repeat(together, |k, pixel| {
                    let to =
                        self.base.along(row, self.view.strides[2]).at(&column(pixel), self.view.strides[3]);
                    let from = from.along(pixel, strides[1]);
                    let pixel = self.pixels.start(&[row.into(), column(pixel)]);
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
pub(in crate::kernels) struct Rows<'a> {
    /// `[_, c, h, w]`
    pub view: &'a View,
    /// The first pixel.
    pub first: Address,
    /// For each pixel the sum of the products of its own elements: as many elements of scratch memory as there are pixels.
    pub pairs: Address,
    /// What the first row's channels are multiplied with, and how many elements there are from there to the next row's.
    pub balance: (Balance, usize),
}

impl Rows<'_> {
    /// Scales the pixels under windows of all rows, and notes for each window in `pixels` what its sums start from.
    pub fn scale(&self, k: &mut Builder, [rows, width]: [usize; 2], window: &Window, pixels: &Pixels) {
        let channels = |row: Index| {
            let (Balance { at, crossing }, stride) = &self.balance;
            let balance = Balance { at: at.along(row, *stride), crossing: *crossing };
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
            let pixel = [Affine::default(), column.into()];
            k.store_lanes(start, pixels.start(&pixel), 1);
            k.store_lanes(scale.back, pixels.back(&pixel), 1);
        });
    }
}

/// The channels of a pixel.
struct Channels {
    count: usize,
    balance: Balance,
}

impl Channels {
    /// The parts of each block side by side where they are long, then what is left over: calls `body` with the first
    /// channels of what is taken at once.
    fn vectors(&self, k: &mut Builder, mut body: impl FnMut(&mut Builder, &[Affine], VectorStep)) {
        let parts = self.balance.crossing.parts();
        let mut rest = 0;
        let blocks = self.balance.crossing.blocks(self.count);
        for Blocks { first, count, part } in blocks.into_iter().filter(|blocks| !blocks.are_short()) {
            k.repeat(count, |k, block| {
                let start = |at: usize| Affine::constant(first + at * part).along(block, parts * part);
                let starts: Vec<Affine> = (0..parts).map(start).collect();
                k.vectors(part, |k, step| body(k, &starts, step));
            });
            rest = first + count * parts * part;
        }
        k.vectors(self.count - rest, |k, step| body(k, &[Affine::constant(rest)], step));
    }

    /// Elements as they contribute to sums.
    fn balanced(&self, k: &mut Builder, from: &Address, start: &Affine, step: &VectorStep) -> Reg {
        let x = k.load_lanes(step.at(&from.at(start, 1usize)), step.lanes);
        let balance = k.load_lanes(step.at(&self.balance.at.at(start, 1usize)), step.lanes);
        k.mul(x, balance)
    }

    /// Takes the elements into account for a scale.
    fn measure(&self, k: &mut Builder, from: &Address, greatest: &Greatest) {
        self.vectors(k, |k, starts, step| {
            for (start, &greatest) in starts.iter().zip(greatest.0.iter().cycle()) {
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
        let [_, last] = self.balance.crossing.blocks(self.count);
        if last.are_short() {
            // Before anything is stored, since its parts lie within what is copied at a time.
            k.vectors(last.part, |k, step| {
                let [first, second] = [0, last.part].map(|part| {
                    let x = self.balanced(k, from, &Affine::constant(last.first + part), &step);
                    k.mul(x, down)
                });
                k.accumulate(pairs, first, second);
            });
        }
        self.vectors(k, |k, starts, step| {
            let scaled: Vec<Reg> = starts
                .iter()
                .map(|start| {
                    let x = self.balanced(k, from, start, &step);
                    k.mul(x, down)
                })
                .collect();
            // Only now, since what is stored may lie beside what was loaded.
            for (&x, start) in scaled.iter().zip(starts) {
                k.store_lanes(x, step.at(&to.at(start, 1usize)), step.lanes);
            }
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

/// What elements of the input are multiplied with, channel by channel, before they are crossed.
#[derive(Clone)]
pub(in crate::kernels) struct Balance {
    at: Address,
    crossing: Crossing,
}

impl Balance {
    /// That of a group in packed weights.
    ///
    /// # Panics
    /// If its products are not crossed.
    pub fn of(filter: &PackedFilter, weights: &Address, group: &Affine) -> Self {
        let at =
            weights.plus(filter.panel_elements() + 2 * filter.bias_elements()).at(group, filter.reduction);
        Balance { at, crossing: filter.arithmetic.crossing().expect("crossed products") }
    }
}
