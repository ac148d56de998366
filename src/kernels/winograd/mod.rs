//! Winograd convolution (Lavin & Gray, 2016). F(4×4, 3×3) takes 36 multiplications for 16 outputs of a 3×3 filter
//! instead of 144, with weights four times the size; F(2×2, 3×3) takes 16 for 4 instead of 36, with weights 16/9 the
//! size; F(2×2, 5×5) takes 36 for 4 instead of 100, with weights 36/25 the size.
//!
//! A grid point takes a block of output tiles through three stages that meet in scratch memory: the tiles' input is
//! transformed, multiplied with the transformed weights as independent matrix products, one for each multiplication of a
//! tile, and transformed back under the epilogue. Weights are transformed when they are packed, or in registers each time
//! they are multiplied with ([`Filters`]).

mod in_registers;
mod transform;

pub use transform::{FilterTransform, Method, Transform};

use serde::{Deserialize, Serialize};

use super::Family;
use super::crossed::{self, Arithmetic, Balance, Operand, Pixels, Terms};
use super::ends::{Elements, Ends};
use super::epilogue::{EpilogueBuffers, FusedEpilogue};
use super::packed::{PackedFilter, WeightType};
use super::product::{Order, Product, Region, Then, Tile, stretches, sum, uneven};
use super::view::{CACHE_LINE, View, layout_suffix};
use crate::codegen::vector::{Access, Address, Affine, Builder, Index, Kernel, Reg};
use crate::ops::Window;

/// Where filters are transformed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Filters {
    /// When weights are packed: they are as many as the products.
    Packed,
    /// In registers, each time they are multiplied with. Weights stay as small as they are, in return for additions
    /// beside the multiply-adds. `depth` channels at a time are multiplied with all tiles of a block.
    InRegisters { depth: usize },
}

/// A convolution of stride 1 by Winograd's method. Weights are packed as [`PackedFilter`] says: transformed ones as a
/// group for each of the method's products, others with a filter's elements innermost in the reduction.
///
/// Buffers: `x`, weights, bias, epilogue operands, `y`, scratch.
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
    pub filters: Filters,
    /// Crossed only with filters that are transformed when they are packed.
    pub arithmetic: Arithmetic,
    /// The register tile of the products: one row of as many tiles of the image as columns. With filters transformed in
    /// registers, one vector of all products of a tile's row.
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
        let channels = self.x.dims[1] / self.groups;
        let [height, width] = self.method.kernel();
        let (groups, reduction) = match self.filters {
            Filters::Packed => (self.groups * self.method.products(), channels),
            Filters::InRegisters { .. } => (self.groups, height * width * channels),
        };
        PackedFilter {
            groups,
            outputs: self.y.dims[1] / self.groups,
            reduction,
            panel_width: self.tile.vectors * lanes,
            weight_type: WeightType::F32,
            arithmetic: self.arithmetic,
        }
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

    /// The products' operands of a block.
    fn before(&self) -> Block {
        let channels = self.x.dims[1] / self.groups;
        match self.filters {
            Filters::Packed => self.block(channels, channels),
            // One channel of all products of a row is read at once.
            Filters::InRegisters { .. } => self.block(channels, apart(channels)),
        }
    }

    /// The products' results of a block, of all output channels of a group or of one panel of them.
    fn after(&self, lanes: usize) -> Block {
        let channels = match self.filters {
            Filters::Packed => self.y.dims[1] / self.groups,
            Filters::InRegisters { .. } => self.tile.vectors * lanes,
        };
        self.block(channels, channels)
    }

    fn block(&self, channels: usize, product: usize) -> Block {
        let tile = apart(self.method.products() * product);
        Block { channels, product, tile, tiles: self.rows * self.columns() }
    }
}

/// The distance of arrays of `elements` of which one element each is read at once: an odd number of cache lines, since a
/// first-level cache holds only a few lines at a distance of whole pages.
fn apart(elements: usize) -> usize {
    (elements.div_ceil(CACHE_LINE) | 1) * CACHE_LINE
}

/// The operands or results of a block's products in scratch memory, `[tile][product][channel]`.
#[derive(Clone, Copy)]
struct Block {
    channels: usize,
    /// Elements from one product to the next.
    product: usize,
    /// Elements from one tile to the next.
    tile: usize,
    tiles: usize,
}

impl Block {
    /// Elements of memory.
    fn elements(&self) -> usize {
        self.tiles * self.tile
    }

