//! Which tile a matrix product is computed in, and into how many parts its reduction is cut.

use crate::codegen::ptx::Target;
use crate::kernels::gpu::gemm::{Precision, Tile};

/// What decides a product's tile.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Product {
    /// Output pixels of all images.
    pub pixels: usize,
    /// Outputs of a group.
    pub outputs: usize,
    /// Steps of the reduction of a group.
    pub steps: usize,
    pub groups: usize,
    pub precision: Precision,
    /// Taps of a depthwise convolution that is computed on the way to shared memory.
    pub front_taps: usize,
    /// Whether rows are copied without passing through registers.
    pub copies_async: bool,
    /// Whether the reduction may be cut.
    pub may_split: bool,
}

/// A choice and what it is expected to cost.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Choice {
    pub tile: Tile,
    pub splits: usize,
    /// Clocks of a multiprocessor.
    pub clocks: f64,
}

/// `[pixels, outputs, own_pixels, own_outputs]` of tiles whose threads multiply and add.
const THREAD_TILES: &[[usize; 4]] = &[
    [128, 128, 8, 8],
    [128, 64, 8, 8],
    [64, 128, 8, 8],
    [128, 32, 8, 4],
    [64, 64, 8, 4],
    [64, 64, 4, 4],
    [64, 32, 4, 4],
    [32, 64, 4, 4],
    [32, 32, 4, 4],
    [32, 32, 2, 4],
    [16, 64, 2, 4],
    [16, 32, 2, 4],
    [128, 16, 4, 4],
    [64, 16, 4, 4],
    [32, 16, 2, 4],
];

/// Likewise of tiles that warps compute on tensor cores.
const WARP_TILES: &[[usize; 4]] = &[
    [128, 128, 64, 32],
    [128, 64, 32, 32],
    [64, 128, 32, 32],
    [64, 64, 32, 32],
    [64, 64, 32, 16],
    [64, 32, 32, 16],
    [32, 64, 16, 32],
    [32, 64, 32, 16],
    [32, 32, 16, 16],
    [16, 64, 16, 16],
    [16, 32, 16, 8],
    [64, 16, 16, 16],
    [128, 16, 32, 16],
];

/// Sums that a thread keeps in registers at most.
const MOST_SUMS: usize = 64;
/// Bytes of shared memory that a block may declare.
const SHARED_PER_BLOCK: usize = 48 << 10;
/// Cutting the reduction further than this makes the parts' sums the larger work.
const MAX_SPLITS: usize = 16;
/// Steps of a part at least.
const MIN_STEPS: usize = 4;
/// Clocks that a kernel's launch takes, as a node of a graph.
pub const LAUNCH: f64 = 2500.0;
/// Clocks from a copy's begin to the first multiplication, and from the last to the stores.
const FILL: f64 = 1500.0;

/// The cheapest choice.
pub fn choose(product: &Product, target: Target) -> Choice {
    let shapes = if product.precision == Precision::F32 { THREAD_TILES } else { WARP_TILES };
    // Taps of a front need registers beside the sums.
    let most_sums = if product.front_taps > 0 { MOST_SUMS / 2 } else { MOST_SUMS };
    let tiles = shapes.iter().map(|&[pixels, outputs, own_pixels, own_outputs]| Tile {
        pixels,
        outputs,
        own_pixels,
        own_outputs,
        stages: 2,
    });
    let tiles = tiles.filter(|tile| tile.sums_of_thread(product.precision) <= most_sums);
    let choices = tiles.flat_map(|tile| {
        let stages = if product.copies_async { 4 } else { 2 };
        let fitting = (2..=stages).rev().map(move |stages| Tile { stages, ..tile });
        let tile = fitting.into_iter().find(|tile| tile.shared_bytes() <= SHARED_PER_BLOCK).unwrap_or(tile);
        let most = if product.may_split { MAX_SPLITS } else { 1 };
        let splits = (1..=most).filter(|splits| {
            product.steps.is_multiple_of(*splits) && (*splits == 1 || product.steps / splits >= MIN_STEPS)
        });
        splits.map(move |splits| Choice { tile, splits, clocks: clocks(product, &tile, splits, target) })
    });
    choices.min_by(|a, b| a.clocks.total_cmp(&b.clocks)).expect("there are tiles")
}

/// Clocks that the product takes: that of the multiprocessor with the most blocks, which are bound by arithmetic, by
/// what shared memory and the cache deliver, or, few as they are, by the time a step takes at least.
fn clocks(product: &Product, tile: &Tile, splits: usize, target: Target) -> f64 {
    let threads = tile.threads(product.precision);
    let blocks = product.pixels.div_ceil(tile.pixels)
        * product.outputs.div_ceil(tile.outputs)
        * product.groups
        * splits;
    let registers = match product.precision {
        Precision::F32 => 48,
        Precision::Tf32 | Precision::F16 => 56,
    } + 2 * tile.sums_of_thread(product.precision);
    let resident = (65536 / (threads * registers))
        .min(target.shared_per_multiprocessor() as usize / (tile.shared_bytes() + 1024))
        .min(target.threads_per_multiprocessor() as usize / threads)
        .max(1);
    let depth = product.precision.depth() as f64;
    let (pixels, outputs) = (tile.pixels as f64, tile.outputs as f64);
    let rate = match product.precision {
        Precision::F32 => f64::from(target.fma_per_clock()),
        Precision::Tf32 => 512.0,
        Precision::F16 => 1024.0,
    };
    let warps = threads as f64 / 32.0;
    let multiply = pixels * outputs * depth / rate;
    let shared = match product.precision {
        Precision::F32 => warps * (tile.own_pixels + tile.own_outputs) as f64 * 2.0 * depth / 4.0,
        _ => warps * (tile.own_pixels + tile.own_outputs) as f64 * 64.0 / 128.0,
    };
    let cache = (pixels + outputs) * 64.0 / 64.0;
    // Index arithmetic, conditions, loads and stores of a step, four warps issuing at a time.
    let copies = (pixels + outputs) * 4.0 / threads as f64;
    let issue = warps * (24.0 + 8.0 * copies) / 4.0;
    let front = 3.0 * pixels * depth * product.front_taps as f64 / f64::from(target.fma_per_clock());
    let busy = (multiply + front + issue).max(shared).max(cache);
    let steps = (product.steps / splits) as f64;
    let latency = if product.copies_async { 120.0 } else { 450.0 };
    let at_once = blocks.div_ceil(target.multiprocessors() as usize).min(resident) as f64;
    let rounds = blocks.div_ceil(target.multiprocessors() as usize * resident) as f64;
    let walk = rounds * (steps * (at_once * busy).max(latency) + FILL);
    let sums = (product.pixels * product.outputs * product.groups) as f64 * 4.0;
    let joined = match splits {
        1 => 0.0,
        _ => LAUNCH + (splits + 1) as f64 * sums / (32.0 * f64::from(target.multiprocessors())),
    };
    walk + joined
}
