//! Register tiles and blocks, chosen for each shape by a model of the core.

use super::LowerOptions;
use super::crossed;
use super::sharing::{longest, share};
use crate::codegen::target::{Cpu, InstructionSet};
use crate::kernels::conv::Blocking;
use crate::kernels::crossed::{Arithmetic, Crossing};
use crate::kernels::product::{Order, RESIDENT_WEIGHTS, Tile};
use crate::kernels::winograd::{Filters, Method};

/// The matrix product that a convolution is: `rows · columns` output pixels × `outputs` channels of one group,
/// `reduction` products for each.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub rows: usize,
    pub columns: usize,
    pub outputs: usize,
    pub reduction: usize,
    /// Elements of the input that one output pixel adds to a block's footprint, about.
    pub input_per_pixel: usize,
    pub arithmetic: Arithmetic,
}

impl Product {
    /// What blocks of pixels are cut along, rows or the columns of the only one: how many there are, how many a tile takes,
    /// and the pixels of each.
    pub fn cut_along(&self, tile: Tile) -> (usize, usize, usize) {
        if self.rows > 1 { (self.rows, tile.rows, self.columns) } else { (self.columns, tile.columns, 1) }
    }
}

/// Multiply-adds that one grid point should hold at least, so that handing it to a thread costs little: some 20 µs.
const GRAIN: usize = 1 << 20;

/// Elements of input and output that a block of pixels may touch: half of a 512 KB cache.
const BLOCK_ELEMENTS: usize = 64 * 1024;

/// Multiply-adds for each weight that a core computes in the time in which it arrives from memory: at 100 GFLOP/s and
/// 12 GB/s.
const MEMORY_BOUND_PIXELS: usize = 16;

/// Elements of a map that stays in a second-level cache of 1 MB.
const CACHED_ELEMENTS: usize = 256 * 1024;

/// What a second pass over the lines of a larger map costs.
const REVISITED: f64 = 1.02;

/// The tile with the fewest cycles over the whole output, remainders included.
pub fn choose_tile(product: &Product, target: Cpu) -> Tile {
    best_tiles(product, target, 1)[0]
}

/// Up to `count` tiles, fewest cycles first.
///
/// # Panics
/// If `count` is 0.
pub fn best_tiles(product: &Product, target: Cpu, count: usize) -> Vec<Tile> {
    let all_vectors = product.outputs.div_ceil(target.lanes());
    let mut best: Vec<(f64, Tile)> = Vec::with_capacity(count + 1);
    for vectors in 1..=all_vectors.min(12) {
        for columns in 1..=product.columns.min(16) {
            for rows in 1..=product.rows.min(if columns == product.columns { 8 } else { 1 }) {
                let tile = Tile { rows, columns, vectors };
                if !fits(tile, product.arithmetic, target.isa) {
                    continue;
                }
                let cycles = cycles(product, tile, target);
                if best.len() < count || cycles < best[count - 1].0 {
                    let place = best.partition_point(|(fewer, _)| *fewer <= cycles);
                    best.insert(place, (cycles, tile));
                    best.truncate(count);
                }
            }
        }
    }
    best.into_iter().map(|(_, tile)| tile).collect()
}

/// Whether accumulators, and what a step needs beside them, fit the registers: a row of weights and one element, or what
/// crossed products take.
pub fn fits(tile: Tile, arithmetic: Arithmetic, target: InstructionSet) -> bool {
    let Tile { rows, columns, vectors } = tile;
    if [rows, columns, vectors].iter().any(|extent| !(1..=64).contains(extent)) {
        return false;
    }
    let accumulators = tile.rows * tile.columns * tile.vectors;
    let others = match arithmetic {
        Arithmetic::Straight => tile.vectors + 1,
        Arithmetic::Crossed(crossing) => crossing.registers(vectors),
    };
    accumulators <= target.accumulators() && accumulators + others <= target.registers()
}

