//! Winograd convolution (Lavin & Gray, 2016). F(4×4, 3×3) takes 36 multiplications for 16 outputs of a 3×3 filter
//! instead of 144, with weights four times the size; F(2×2, 3×3) takes 16 for 4 instead of 36, with weights 16/9 the
//! size; F(2×2, 5×5) takes 36 for 4 instead of 100, with weights 36/25 the size.
//!
//! A grid point takes a block of output tiles through three stages that meet in scratch memory: the tiles' input is
//! transformed, multiplied with the transformed weights as independent matrix products, one for each multiplication of a
//! tile, and transformed back under the epilogue.

mod transform;

pub use transform::{FilterTransform, Method, Transform};

use super::Family;
use super::epilogue::{EpilogueBuffers, FusedEpilogue};
use super::product::{
    Layer, Order, PackedFilter, Product, Region, Then, Tile, WeightType, stretches, sum, uneven,
};
use super::view::{CACHE_LINE, View, layout_suffix};
use crate::codegen::vector::{Access, Address, Affine, Builder, Index, Kernel, Reg};
use crate::ops::Window;

/// A convolution of stride 1 by Winograd's method. Weights are packed as [`PackedFilter`] says, each of the layer's
/// groups as one for each of the method's products.
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
    /// Each output channel reads the input channels of its own group.
    pub groups: usize,
    pub epilogue: FusedEpilogue,
    pub method: Method,
    /// The register tile of the products; one row.
    pub tile: Tile,
    pub order: Order,
    /// Rows of tiles of one grid point.
    pub rows: usize,
    /// Output channels of each group in one grid point.
    pub channels: usize,
}

/// The border that `padding` becomes where a Winograd convolution reads: its last tiles reach beyond the image.
pub fn border(method: Method, padding: [usize; 4], input: [usize; 2], output: [usize; 2]) -> [usize; 4] {
    let [top, left, _, _] = padding;
    let reach = |axis: usize, before: usize| {
        let needed = output[axis].next_multiple_of(method.tile()[axis]) + method.kernel()[axis] - 1;
        needed.saturating_sub(before + input[axis])
    };
    [top, left, reach(0, top).max(padding[2]), reach(1, left).max(padding[3])]
}

impl WinogradKernel {
    pub fn packed_filter(&self, lanes: usize) -> PackedFilter {
        PackedFilter {
            groups: self.groups * self.method.products(),
            outputs: self.y.dims[1] / self.groups,
            reduction: self.x.dims[1] / self.groups,
            panel_width: self.tile.vectors * lanes,
            weight_type: WeightType::F32,
        }
    }

    /// How many zeros the products start from: as many as a group's outputs, in whole panels.
    pub fn zeros(&self, lanes: usize) -> usize {
        let filter = self.packed_filter(lanes);
        filter.panels() * filter.panel_width
    }

    /// Multiply-adds of the convolution that it computes, as direct convolution counts them.
    pub fn multiply_adds(&self) -> u64 {
        let [height, width] = self.method.kernel();
        (self.y.elements() * height * width * (self.x.dims[1] / self.groups)) as u64
    }

    /// Tiles in a row of tiles.
    fn columns(&self) -> usize {
        self.y.dims[3].div_ceil(self.method.columns.outputs())
    }

    /// The products' operands or results of a block, `[tile][product][channel]`, as an image of one row. Tiles lie an odd
    /// number of cache lines apart: a register tile reads one channel of many of them at once, and a first-level cache
    /// holds only a few lines at a distance of whole pages.
    fn block(&self, channels: usize) -> View {
        let all = self.method.products() * channels;
        let lines = all.div_ceil(CACHE_LINE) | 1;
        let tiles = self.rows * self.columns();
        View { dims: vec![1, all, 1, tiles], strides: vec![0, 1, 0, lines * CACHE_LINE], offset: 0 }
    }
}

impl Family for WinogradKernel {
    fn name(&self) -> String {
        let Tile { columns, vectors, .. } = self.tile;
        format!(
            "winograd{}x{}_{}{}_t{columns}x{vectors}_b{}x{}{}{}",
            self.method.rows.outputs(),
            self.method.columns.outputs(),
            super::conv::geometry(&self.x, &self.y, self.method.kernel(), &self.window, self.groups),
            self.epilogue.suffix(),
            self.rows,
            self.channels,
            self.order.suffix(),
            layout_suffix([&self.x, &self.y]),
        )
    }

