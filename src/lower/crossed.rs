//! Which matrix products are crossed, and how their kernels are cut up.

use super::sharing::{share, share_few};
use super::tiles::{self, Product};
use super::{LowerOptions, Lowering};
use crate::codegen::target::{Core, Cpu, InstructionSet};
use crate::kernels::conv::Blocking;
use crate::kernels::crossed::{Arithmetic, Crossing};
use crate::kernels::product::{RESIDENT_WEIGHTS, Tile};

/// Cycles to bring a vector of a pixel's channels to scale.
const SCALE_CYCLES: f64 = 5.0;

/// Cycles to find a pixel's scale, beside those for its vectors.
const PIXEL_CYCLES: f64 = 40.0;

/// How much of the cycles of straight products crossed ones may take at most.
const WORTHWHILE: f64 = 0.97;

/// Elements of scaled pixels that a grid point keeps: of small weights, which stay in the second-level cache while tiles
/// of pixels pass, as many as the first-level cache holds; of large ones, which each block of pixels reads again, half of
/// the second-level cache.
const SCALED_ELEMENTS: [usize; 2] = [8 * 1024, 128 * 1024];

/// How products may be crossed: not on AVX2, which has neither the registers for it nor operands that are broadcast from
/// memory.
pub fn crossing(LowerOptions { target, winograd, .. }: LowerOptions) -> Option<Crossing> {
    match target {
        Cpu { isa: InstructionSet::Avx512, core: Core::Zen4 } if winograd => Some(Crossing::Quarters),
        Cpu { isa: InstructionSet::Avx512, core: Core::Zen5 } if winograd => Some(Crossing::Thirds),
        _ => None,
    }
}

/// How the sums of a product that may be crossed are computed: as was measured for its problem, or as the model of the
/// core finds faster.
pub fn choose_arithmetic(
    l: &Lowering,
    crossing: Crossing,
    product: &Product,
    problem: impl FnOnce() -> String,
) -> Arithmetic {
    let crossed = Arithmetic::Crossed(crossing);
    match l.tuning.arithmetic(problem, l.target) {
        Some(measured) if [Arithmetic::Straight, crossed].contains(&measured) => measured,
        _ if pays(product, crossed, l.target) => crossed,
        _ => Arithmetic::Straight,
    }
}

/// Cycles to bring a product's pixels to scale, if it is crossed.
pub fn scaling_cycles(product: &Product, target: Cpu) -> f64 {
    if product.arithmetic == Arithmetic::Straight {
        return 0.0;
    }
    let pixels = (product.rows * product.columns) as f64;
    let vectors = product.reduction.div_ceil(target.lanes()) as f64;
    pixels * (vectors * SCALE_CYCLES + PIXEL_CYCLES)
}

/// Whether crossing a product takes less time, scaling its pixels included.
fn pays(product: &Product, crossed: Arithmetic, target: Cpu) -> bool {
    let cycles = |arithmetic| {
        let product = Product { arithmetic, ..*product };
        tiles::cycles(&product, tiles::choose_tile(&product, target), target)
            + scaling_cycles(&product, target)
    };
    cycles(crossed) <= WORTHWHILE * cycles(Arithmetic::Straight)
}

/// Cuts a crossed product into grid points. Each scales its own pixels, so that only threads divide output channels.
pub fn choose_blocking(
    product: &Product,
    tile: Tile,
    target: Cpu,
    images: usize,
    threads: usize,
) -> Blocking {
    let panel = tile.vectors * target.lanes();
    let (extent, unit, across) = product.cut_along(tile);
    let is_large = product.outputs * product.reduction > RESIDENT_WEIGHTS;
    let budget = SCALED_ELEMENTS[usize::from(is_large)];
    let most = tiles::rows_of(budget, across * product.reduction, extent);
    let outputs = product.outputs.next_multiple_of(panel);
    if is_large && most == extent {
        let panels = product.outputs.div_ceil(panel);
        let of_panel = tiles::cycles(product, tile, target) / panels as f64;
        let channels = share_few(panels, images, threads, scaling_cycles(product, target) / of_panel) * panel;
        return Blocking { pixels: extent, channels: channels.min(outputs) };
    }
    let units = share(extent.div_ceil(unit), (most / unit).max(1), images, threads);
    Blocking { pixels: units * unit, channels: product.outputs }
}
