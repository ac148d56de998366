//! Winograd convolution F(4×4, 3×3) (Lavin & Gray, 2016, with interpolation points 0, ±1, ±2): 36 multiplications for
//! 16 outputs of a 3×3 filter instead of 144.
//!
//! A grid point takes a block of 4×4 output tiles through three stages that meet in scratch memory: the 6×6 input
//! tiles are transformed, multiplied with the transformed weights as 36 independent matrix products, and transformed
//! back under the epilogue.

use super::Family;
use super::epilogue::{EpilogueBuffers, FusedEpilogue};
use super::product::{Layer, Order, PackedFilter, Product, Region, Tile, WeightType, stretches, sum, uneven};
use super::view::{View, layout_suffix};
use crate::codegen::vector::{Access, Address, Affine, Builder, Kernel, Reg};
use crate::ops::Window;

/// Output rows and columns of a tile.
pub const TILE: usize = 4;

/// Input rows and columns of a tile.
pub const PATCH: usize = 6;

/// Products of one tile.
pub const PRODUCTS: usize = PATCH * PATCH;

/// The filter transform `G`: a filter `g` becomes `G g Gᵀ`.
const FILTER_TRANSFORM: [[f64; 3]; PATCH] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// `G g Gᵀ` of a 3×3 filter, row by row, computed in `f64`.
pub fn transform_filter(filter: &[f32]) -> [f32; PRODUCTS] {
    let mut columns = [[0.0; 3]; PATCH];
    for (row, factors) in columns.iter_mut().zip(&FILTER_TRANSFORM) {
        for (x, value) in row.iter_mut().enumerate() {
            *value = (0..3).map(|y| factors[y] * f64::from(filter[y * 3 + x])).sum();
        }
    }
    std::array::from_fn(|at| {
        let (row, factors) = (&columns[at / PATCH], &FILTER_TRANSFORM[at % PATCH]);
        (0..3).map(|x| factors[x] * row[x]).sum::<f64>() as f32
    })
}

/// A 3×3 convolution of stride 1 by Winograd's method. Weights are packed as [`PackedFilter`] says, with one group for
/// each of the [`PRODUCTS`].
///
/// Buffers: `x`, weights, a bias of zeros for the products, the layer's bias, epilogue operands, `y`, scratch.
/// Grid: image, block of tile rows, block of channels.
#[derive(Clone, PartialEq, Debug)]
pub struct WinogradKernel {
    /// `[n, c, h, w]`, channels contiguous, with a border that [`border`] tells.
    pub x: View,
    /// `[n, o, h', w']`
    pub y: View,
    pub window: Window,
    pub epilogue: FusedEpilogue,
    /// The register tile of the products; one row.
    pub tile: Tile,
    pub order: Order,
    /// Rows of tiles of one grid point.
    pub rows: usize,
    /// Output channels of one grid point.
    pub channels: usize,
}

/// The border that `padding` becomes where a Winograd convolution reads: its last tiles reach beyond the image.
pub fn border(padding: [usize; 4], input: [usize; 2], output: [usize; 2]) -> [usize; 4] {
    let [top, left, _, _] = padding;
    let reach = |axis: usize, before: usize| {
        (output[axis].div_ceil(TILE) * TILE + PATCH - TILE).saturating_sub(before + input[axis])
    };
    [top, left, reach(0, top).max(padding[2]), reach(1, left).max(padding[3])]
}

impl WinogradKernel {
    pub fn packed_filter(&self, lanes: usize) -> PackedFilter {
        PackedFilter {
            groups: PRODUCTS,
            outputs: self.y.dims[1],
            reduction: self.x.dims[1],
            panel_width: self.tile.vectors * lanes,
            weight_type: WeightType::F32,
        }
    }

    /// Multiply-adds of the convolution that it computes, as direct convolution counts them.
    pub fn multiply_adds(&self) -> u64 {
        (self.y.elements() * 9 * self.x.dims[1]) as u64
    }

    /// Tiles in a row of tiles.
    fn columns(&self) -> usize {
        self.y.dims[3].div_ceil(TILE)
    }

    /// The products' operands or results of a block, `[tile][product][channel]`, as an image of one row.
    fn block(&self, channels: usize) -> View {
        let tiles = self.rows * self.columns();
        let strides = vec![0, 1, 0, PRODUCTS * channels];
        View { dims: vec![1, PRODUCTS * channels, 1, tiles], strides, offset: 0 }
    }
}

impl Family for WinogradKernel {
    fn name(&self) -> String {
        let Tile { columns, vectors, .. } = self.tile;
        format!(
            "winograd4x4_{}{}_t{columns}x{vectors}_b{}x{}{}{}",
            super::conv::geometry(&self.x, &self.y, [3, 3], &self.window, 1),
            self.epilogue.suffix(),
            self.rows,
            self.channels,
            self.order.suffix(),
            layout_suffix([&self.x, &self.y]),
        )
    }