/// Cycles of the whole product by this tile.
pub fn cycles(product: &Product, tile: Tile, target: Cpu) -> f64 {
    let (lanes, per_cycle) = (target.lanes(), target.vectors_per_cycle());
    let panel = tile.vectors * lanes;
    let stretches = |extent: usize, step: usize| {
        [(extent / step, step), (usize::from(!extent.is_multiple_of(step)), extent % step)]
    };
    let mut total = 0.0;
    for (row_tiles, rows) in stretches(product.rows, tile.rows) {
        for (column_tiles, columns) in stretches(product.columns, tile.columns) {
            for (panels, channels) in stretches(product.outputs, panel) {
                let tiles = row_tiles * column_tiles * panels;
                if tiles == 0 {
                    continue;
                }
                let (pixels, vectors) = ((rows * columns) as f64, channels.div_ceil(lanes) as f64);
                // Broadcasts of single elements two a cycle; a multiply-add's result after four cycles.
                let multiply = pixels * vectors / per_cycle;
                let load = pixels / 2.0 + vectors / per_cycle;
                let busy = match product.arithmetic {
                    Arithmetic::Straight => multiply.max(load).max(4.0),
                    // Each element is broadcast for each vector.
                    Arithmetic::Crossed(Crossing::Quarters) => {
                        (QUARTERS_SHARE * multiply).max(pixels * vectors / 2.0 + vectors / per_cycle).max(3.0)
                    }
                    // Few pixels leave additions too little to run beside.
                    Arithmetic::Crossed(Crossing::Thirds) => {
                        (THIRDS_SHARE * multiply).max(load) + THIRDS_START / (pixels * pixels)
                    }
                };
                let step = busy + 0.1 * load;
                let sums = pixels * vectors;
                let edges = if target.is_wide() { 40.0 + sums * sums / 6.0 } else { 60.0 + 3.0 * sums };
                total += tiles as f64 * (product.reduction as f64 * step + edges);
            }
        }
    }
    // Lines that have left the second-level cache are fetched again for each panel.
    if exceeds_cache(product) && product.outputs > panel { REVISITED * total } else { total }
}

/// Cycles of products crossed in quarters for each of straight ones: three quarters of the multiply-adds, and what is lost
/// where additions run beside them.
const QUARTERS_SHARE: f64 = 0.77;

/// The same for products crossed in thirds: two of three.
const THIRDS_SHARE: f64 = 2.0 / 3.0;

/// What is lost in each step where additions run beside multiply-adds, for one pixel.
const THIRDS_START: f64 = 16.0;

/// Whether input and output do not stay in the second-level cache.
pub fn exceeds_cache(product: &Product) -> bool {
    product.rows * product.columns * (product.input_per_pixel + product.outputs) > CACHED_ELEMENTS
}

/// Whether reading the weights from memory takes longer than multiplying with them: where each is used for few pixels.
pub fn weights_bind(product: &Product) -> bool {
    product.rows * product.columns < MEMORY_BOUND_PIXELS
        && product.outputs * product.reduction > RESIDENT_WEIGHTS
}

/// Small weights stay in the second-level cache while the pixels pass; large ones are read once.
pub fn choose_order(product: &Product) -> Order {
    if product.outputs * product.reduction <= RESIDENT_WEIGHTS { Order::Pixels } else { Order::Panels }
}

/// Cuts a product into grid points for `images` (or groups).
pub fn choose_blocking(
    product: &Product,
    tile: Tile,
    target: Cpu,
    images: usize,
    threads: usize,
) -> Blocking {
    let panel = tile.vectors * target.lanes();
    let (extent, unit, across) = product.cut_along(tile);
    let weights = product.outputs * product.reduction;
    let total = product.rows * product.columns * weights;
    let pieces = if weights_bind(product) { weights / STREAMED_ELEMENTS } else { total / GRAIN };
    let points = pieces.clamp(1, 64);
    let footprint = across * (product.input_per_pixel + product.outputs.min(panel));
    let fitting = (BLOCK_ELEMENTS / footprint.max(1)).max(1);
    if weights <= RESIDENT_WEIGHTS || extent > 4 * fitting {
        let wanted = extent.div_ceil(points.div_ceil(images));
        let units = share(extent.div_ceil(unit), wanted.min(fitting).div_ceil(unit), images, threads);
        return Blocking { pixels: units * unit, channels: product.outputs };
    }
    // Weights dominate: let each grid point keep its own share of them.
    let panels = product.outputs.div_ceil(panel);
    let channels = share(panels, panels.div_ceil(points.div_ceil(images)), images, threads) * panel;
    Blocking { pixels: extent, channels: channels.min(product.outputs.next_multiple_of(panel)) }
}

/// Elements of input and output that a grid point of a memory-bound kernel touches: some 256 KB.
pub const STREAMED_ELEMENTS: usize = 64 * 1024;

