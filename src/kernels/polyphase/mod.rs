//! Strided convolution by minimal filtering along rows: F(4, 4) and F(4, 3), for the two phases of seven taps of stride 2,
//! take 13 multiplications for four rows of output instead of 28. Columns are convolved directly.
//!
//! A grid point takes a block of rows of tiles through three stages that meet in scratch memory: rows of input are
//! transformed, element by element; what became of them is convolved at each interpolation point, as a direct
//! convolution whose vertical taps are the phases; and the sums are transformed back under the epilogue.

mod filtering;

pub use filtering::Filtering;

use super::Family;
use super::crossed::{self, Arithmetic, Balance, Pixels, Rows, Terms};
use super::ends::{Elements, Ends};
use super::epilogue::{EpilogueBuffers, FusedEpilogue};
use super::packed::{PackedFilter, WeightType};
use super::product::{Order, Product, Region, Then, Tile, stretches, sum, uneven};
use super::view::{CACHE_LINE, View, layout_suffix};
use crate::codegen::vector::{Access, Address, Affine, Builder, Index, Kernel, Reg};
use crate::ops::Window;

/// A strided convolution by minimal filtering along rows. Weights are packed as [`PhaseFilters`] says.
///
/// Buffers: `x`, weights, bias, epilogue operands, `y`, scratch. Grid: image, block of rows of tiles, block of channels.
#[derive(Clone, PartialEq, Debug)]
pub struct PolyphaseKernel {
    /// `[n, c, h, w]`, channels or columns contiguous, with a border that [`border`] tells.
    pub x: View,
    /// `[n, o, h', w']`, channels contiguous.
    pub y: View,
    pub filtering: Filtering,
    /// Horizontal taps.
    pub width: usize,
    pub window: Window,
    /// Each output channel reads the input channels of its own group.
    pub groups: usize,
    pub epilogue: FusedEpilogue,
    /// Crossed only where [`PolyphaseKernel::may_cross`] says so.
    pub arithmetic: Arithmetic,
    /// The register tile of the products; its rows are rows of tiles.
    pub tile: Tile,
    pub order: Order,
    /// Rows of tiles of one grid point.
    pub rows: usize,
    /// Output channels of each group in one grid point.
    pub channels: usize,
}

/// The layout of packed weights: for each interpolation point a [`PackedFilter`] of its phases and the horizontal taps,
/// `[product][group][panel][phase][kw][c][panel_width]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PhaseFilters {
    pub filtering: Filtering,
    /// Horizontal taps.
    pub width: usize,
    /// Of a point at which all phases have products.
    pub packed: PackedFilter,
}

impl PhaseFilters {
    /// The filter of one point.
    pub fn at(&self, product: usize) -> PackedFilter {
        let reduction = self.packed.reduction / self.filtering.phases() * self.filtering.phases_at(product);
        PackedFilter { reduction, ..self.packed }
    }

    pub fn elements(&self) -> usize {
        (0..self.filtering.products()).map(|product| self.at(product).elements()).sum()
    }
}

/// The border that `padding` becomes where these kernels read: their last tile may reach below the image.
pub fn border(filtering: Filtering, padding: [usize; 4], height: usize, output: usize) -> [usize; 4] {
    let [top, left, bottom, right] = padding;
    let last = (output.next_multiple_of(filtering.outputs) - filtering.outputs) * filtering.stride;
    [top, left, (last + filtering.inputs()).saturating_sub(top + height).max(bottom), right]
}

impl PolyphaseKernel {
    pub fn filters(&self, lanes: usize) -> PhaseFilters {
        let packed = PackedFilter {
            groups: self.groups,
            outputs: self.y.dims[1] / self.groups,
            reduction: self.filtering.phases() * self.width * self.x.dims[1] / self.groups,
            panel_width: self.tile.vectors * lanes,
            weight_type: WeightType::F32,
            arithmetic: self.arithmetic,
        };
        PhaseFilters { filtering: self.filtering, width: self.width, packed }
    }

    /// `[kh, kw]`
    pub fn kernel(&self) -> [usize; 2] {
        [self.filtering.taps, self.width]
    }