    /// As an image of one row, whose pixels are tiles.
    fn view(&self) -> View {
        View { dims: vec![1, self.tile, 1, self.tiles], strides: vec![0, 1, 0, self.tile], offset: 0 }
    }

    /// Where a channel of one product of a tile lies, counted from `base`.
    fn at(&self, base: &Address, tile: &Affine, product: usize, channel: &Affine) -> Address {
        base.at(tile, self.tile).plus(product * self.product).at(channel, 1usize)
    }
}

impl Family for WinogradKernel {
    fn name(&self) -> String {
        let Tile { columns, vectors, .. } = self.tile;
        let order = match self.filters {
            Filters::Packed => self.order.suffix().to_owned(),
            Filters::InRegisters { depth } => format!("_d{depth}"),
        };
        format!(
            "winograd{}x{}_{}{}{}_t{columns}x{vectors}_b{}x{}{order}{}",
            self.method.rows.outputs(),
            self.method.columns.outputs(),
            super::conv::geometry(&self.x, &self.y, self.method.kernel(), &self.window, self.groups),
            self.arithmetic.suffix(),
            self.epilogue.suffix(),
            self.rows,
            self.channels,
            layout_suffix([&self.x, &self.y]),
        )
    }

    fn build(&self, lanes: usize) -> Kernel {
        let mut k = Builder::new(self.name(), lanes);
        let [images, outputs, height, width] = self.y.dims[..] else { unreachable!("rank 4") };
        let filter = self.packed_filter(lanes);
        let (before, after) = (self.before(), self.after(lanes));
        let [_, _, h, w] = self.x.dims[..] else { unreachable!("rank 4") };
        let [_, _, bottom, right] = border(self.method, self.window.padding, [h, w], [height, width]);
        let reach = self.x.end() + bottom * self.x.strides[2] + right * self.x.strides[3];
        let x = k.buffer("x", Access::Read, reach);
        let weights = k.buffer("weights", Access::Read, filter.elements());
        let bias = k.buffer("bias", Access::Read, outputs);
        let epilogue = self.epilogue.declare(&mut k);
        let y = k.buffer("y", Access::Write, self.y.end());
        let patch = self.method.products() * lanes;
        // What is known of the tiles' operands of one product.
        let pixels = match self.arithmetic {
            Arithmetic::Straight => 0,
            Arithmetic::Crossed(_) => Pixels::EACH * before.tiles,
        };
        let elements = patch + before.elements() + after.elements() + pixels;
        let scratch = k.buffer("scratch", Access::Scratch, elements);
        let before_base = scratch.plus(patch);
        let after_base = before_base.plus(before.elements());
        let pixels = after_base.plus(after.elements());
        let stages = Stages {
            kernel: self,
            x: (&self.x, x),
            weights,
            filter,
            before: (before, before_base),
            after: (after, after_base),
            y: (&self.y, y),
            bias,
            epilogue: &epilogue,
            patch: scratch,
            pixels,
        };
        let image = k.grid(0, images);
        let tile_height = self.method.rows.outputs();
        let block_height = self.rows * tile_height;
        let block = k.grid(1, height.div_ceil(block_height));
        let channel_block = k.grid(2, filter.outputs.div_ceil(self.channels));
        uneven(&mut k, block, height, block_height, |k, rows| {
            let place =
                Place { image: image.into(), row: Affine::default().along(block, block_height), rows };
            k.repeat(self.groups, |k, group| {
                stages.transform_input(k, &place, group);
                uneven(k, channel_block, filter.outputs, self.channels, |k, channels| {
                    let part = Part {
                        group,
                        first: Affine::default().along(channel_block, self.channels),
                        channels,
                    };
                    match self.filters {
                        Filters::Packed => {
                            stages.multiply(k, &place, &part);
                            stages.transform_output(k, &place, &part, &part.first);
                        }
                        Filters::InRegisters { depth } => {
                            stretches(k, part.channels, filter.panel_width, |k, start, channels| {
                                let first = sum(&part.first, &start);
                                let panel = Part { group, first, channels };
                                stages.multiply_in_registers(k, &place, &panel, depth);
                                stages.transform_output(k, &place, &panel, &Affine::default());
                            });
                        }
                    }
                });
            });
        });
        k.finish()
    }
}