/// How many rows of `width` pixels a fused pair computes at a time: what the first-level cache holds between the two
/// halves, or, where each block reads large weights again, a quarter of the second-level cache.
pub fn chain_rows(product: &Product, width: usize, height: usize) -> usize {
    let is_large = product.outputs * product.reduction > RESIDENT_WEIGHTS;
    rows_of(if is_large { BLOCK_ELEMENTS } else { 8 * 1024 }, product.reduction * width, height)
}

/// Rows and output channels of a fused pair's grid points, and the pointwise tile: at most `most` rows of all channels or,
/// where threads cannot share rows evenly, all rows of a thread's channels. Each then computes the depthwise half.
pub fn chain_blocks(
    whole: &Product,
    tile: Tile,
    most: usize,
    images: usize,
    target: Cpu,
    threads: usize,
) -> (usize, usize, Tile) {
    let rows = share(whole.rows, most, images, threads);
    let by_rows = longest(whole.rows, rows, images, threads) / (images * whole.rows) as f64;
    // All rows, so that each thread computes the depthwise half once and reads none but its own weights.
    let all = rows_of(BLOCK_ELEMENTS, whole.reduction * whole.columns, whole.rows);
    let part = Product { rows: all, outputs: whole.outputs.div_ceil(threads), ..*whole };
    let part_tile = choose_tile(&part, target);
    let channels = part.outputs.next_multiple_of(part_tile.vectors * target.lanes());
    let by_channels = channels as f64 / whole.outputs as f64;
    if all == whole.rows && by_channels + DEPTHWISE_SHARE < by_rows {
        (all, channels, part_tile)
    } else {
        (rows, whole.outputs, tile)
    }
}

/// The part of a fused pair's time that its depthwise half takes, about.
const DEPTHWISE_SHARE: f64 = 0.04;

/// How many rows of `elements_per_row` a budget of elements holds, at least one.
pub fn rows_of(budget: usize, elements_per_row: usize, rows: usize) -> usize {
    (budget / elements_per_row.max(1)).clamp(1, rows)
}

/// How many neighbouring pixels a depthwise kernel computes together: a divisor of the width where there is one that
/// leaves registers for a row of weights and the input.
pub fn depthwise_columns(width: usize, kernel_width: usize, target: Cpu) -> usize {
    let most = target.registers().saturating_sub(kernel_width + 2).clamp(1, 8);
    let fewest = most.div_ceil(2).max(1);
    (fewest..=most).rev().find(|columns| width.is_multiple_of(*columns)).unwrap_or(most.min(width))
}

/// How a Winograd convolution is cut up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WinogradPlan {
    pub method: Method,
    pub filters: Filters,
    pub arithmetic: Arithmetic,
    /// The register tile of the products.
    pub tile: Tile,
    /// Rows of tiles of one grid point.
    pub rows: usize,
    /// Output channels of one grid point.
    pub channels: usize,
}

/// Elements of transformed input and output that a grid point keeps where its weights stay in the cache beside them: half
/// of 1 MB.
const TRANSFORMED_ELEMENTS: usize = 120 * 1024;

/// Elements of transformed input alone that a grid point keeps where filters are transformed in registers.
const TRANSFORMED_INPUT_ELEMENTS: usize = 160 * 1024;

/// Elements of transformed input and output where weights are read again for each grid point, which then are as large as is sensible.
const MOST_TRANSFORMED_ELEMENTS: usize = 320 * 1024;

/// Cycles to transform one vector of channels, forth or back, for each product of a tile.
pub const TRANSFORM_CYCLES: f64 = 4.0;

/// Bytes of weights that arrive each cycle from beyond the second-level cache, about.
pub const WEIGHT_BYTES_PER_CYCLE: f64 = 6.0;

/// Whether there are channels enough for vectors of them to be transformed.
pub fn suits_winograd(channels: usize, outputs: usize, target: Cpu) -> bool {
    channels.min(outputs) >= target.lanes().min(8)
}

/// The plan for a convolution of stride 1 by Winograd's method, where the model of the core says that it beats
/// direct convolution by a tenth.
pub fn choose_winograd(product: &Product, kernel: [usize; 2], options: LowerOptions) -> Option<WinogradPlan> {
    let LowerOptions { target, threads, .. } = options;
    if !suits_winograd(product.reduction / (kernel[0] * kernel[1]), product.outputs, target) {
        return None;
    }
    let plans = Method::all(kernel).iter().flat_map(|&method| {
        Arithmetic::choices(crossed::crossing(options)).map(move |arithmetic| {
            winograd_plan(&Product { arithmetic, ..*product }, method, target, threads)
        })
    });
    let plans = plans.chain(winograd_plan_in_registers(product, kernel, target, threads));
    let (cycles, plan) = plans.min_by(|a, b| a.0.total_cmp(&b.0))?;
    (cycles <= 0.9 * self::cycles(product, choose_tile(product, target), target)).then_some(plan)
}