    /// Multiply-adds of the convolution that it computes, as direct convolution counts them.
    pub fn multiply_adds(&self) -> u64 {
        let taps = self.filtering.taps * self.width;
        (self.y.elements() * taps * (self.x.dims[1] / self.groups)) as u64
    }

    /// Those of the products.
    pub fn essential_multiply_adds(&self) -> u64 {
        let [n, o, h, w] = self.y.dims[..] else { unreachable!("rank 4") };
        let sums = n * h.div_ceil(self.filtering.outputs) * w * o;
        let channels = self.arithmetic.multiply_adds(self.x.dims[1] / self.groups);
        (sums * self.filtering.multiplications() * self.width * channels) as u64
    }

    /// Columns of the input that are read, those of the padding among them.
    fn columns(&self) -> usize {
        (self.y.dims[3] - 1) * self.window.stride[1] + (self.width - 1) * self.window.dilation[1] + 1
    }

    /// Rows of input in scratch memory: an image for each product, a row for each phase of each row of tiles. Channels lie
    /// as in `x`.
    fn before(&self) -> View {
        let (channels, columns) = (self.x.dims[1], self.columns());
        let dims = [self.filtering.products(), channels, self.rows * self.filtering.phases(), columns];
        if !self.is_planar() {
            return View::channels_last(dims, [0; 4]).spread();
        }
        let row = columns.next_multiple_of(CACHE_LINE);
        View {
            dims: dims.to_vec(),
            strides: vec![dims[2] * channels * row, row, channels * row, 1],
            offset: 0,
        }
    }

    /// How `[rows, columns, channels]` of output are divided: where weights stay in the second-level cache, into register
    /// tiles, whose sums stay in the first-level one; not at all where weights are to be read once.
    fn parts(&self, extents: [usize; 3], lanes: usize) -> Parts {
        let Tile { rows, columns, vectors } = self.tile;
        let steps = match self.order {
            Order::Pixels => [rows * self.filtering.outputs, columns, vectors * lanes],
            Order::Panels => extents,
        };
        Parts { extents, steps }
    }

    /// Sums of a part in scratch memory: an image for each product, a row for each row of tiles.
    fn after(&self, lanes: usize) -> View {
        let outputs = self.filtering.outputs;
        let most = [self.rows * outputs, self.y.dims[3], self.channels.min(self.y.dims[1] / self.groups)];
        let steps = self.parts(most, lanes).steps;
        let [rows, columns, channels] = std::array::from_fn(|axis| steps[axis].min(most[axis]));
        let dims = [self.filtering.products(), channels, rows / outputs, columns];
        View::channels_last(dims, [0; 4]).spread()
    }

    /// Whether its products can be crossed: those of one group of contiguous channels.
    pub fn may_cross(&self) -> bool {
        self.groups == 1 && !self.is_planar()
    }

    fn is_planar(&self) -> bool {
        self.x.strides[3] == 1
    }
}

impl Family for PolyphaseKernel {
    fn name(&self) -> String {
        let Tile { rows, columns, vectors } = self.tile;
        format!(
            "polyphase{}_{}{}{}_t{rows}x{columns}x{vectors}_b{}x{}{}{}",
            self.filtering.outputs,
            super::conv::geometry(&self.x, &self.y, self.kernel(), &self.window, self.groups),
            self.arithmetic.suffix(),
            self.epilogue.suffix(),
            self.rows,
            self.channels,
            self.order.suffix(),
            layout_suffix([&self.x, &self.y]),
        )
    }