    fn build(&self, lanes: usize) -> Kernel {
        let mut k = Builder::new(self.name(), lanes);
        let [images, _, height, _] = self.y.dims[..] else { unreachable!("rank 4") };
        let filter = self.packed_filter(lanes);
        let PackedFilter { reduction: channels, outputs, .. } = filter;
        let (before, after) = (self.block(channels), self.block(outputs));
        let [_, _, h, w] = self.x.dims[..] else { unreachable!("rank 4") };
        let [_, _, bottom, right] =
            border(self.method, self.window.padding, [h, w], [height, self.y.dims[3]]);
        let reach = self.x.end() + bottom * self.x.strides[2] + right * self.x.strides[3];
        let x = k.buffer("x", Access::Read, reach);
        let weights = k.buffer("weights", Access::Read, filter.elements());
        let zeros = k.buffer("zeros", Access::Read, self.zeros(lanes));
        let bias = k.buffer("bias", Access::Read, self.y.dims[1]);
        let epilogue = self.epilogue.declare(&mut k);
        let y = k.buffer("y", Access::Write, self.y.end());
        let products = self.method.products();
        let scratch = k.buffer("scratch", Access::Scratch, before.end() + after.end() + products * lanes);
        let patch = scratch.clone();
        let before_base = scratch.plus(products * lanes);
        let after_base = before_base.plus(before.end());
        let window = Window::default();
        let no_epilogue = EpilogueBuffers::default();
        let stages = Stages {
            kernel: self,
            x: (&self.x, x),
            before: (&before, before_base.clone()),
            after: (&after, after_base.clone()),
            y: (&self.y, y),
            bias,
            epilogue: &epilogue,
            patch,
        };
        let image = k.grid(0, images);
        let tile_height = self.method.rows.outputs();
        let block_height = self.rows * tile_height;
        let block = k.grid(1, height.div_ceil(block_height));
        let channel_block = k.grid(2, outputs.div_ceil(self.channels));
        uneven(&mut k, block, height, block_height, |k, rows| {
            let place =
                Place { image: image.into(), row: Affine::default().along(block, block_height), rows };
            k.repeat(self.groups, |k, group| {
                stages.transform_input(k, &place, group);
                uneven(k, channel_block, outputs, self.channels, |k, channels| {
                    let first_channel = Affine::default().along(channel_block, self.channels);
                    let weights = weights.along(group, filter.elements() / self.groups);
                    let product = Product {
                        x: (&before, before_base.clone()),
                        weights,
                        filter,
                        kernel: [1, 1],
                        window: &window,
                        tile: self.tile,
                        order: self.order,
                        then: Then::NextGroup,
                        next_input: None,
                    };
                    k.repeat(products, |k, index| {
                        let layer = Layer {
                            bias: zeros.clone(),
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
                            size: [1, rows.div_ceil(tile_height) * self.columns()],
                            first_channel: first_channel.clone(),
                            channels,
                        };
                        product.region(k, &region, &layer);
                    });
                    stages.transform_output(k, &place, group, &first_channel, channels);
                });
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
        let [tile_height, tile_width] = self.kernel.method.tile();
        let mut row_of_tiles = |k: &mut Builder, row: Affine, height: usize| {
            stretches(k, self.y.0.dims[3], tile_width, |k, column, width| {
                // Coordinates step by whole tiles.
                let number = sum(&row.divided_by(tile_height).times(columns), &column.divided_by(tile_width));
                body(k, &number, [row.clone(), column], [height, width]);
            });
        };
        stretches(k, rows, tile_height, |k, row, height| row_of_tiles(k, row, height));
    }

    fn transform_input(&self, k: &mut Builder, place: &Place, group: Index) {
        let [top, left, _, _] = self.kernel.window.padding;
        let channels = self.x.0.dims[1] / self.kernel.groups;
        let Method { rows, columns } = self.kernel.method;
        let [height, width] = self.kernel.method.patch();
        self.tiles(k, place.rows, |k, number, [row, column], _| {
            let row = sum(&place.row, &row).plus(-(top as i64));
            let column = column.plus(-(left as i64));
            k.vectors(channels, |k, step| {
                let channel = step.coordinate();
                for j in 0..width {
                    let inputs: Vec<Reg> = (0..height)
                        .map(|i| {
                            let channel = channel.along(group, channels);
                            let at = [place.image.clone(), channel, row.plus(i), column.plus(j)];
                            k.load_lanes(self.x.0.at(&self.x.1, &at), step.lanes)
                        })
                        .collect();
                    let transformed = rows.input(k, &inputs);
                    self.store_column(k, j, &transformed);
                }
                for i in 0..height {
                    let inputs = self.load_row(k, i);
                    for (j, value) in columns.input(k, &inputs).into_iter().enumerate() {
                        let at = self.product(&self.before, number, i * width + j, channels, &channel);
                        k.store_lanes(value, at, step.lanes);
                    }
                }
            });
        });
    }

    /// Transforms `channels` of a group, counted from `first_channel` there.
    fn transform_output(
        &self,
        k: &mut Builder,
        place: &Place,
        group: Index,
        first_channel: &Affine,
        channels: usize,
    ) {
        let outputs = self.y.0.dims[1] / self.kernel.groups;
        let Method { rows, columns } = self.kernel.method;
        let [patch_height, patch_width] = self.kernel.method.patch();
        self.tiles(k, place.rows, |k, number, [row, column], [height, width]| {
            let row = sum(&place.row, &row);
            k.vectors(channels, |k, step| {
                let channel = sum(first_channel, &step.coordinate());
                for j in 0..patch_width {
                    let inputs: Vec<Reg> = (0..patch_height)
                        .map(|i| {
                            let at =
                                self.product(&self.after, number, i * patch_width + j, outputs, &channel);
                            k.load_lanes(at, step.lanes)
                        })
                        .collect();
                    let transformed = rows.output(k, &inputs);
                    self.store_column(k, j, &transformed);
                }
                let channel = channel.along(group, outputs);
                let bias = k.load_lanes(self.bias.at(&channel, 1usize), step.lanes);
                for i in 0..height {
                    let inputs = self.load_row(k, i);
                    for (j, value) in columns.output(k, &inputs).into_iter().take(width).enumerate() {
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
        let width = self.kernel.method.columns.inputs();
        for (row, &value) in values.iter().enumerate() {
            k.store(value, self.patch.plus((row * width + column) * k.lanes()));
        }
    }

    fn load_row(&self, k: &mut Builder, row: usize) -> Vec<Reg> {
        let width = self.kernel.method.columns.inputs();
        (0..width).map(|column| k.load(self.patch.plus((row * width + column) * k.lanes()))).collect()
    }
}