/// The tile of Winograd's products, of one block and of the last. A wide core multiplies faster than its second-level cache
/// gives it the same weights again beside new ones: there a panel is to stay in the first-level cache.
fn choose_winograd_tile(product: &Product, last: &Product, target: Cpu) -> Tile {
    if !target.is_wide() {
        return choose_tile(product, target);
    }
    let best = best_tiles(product, target, WINOGRAD_TILES);
    let stays = |tile: &&Tile| tile.vectors * target.lanes() * product.reduction <= PANEL_ELEMENTS;
    let both = |tile: &Tile| cycles(product, *tile, target) + cycles(last, *tile, target);
    let staying = best.iter().filter(stays).min_by(|&a, &b| both(a).total_cmp(&both(b)));
    *staying.unwrap_or(&best[0])
}

/// Tiles among which one is looked for whose panel stays.
const WINOGRAD_TILES: usize = 16;

/// Elements of a panel that stays in the first-level cache beside what it is multiplied with.
const PANEL_ELEMENTS: usize = 8 * 1024;

/// The best plan by one method, and its cycles.
pub fn winograd_plan(product: &Product, method: Method, target: Cpu, threads: usize) -> (f64, WinogradPlan) {
    let lanes = target.lanes();
    let [height, width] = method.kernel();
    let channels = product.reduction / (height * width);
    let [tile_rows, columns] =
        [product.rows.div_ceil(method.rows.outputs()), product.columns.div_ceil(method.columns.outputs())];
    let products = method.products();
    let per_row = columns * products * (channels + product.outputs);
    let weights = products * channels * product.outputs;
    let is_resident = weights <= 2 * RESIDENT_WEIGHTS;
    let budget = if is_resident { TRANSFORMED_ELEMENTS } else { MOST_TRANSFORMED_ELEMENTS };
    let rows = even_blocks(tile_rows, rows_of(budget, per_row, tile_rows));
    let tiles = Product {
        rows: 1,
        columns: rows * columns,
        outputs: product.outputs,
        reduction: channels,
        input_per_pixel: channels,
        arithmetic: product.arithmetic,
    };
    let blocks = tile_rows.div_ceil(rows);
    let last = Product { columns: (tile_rows - (blocks - 1) * rows) * columns, ..tiles };
    let tile = choose_winograd_tile(&tiles, &last, target);
    let blocks = blocks as f64;
    let transforms = (tile_rows * columns * products) as f64
        * ((channels + product.outputs) as f64 / lanes as f64).ceil()
        * TRANSFORM_CYCLES;
    let arithmetic = products as f64 * blocks * cycles(&tiles, tile, target);
    // While pixels are scaled, no weights arrive.
    let scaling = products as f64 * blocks * crossed::scaling_cycles(&tiles, target);
    let streaming = if weights <= RESIDENT_WEIGHTS {
        0.0
    } else {
        blocks * weights as f64 * 4.0 / WEIGHT_BYTES_PER_CYCLE
    };
    let channels = winograd_channels(product.outputs, tile, (tile_rows, rows), target, threads);
    (
        transforms + scaling + arithmetic.max(streaming),
        WinogradPlan {
            method,
            filters: Filters::Packed,
            arithmetic: product.arithmetic,
            tile,
            rows,
            channels,
        },
    )
}

/// Channels that are multiplied with before sums go back to memory, where filters are transformed in registers: for one
/// group of tiles as many as the first-level cache holds the filters of, for several as the second-level cache does.
const FILTER_DEPTHS: [usize; 2] = [32, 256];

/// Transformed weights, in elements, from which on it counts that those which are transformed in registers take a quarter
/// of the memory, and of the time to pack them.
const LARGE_WEIGHTS: usize = 1 << 20;

/// What is then taken off the cycles.
const SMALL_WEIGHTS_BONUS: f64 = 0.9;

/// Cycles of a step for additions and loads that are not hidden behind multiply-adds, for each of these in a cycle, where
/// filters are transformed in registers.
const FILTER_CYCLES: f64 = 4.0;