    fn build(&self, lanes: usize) -> Kernel {
        let mut k = Builder::new(self.name(), lanes);
        let [images, outputs, height, _] = self.y.dims[..] else { unreachable!("rank 4") };
        let channels = self.x.dims[1];
        let filter = self.packed_filter(lanes);
        let (before, after) = (self.block(channels), self.block(outputs));
        let [_, _, h, w] = self.x.dims[..] else { unreachable!("rank 4") };
        let [_, _, bottom, right] = border(self.window.padding, [h, w], [height, self.y.dims[3]]);
        let reach = self.x.end() + bottom * self.x.strides[2] + right * self.x.strides[3];
        let x = k.buffer("x", Access::Read, reach);
        let weights = k.buffer("weights", Access::Read, filter.elements());
        let zeros = k.buffer("zeros", Access::Read, filter.bias_elements());
        let bias = k.buffer("bias", Access::Read, outputs);
        let epilogue = self.epilogue.declare(&mut k);
        let y = k.buffer("y", Access::Write, self.y.end());
        let scratch = k.buffer("scratch", Access::Scratch, before.end() + after.end() + PRODUCTS * lanes);
        let patch = scratch.clone();
        let before_base = scratch.plus(PRODUCTS * lanes);
        let after_base = before_base.plus(before.end());
        let window = Window::default();
        let no_epilogue = EpilogueBuffers::default();
        let product = Product {
            x: (&before, before_base.clone()),
            weights,
            filter,
            kernel: [1, 1],
            window: &window,
            tile: self.tile,
            order: self.order,
        };
        let stages = Stages {
            kernel: self,
            x: (&self.x, x),
            before: (&before, before_base),
            after: (&after, after_base.clone()),
            y: (&self.y, y),
            bias,
            epilogue: &epilogue,
            patch,
        };
        let image = k.grid(0, images);
        let block = k.grid(1, height.div_ceil(self.rows * TILE));
        let channel_block = k.grid(2, outputs.div_ceil(self.channels));
        uneven(&mut k, block, height, self.rows * TILE, |k, rows| {
            let place =
                Place { image: image.into(), row: Affine::default().along(block, self.rows * TILE), rows };
            stages.transform_input(k, &place);
            uneven(k, channel_block, outputs, self.channels, |k, channels| {
                let first_channel = Affine::default().along(channel_block, self.channels);
                k.repeat(PRODUCTS, |k, index| {
                    let layer = Layer {
                        bias: zeros.at(&index.into(), filter.panels() * filter.panel_width),
                        epilogue: &no_epilogue,
                        y: (&after, after_base.clone()),
                        image: Affine::default(),
                        first_channel: Affine::from(index).times(outputs),
                        origin: Default::default(),
                    };
                    let region = Region {
                        image: Affine::default(),
                        group: index.into(),
                        origin: Default::default(),
                        size: [1, rows.div_ceil(TILE) * self.columns()],
                        first_channel: first_channel.clone(),
                        channels,
                    };
                    product.region(k, &region, &layer);
                });
                stages.transform_output(k, &place, &first_channel, channels);
            });
        });
        k.finish()
    }
}