/// What the stages of a kernel work on.
struct Stages<'a> {
    kernel: &'a WinogradKernel,
    x: (&'a View, Address),
    weights: Address,
    filter: PackedFilter,
    before: (Block, Address),
    after: (Block, Address),
    y: (&'a View, Address),
    bias: Address,
    epilogue: &'a EpilogueBuffers<'a>,
    /// One tile of one vector of channels, between the two passes of a transform.
    patch: Address,
    /// What crossed products know of the operands of one product.
    pixels: Address,
}

/// The output rows of a grid point.
struct Place {
    image: Affine,
    row: Affine,
    rows: usize,
}

/// Output channels of a grid point.
struct Part {
    group: Index,
    /// The first, counted within the group.
    first: Affine,
    channels: usize,
}

/// Sums that start from zero and stay in scratch memory.
struct Partial<'a> {
    block: &'a (Block, Address),
    /// Counted in output channels.
    product: Affine,
}

impl Ends for Partial<'_> {
    fn finish(&self, k: &mut Builder, at: &Elements, sums: Vec<Reg>) {
        let (block, base) = self.block;
        for ([_, tile], value) in at.pixels.iter().zip(sums) {
            let at_product = block.at(base, tile, 0, &sum(&self.product, &at.channel));
            k.store_lanes(value, at_product, at.lanes);
        }
    }
}

impl Stages<'_> {
    /// The products of a part of the output channels, one after the other.
    fn multiply(&self, k: &mut Builder, place: &Place, part: &Part) {
        let WinogradKernel { method, tile, order, groups, .. } = *self.kernel;
        let (block, base) = &self.before;
        let view = block.view();
        let window = Window::default();
        let product = Product {
            x: (&view, base.clone()),
            weights: self.weights.along(part.group, self.filter.panel_elements() / groups),
            filter: self.filter,
            kernel: [1, 1],
            window: &window,
            tile,
            order,
            then: Then::NextGroup,
            next_input: None,
        };
        k.repeat(method.products(), |k, index| {
            let region = Region {
                image: Affine::default(),
                group: index.into(),
                origin: Default::default(),
                size: [1, self.tiles_of(place.rows)],
                first_channel: part.first.clone(),
                channels: part.channels,
            };
            let product_start = Affine::from(index).times(self.after.0.product);
            let ends = Partial { block: &self.after, product: product_start };
            let number = Affine::from(index).along(part.group, method.products());
            let operand = self.filter.is_crossed().then(|| {
                let channels = View { dims: vec![1, block.channels, 1, block.tiles], ..view.clone() };
                let base = base.along(index, block.product);
                Operand::with_pixels(channels, base, self.pixels.clone())
            });
            if let Some(operand) = &operand {
                let balance = Balance::of(&self.filter, &self.weights, &number);
                operand.scale(k, &balance, region.size);
            }
            let pixels = operand.as_ref().map(|operand| &operand.pixels);
            let crossed = Terms::of(&self.filter, &self.weights, &number).zip(pixels);
            crossed::region(&product, k, &region, ends, crossed);
        });
    }

    /// How many tiles there are in so many output rows.
    fn tiles_of(&self, rows: usize) -> usize {
        rows.div_ceil(self.kernel.method.rows.outputs()) * self.kernel.columns()
    }

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
                        let (block, base) = &self.before;
                        k.store_lanes(value, block.at(base, number, i * width + j, &channel), step.lanes);
                    }
                }
            });
        });
    }

    /// Transforms a part of the output channels. `first` is the part's first channel in the products' results.
    fn transform_output(&self, k: &mut Builder, place: &Place, part: &Part, first: &Affine) {
        let outputs = self.filter.outputs;
        let Method { rows, columns } = self.kernel.method;
        let [patch_height, patch_width] = self.kernel.method.patch();
        let (block, base) = &self.after;
        self.tiles(k, place.rows, |k, number, [row, column], [height, width]| {
            let row = sum(&place.row, &row);
            k.vectors(part.channels, |k, step| {
                let result = sum(first, &step.coordinate());
                for j in 0..patch_width {
                    let inputs: Vec<Reg> = (0..patch_height)
                        .map(|i| {
                            k.load_lanes(block.at(base, number, i * patch_width + j, &result), step.lanes)
                        })
                        .collect();
                    let transformed = rows.output(k, &inputs);
                    self.store_column(k, j, &transformed);
                }
                let channel = sum(&part.first, &step.coordinate()).along(part.group, outputs);
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