/// The best plan that transforms filters in registers, and its cycles, where there are registers enough.
pub fn winograd_plan_in_registers(
    product: &Product,
    kernel: [usize; 2],
    target: Cpu,
    threads: usize,
) -> Option<(f64, WinogradPlan)> {
    let method = *Method::all(kernel).iter().find(|method| method.transforms_in_registers())?;
    let inputs = method.columns.inputs();
    let channels = product.reduction / (kernel[0] * kernel[1]);
    let [tile_rows, columns] =
        [product.rows.div_ceil(method.rows.outputs()), product.columns.div_ceil(method.columns.outputs())];
    let per_row = columns * method.products() * channels;
    let rows = even_blocks(tile_rows, rows_of(TRANSFORMED_INPUT_ELEMENTS, per_row, tile_rows));
    let tiles = rows * columns;
    let tile = |columns: usize| Tile { rows: 1, columns, vectors: 1 };
    let most = (FEWEST_TILES_IN_REGISTERS..=tiles)
        .take_while(|&columns| fits_with_filters(tile(columns), method, target.isa))
        .last()?;
    let tile = tile(tiles.div_ceil(tiles.div_ceil(most)));
    let blocks = tile_rows.div_ceil(rows);
    let panels = product.outputs.div_ceil(target.lanes());
    let steps = (blocks * tiles.div_ceil(tile.columns) * panels * method.rows.inputs() * channels) as f64;
    let per_cycle = target.vectors_per_cycle();
    let arithmetic = steps * ((tile.columns * inputs) as f64 / per_cycle + FILTER_CYCLES * per_cycle);
    let transforms = (tile_rows * columns * method.products()) as f64
        * ((channels + product.outputs) as f64 / target.lanes() as f64).ceil()
        * TRANSFORM_CYCLES;
    let weights = product.reduction * product.outputs;
    let streaming = blocks as f64 * weights as f64 * 4.0 / WEIGHT_BYTES_PER_CYCLE;
    let channels_of_point = winograd_channels(product.outputs, tile, (tile_rows, rows), target, threads);
    let depth = FILTER_DEPTHS[usize::from(tiles > tile.columns)];
    let filters = Filters::InRegisters { depth: channels.div_ceil(channels.div_ceil(depth)) };
    let plan = WinogradPlan {
        method,
        filters,
        arithmetic: Arithmetic::Straight,
        tile,
        rows,
        channels: channels_of_point,
    };
    let large = method.products() * channels * product.outputs > LARGE_WEIGHTS;
    let bonus = if large { SMALL_WEIGHTS_BONUS } else { 1.0 };
    Some(((transforms + arithmetic.max(streaming)) * bonus, plan))
}

/// Registers that transforming a filter takes: its row, the parts of that, and a product's factor.
const FILTER_REGISTERS: usize = 6;

/// Whether sums of a row of products and the filters that are transformed for them fit the registers.
pub fn fits_with_filters(tile: Tile, method: Method, target: InstructionSet) -> bool {
    method.transforms_in_registers()
        && tile.vectors == 1
        && tile.columns * method.columns.inputs() + FILTER_REGISTERS <= target.registers()
}

/// The fewest tiles of the image for which a filter is worth transforming each time that it is read.
const FEWEST_TILES_IN_REGISTERS: usize = 3;

/// Output channels of a grid point, where `tile_rows` are cut into blocks of `rows`. Few blocks are divided by output
/// channels, so that threads share them; each part transforms the input again.
pub fn winograd_channels(
    outputs: usize,
    tile: Tile,
    (tile_rows, rows): (usize, usize),
    target: Cpu,
    threads: usize,
) -> usize {
    let panel = tile.vectors * target.lanes();
    let panels = outputs.div_ceil(panel);
    let time = |parts: usize| {
        let part = panels.div_ceil(parts) as f64 / panels as f64;
        longest(tile_rows, rows, parts, threads) * (part + INPUT_SHARE)
    };
    let most = if threads == 1 { 1 } else { panels.min(2 * threads) };
    let parts = (1..=most).min_by(|&a, &b| time(a).total_cmp(&time(b))).unwrap_or(1);
    panels.div_ceil(parts) * panel
}

/// The time that transforming the input takes, for each of what all output channels' products take, about.
const INPUT_SHARE: f64 = 0.12;

/// How many of `rows` each block takes, at most `most`: blocks of like size, an even number of them if more than one.
pub fn even_blocks(rows: usize, most: usize) -> usize {
    let blocks = rows.div_ceil(most);
    let blocks = if blocks > 1 && blocks % 2 == 1 { blocks + 1 } else { blocks };
    rows.div_ceil(blocks.min(rows))
}