/// What the transforms of a kernel work on.
struct Stages<'a> {
    kernel: &'a WinogradKernel,
    x: (&'a View, Address),
    before: (&'a View, Address),
    after: (&'a View, Address),
    y: (&'a View, Address),
    bias: Address,
    epilogue: &'a EpilogueBuffers<'a>,
    /// One tile of one vector of channels, between the two passes of a transform.
    patch: Address,
}

/// The output rows of a grid point.
struct Place {
    image: Affine,
    row: Affine,
    rows: usize,
}

impl Stages<'_> {
    /// Calls `body` for each tile of a block: its number in the block, first output row and column counted from the
    /// block's, and the rows and columns of it that are in the image.
    fn tiles(
        &self,
        k: &mut Builder,
        rows: usize,
        mut body: impl FnMut(&mut Builder, &Affine, [Affine; 2], [usize; 2]),
    ) {
        let columns = self.kernel.columns();
        let mut row_of_tiles = |k: &mut Builder, row: Affine, height: usize| {
            stretches(k, self.y.0.dims[3], TILE, |k, column, width| {
                // Coordinates step by whole tiles.
                let number = sum(&row.divided_by(TILE).times(columns), &column.divided_by(TILE));
                body(k, &number, [row.clone(), column], [height, width]);
            });
        };
        stretches(k, rows, TILE, |k, row, height| row_of_tiles(k, row, height));
    }

    fn transform_input(&self, k: &mut Builder, place: &Place) {
        let [top, left, _, _] = self.kernel.window.padding;
        let channels = self.x.0.dims[1];
        self.tiles(k, place.rows, |k, number, [row, column], _| {
            let row = sum(&place.row, &row).plus(-(top as i64));
            let column = column.plus(-(left as i64));
            k.vectors(channels, |k, step| {
                let channel = step.coordinate();
                for j in 0..PATCH {
                    let inputs = std::array::from_fn(|i| {
                        let at = [place.image.clone(), channel.clone(), row.plus(i), column.plus(j)];
                        k.load_lanes(self.x.0.at(&self.x.1, &at), step.lanes)
                    });
                    let transformed = transform_input(k, inputs);
                    self.store_column(k, j, &transformed);
                }
                for i in 0..PATCH {
                    let inputs = self.load_row(k, i);
                    for (j, value) in transform_input(k, inputs).into_iter().enumerate() {
                        let at = self.product(&self.before, number, i * PATCH + j, channels, &channel);
                        k.store_lanes(value, at, step.lanes);
                    }
                }
            });
        });
    }

    fn transform_output(&self, k: &mut Builder, place: &Place, first_channel: &Affine, channels: usize) {
        let outputs = self.y.0.dims[1];
        self.tiles(k, place.rows, |k, number, [row, column], [height, width]| {
            let row = sum(&place.row, &row);
            k.vectors(channels, |k, step| {
                let channel = sum(first_channel, &step.coordinate());
                for j in 0..PATCH {
                    let inputs = std::array::from_fn(|i| {
                        let at = self.product(&self.after, number, i * PATCH + j, outputs, &channel);
                        k.load_lanes(at, step.lanes)
                    });
                    let transformed = transform_output(k, inputs);
                    self.store_column(k, j, &transformed);
                }
                let bias = k.load_lanes(self.bias.at(&channel, 1usize), step.lanes);
                for i in 0..height {
                    let inputs = self.load_row(k, i);
                    for (j, value) in transform_output(k, inputs).into_iter().take(width).enumerate() {
                        let at = [place.image.clone(), channel.clone(), row.plus(i), column.plus(j)];
                        let value = k.add(value, bias);
                        let value = self.epilogue.apply(k, value, &at, 1, step.lanes);
                        k.store_lanes(value, self.y.0.at(&self.y.1, &at), step.lanes);
                    }
                }
            });
        });
    }

    /// Where a block holds one channel of one product of a tile.
    fn product(
        &self,
        (view, base): &(&View, Address),
        tile: &Affine,
        product: usize,
        channels: usize,
        channel: &Affine,
    ) -> Address {
        base.at(tile, view.strides[3]).plus(product * channels).at(channel, 1usize)
    }

    fn store_column(&self, k: &mut Builder, column: usize, values: &[Reg]) {
        for (row, &value) in values.iter().enumerate() {
            k.store(value, self.patch.plus((row * PATCH + column) * k.lanes()));
        }
    }

    fn load_row(&self, k: &mut Builder, row: usize) -> [Reg; PATCH] {
        std::array::from_fn(|column| k.load(self.patch.plus((row * PATCH + column) * k.lanes())))
    }
}

/// `Bᵀ d` of one column.
fn transform_input(k: &mut Builder, d: [Reg; PATCH]) -> [Reg; PATCH] {
    let [two, four, minus_four, minus_five] = [2.0, 4.0, -4.0, -5.0].map(|value| k.constant(value));
    let a = k.fma(minus_four, d[2], d[4]);
    let b = k.fma(minus_four, d[1], d[3]);
    let c = k.sub(d[4], d[2]);
    let e = k.sub(d[3], d[1]);
    let first = k.fma(minus_five, d[2], d[4]);
    let last = k.fma(minus_five, d[3], d[5]);
    let minus_two = k.constant(-2.0);
    [
        k.fma(four, d[0], first),
        k.add(a, b),
        k.sub(a, b),
        k.fma(two, e, c),
        k.fma(minus_two, e, c),
        k.fma(four, d[1], last),
    ]
}

/// `Aᵀ m` of one column.
fn transform_output(k: &mut Builder, m: [Reg; PATCH]) -> [Reg; TILE] {
    let [two, four, eight] = [2.0, 4.0, 8.0].map(|value| k.constant(value));
    let p = k.add(m[1], m[2]);
    let q = k.sub(m[1], m[2]);
    let r = k.add(m[3], m[4]);
    let s = k.sub(m[3], m[4]);
    let first = k.add(m[0], p);
    let last = k.add(q, m[5]);
    [k.add(first, r), k.fma(two, s, q), k.fma(four, r, p), k.fma(eight, s, last)]
}