    fn build(&self, lanes: usize) -> Kernel {
        debug_assert!(!self.arithmetic.is_crossed() || self.may_cross());
        let mut k = Builder::new(self.name(), lanes);
        let [images, _, height, _] = self.y.dims[..] else { unreachable!("rank 4") };
        let filters = self.filters(lanes);
        let outputs = filters.packed.outputs;
        let (before, after) = (self.before(), self.after(lanes));
        let [_, _, bottom, right] = border(self.filtering, self.window.padding, self.x.dims[2], height);
        let reach = self.x.end() + bottom * self.x.strides[2] + right * self.x.strides[3];
        let x = k.buffer("x", Access::Read, reach);
        let weights = k.buffer("weights", Access::Read, filters.elements());
        let bias = k.buffer("bias", Access::Read, self.y.dims[1]);
        let epilogue = self.epilogue.declare(&mut k);
        let y = k.buffer("y", Access::Write, self.y.end());
        let scratch_before = before.strides[0] * before.dims[0];
        let scratch_after = after.end().next_multiple_of(CACHE_LINE);
        // What crossed products know of each sum's window, and of the pixels of a row of tiles.
        let windows = before.dims[0] * self.rows * self.y.dims[3] * Pixels::EACH;
        let pixels = self.filtering.phases() * before.dims[3];
        let scratch_windows = if self.arithmetic.is_crossed() { windows + pixels } else { 0 };
        let elements = scratch_before + scratch_after + scratch_windows;
        let scratch = k.buffer("scratch", Access::Scratch, elements);
        let windows_base = scratch.plus(scratch_before + scratch_after);
        let stages = Stages {
            kernel: self,
            x: (&self.x, x),
            before: (&before, scratch.clone()),
            after: (&after, scratch.plus(scratch_before)),
            y: (&self.y, y),
            bias,
            epilogue: &epilogue,
            pairs: windows_base.plus(windows),
            windows: windows_base,
        };
        let image = k.grid(0, images);
        let block_height = self.rows * self.filtering.outputs;
        let block = k.grid(1, height.div_ceil(block_height));
        let channel_block = k.grid(2, outputs.div_ceil(self.channels));
        uneven(&mut k, block, height, block_height, |k, rows| {
            let place =
                Place { image: image.into(), row: Affine::default().along(block, block_height), rows };
            stages.transform_input(k, &place);
            if self.arithmetic.is_crossed() {
                stages.scale(k, &place, &filters, &weights);
            }
            k.repeat(self.groups, |k, group| {
                uneven(k, channel_block, outputs, self.channels, |k, channels| {
                    let first_channel = Affine::default().along(channel_block, self.channels);
                    self.parts([rows, self.y.dims[3], channels], lanes).emit(k, |k, mut part| {
                        part.first[2] = sum(&first_channel, &part.first[2]);
                        stages.multiply(k, group, &part, &filters, &weights);
                        stages.transform_output(k, &place, group, &part);
                    });
                });
            });
        });
        k.finish()
    }
}

/// What the stages of a kernel work on.
struct Stages<'a> {
    kernel: &'a PolyphaseKernel,
    x: (&'a View, Address),
    before: (&'a View, Address),
    after: (&'a View, Address),
    y: (&'a View, Address),
    bias: Address,
    epilogue: &'a EpilogueBuffers<'a>,
    /// What crossed products know of each sum's window, `[product, 2, row of tiles, column]`.
    windows: Address,
    /// What they know of each pixel of a row of tiles.
    pairs: Address,
}

/// The output rows of a grid point.
struct Place {
    image: Affine,
    row: Affine,
    rows: usize,
}

/// How the output of a grid point is divided into what is multiplied and then transformed: rows, columns and channels.
struct Parts {
    extents: [usize; 3],
    steps: [usize; 3],
}

/// Rows, columns and channels, counted from a grid point's first row, the first column and a group's first channel.
struct Part {
    first: [Affine; 3],
    extents: [usize; 3],
}

impl Parts {
    fn emit(&self, k: &mut Builder, mut body: impl FnMut(&mut Builder, Part)) {
        let ([rows, columns, channels], steps) = (self.extents, self.steps);
        stretches(k, rows, steps[0], |k, row, rows| {
            stretches(k, columns, steps[1], |k, column, columns| {
                stretches(k, channels, steps[2], |k, channel, channels| {
                    let first = [row.clone(), column.clone(), channel];
                    body(k, Part { first, extents: [rows, columns, channels] });
                });
            });
        });
    }
}

/// The ends of sums that start from zero and go to scratch memory.
struct Sums<'a> {
    y: &'a (&'a View, Address),
    product: Affine,
    /// That of the part.
    first_channel: &'a Affine,
}

impl Ends for Sums<'_> {
    fn finish(&self, k: &mut Builder, at: &Elements, sums: Vec<Reg>) {
        let channel = sum(&at.channel, &self.first_channel.times(-1i64));
        for ([row, column], value) in at.pixels.iter().zip(sums) {
            let at_y = [self.product.clone(), channel.clone(), row.clone(), column.clone()];
            k.store_lanes(value, self.y.0.at(&self.y.1, &at_y), at.lanes);
        }
    }
}

impl Stages<'_> {
    fn transform_input(&self, k: &mut Builder, place: &Place) {
        let PolyphaseKernel { filtering, ref window, .. } = *self.kernel;
        let [top, left, _, _] = window.padding;
        let longest = filtering.phases_at(filtering.products() - 1);
        let tile_rows = place.rows.div_ceil(filtering.outputs);
        k.repeat(tile_rows, |k, tile_row| {
            let first = place.row.times(filtering.stride).plus(-(top as i64));
            let first = first.along(tile_row, filtering.outputs * filtering.stride);
            for (start, count) in [(0, longest), (longest, filtering.phases() - longest)] {
                k.repeat(count, |k, phase| {
                    let products = filtering.products_of(start);
                    let row = first.along(phase, 1usize).plus(start);
                    let slot = Affine::from(phase).plus(start).along(tile_row, filtering.phases());
                    self.elements(k, |k, channel, column, lanes| {
                        let input = |k: &mut Builder, i: usize| {
                            let row = row.plus(i * filtering.stride);
                            let at = [place.image.clone(), channel.clone(), row, column.plus(-(left as i64))];
                            k.load_lanes(self.x.0.at(&self.x.1, &at), lanes)
                        };
                        let inputs: Vec<Reg> = (0..products).map(|i| input(k, i)).collect();
                        for (product, value) in filtering.input(k, &inputs).into_iter().enumerate() {
                            let product = Affine::constant(product);
                            let at = [product, channel.clone(), slot.clone(), column.clone()];
                            k.store_lanes(value, self.before.0.at(&self.before.1, &at), lanes);
                        }
                    });
                });
            }
        });
    }

    /// Calls `body` for each vector of a row of the input: its first element's channel and column, and its lanes.
    fn elements(&self, k: &mut Builder, mut body: impl FnMut(&mut Builder, &Affine, &Affine, usize)) {
        let (channels, columns) = (self.x.0.dims[1], self.kernel.columns());
        let none = Affine::default();
        if self.kernel.is_planar() {
            k.repeat(channels, |k, channel| {
                k.vectors(columns, |k, step| body(k, &channel.into(), &step.coordinate(), step.lanes));
            });
        } else if [self.x.0, self.before.0].iter().all(|view| view.strides[3] == channels) {
            // Pixels follow one another: a row is one run.
            k.vectors(columns * channels, |k, step| body(k, &step.coordinate(), &none, step.lanes));
        } else {
            k.repeat(columns, |k, column| {
                k.vectors(channels, |k, step| body(k, &step.coordinate(), &column.into(), step.lanes));
            });
        }
    }

    /// What crossed products know of the windows of a product.
    fn windows(&self, product: &Affine) -> Pixels {
        let size = [self.kernel.rows, self.y.0.dims[3]];
        let elements = size.iter().product::<usize>() * Pixels::EACH;
        Pixels::new(self.windows.at(product, elements), size)
    }

    /// Brings the rows of each product and row of tiles to one scale.
    fn scale(&self, k: &mut Builder, place: &Place, filters: &PhaseFilters, weights: &Address) {
        let PolyphaseKernel { filtering, width, ref window, .. } = *self.kernel;
        let (view, base) = &self.before;
        let tile_rows = place.rows.div_ceil(filtering.outputs);
        let rows_of = |k: &mut Builder, product: Affine, phases: usize, filter: PackedFilter| {
            let weights = weights.at(&product, filters.packed.elements());
            let balance = Balance::of(&filter, &weights, &Affine::default());
            let phase = filter.reduction / phases;
            k.repeat(tile_rows, |k, tile_row| {
                let slot = Affine::default().along(tile_row, filtering.phases());
                let first = [product.clone(), Affine::default(), slot, Affine::default()];
                let first = view.at(base, &first);
                let balance = (balance.clone(), phase);
                let rows = Rows { view, first, pairs: self.pairs.clone(), balance };
                let windows = self.windows(&product).from(&[tile_row.into(), Affine::default()]);
                rows.scale(k, [phases, width], window, &windows);
            });
        };
        let last = filtering.products() - 1;
        k.repeat(last, |k, product| rows_of(k, product.into(), filtering.phases(), filters.packed));
        rows_of(k, Affine::constant(last), filtering.phases_at(last), filters.at(last));
    }

    /// Convolves what has become of the input, at each point.
    fn multiply(
        &self,
        k: &mut Builder,
        group: Index,
        part: &Part,
        filters: &PhaseFilters,
        weights: &Address,
    ) {
        let PolyphaseKernel { filtering, width, ref window, tile, order, .. } = *self.kernel;
        let [row, column, first_channel] = &part.first;
        let [rows, columns, channels] = part.extents;
        let window = Window {
            stride: [filtering.phases(), window.stride[1]],
            padding: [0; 4],
            dilation: [1, window.dilation[1]],
        };
        // Coordinates step by whole tiles.
        let tile_row = row.divided_by(filtering.outputs);
        let at = |k: &mut Builder, product: Affine, phases: usize, filter: PackedFilter| {
            let region = Region {
                image: product.clone(),
                group: group.into(),
                origin: [tile_row.times(window.stride[0]), column.times(window.stride[1])],
                size: [rows.div_ceil(filtering.outputs), columns],
                first_channel: first_channel.clone(),
                channels,
            };
            let weights = weights.at(&product, filters.packed.elements());
            let matrices = Product {
                x: (self.before.0, self.before.1.clone()),
                weights: weights.clone(),
                filter,
                kernel: [phases, width],
                window: &window,
                tile,
                order,
                then: Then::NextGroup,
                next_input: None,
            };
            let terms = Terms::of(&filter, &weights, &group.into());
            let windows = self.windows(&product).from(&[tile_row.clone(), column.clone()]);
            let ends = Sums { y: &self.after, product, first_channel };
            crossed::region(&matrices, k, &region, ends, terms.map(|terms| (terms, &windows)));
        };
        let last = filtering.products() - 1;
        k.repeat(last, |k, product| at(k, product.into(), filtering.phases(), filters.packed));
        at(k, Affine::constant(last), filtering.phases_at(last), filters.at(last));
    }

    fn transform_output(&self, k: &mut Builder, place: &Place, group: Index, part: &Part) {
        let filtering = self.kernel.filtering;
        let outputs = self.y.0.dims[1] / self.kernel.groups;
        let [first_row, first_column, first_channel] = &part.first;
        let [rows, columns, channels] = part.extents;
        let row_of_tiles = |k: &mut Builder, row: Affine, count: usize| {
            let tile_row = row.divided_by(filtering.outputs);
            let row = sum(&sum(&place.row, first_row), &row);
            k.repeat(columns, |k, column| {
                k.vectors(channels, |k, step| {
                    let channel = step.coordinate();
                    let sums: Vec<Reg> = (0..filtering.products())
                        .map(|product| {
                            let product = Affine::constant(product);
                            let at = [product, channel.clone(), tile_row.clone(), column.into()];
                            k.load_lanes(self.after.0.at(&self.after.1, &at), step.lanes)
                        })
                        .collect();
                    let channel = sum(first_channel, &channel).along(group, outputs);
                    let column = first_column.along(column, 1usize);
                    let bias = k.load_lanes(self.bias.at(&channel, 1usize), step.lanes);
                    for (i, value) in filtering.output(k, &sums, count).into_iter().enumerate() {
                        let at = [place.image.clone(), channel.clone(), row.plus(i), column.clone()];
                        let value = k.add(value, bias);
                        let value = self.epilogue.apply(k, value, &at, 1, step.lanes);
                        k.store_lanes(value, self.y.0.at(&self.y.1, &at), step.lanes);
                    }
                });
            });
        };
        stretches(k, rows, filtering.outputs, row_of_tiles);
    }
}
