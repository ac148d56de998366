//! Which strided convolutions are computed by minimal filtering along rows, and their kernels.

use super::convolutions::{Filter, implicit_product};
use super::crossed;
use super::layout::PLANAR_CHANNELS;
use super::operators::{ELEMENT, bindings};
use super::tiles::{self, Product, TRANSFORM_CYCLES, WEIGHT_BYTES_PER_CYCLE};
use super::tuning::Way;
use super::{Binding, LowerOptions, Lowering, PackSource, Value, Work};
use crate::codegen::target::Cpu;
use crate::graph::{Graph, NodeId};
use crate::kernels::crossed::Arithmetic;
use crate::kernels::polyphase::{self, Filtering, PolyphaseKernel};
use crate::kernels::product::{Order, RESIDENT_WEIGHTS, Tile};
use crate::kernels::{FusedEpilogue, KernelSpec};
use crate::ops::{Conv, Op, Window};

/// How a convolution by minimal filtering is cut up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolyphasePlan {
    pub filtering: Filtering,
    pub arithmetic: Arithmetic,
    /// The register tile of the products.
    pub tile: Tile,
    /// Rows of tiles of one grid point.
    pub rows: usize,
    /// Output channels of one grid point.
    pub channels: usize,
}

/// Elements of transformed input and output that a grid point keeps: half of a 1 MB cache.
const TRANSFORMED_ELEMENTS: usize = 128 * 1024;

/// Register tiles that the model looks at more closely.
const TILES: usize = 4;

/// What reading a weight from a cache again costs beside arithmetic.
const REREAD_CYCLES: f64 = 0.0125;

/// How much of the cycles of direct convolution minimal filtering may take at most: its weights are larger.
const WORTHWHILE: f64 = 0.95;

/// The plan for a node, if it is a strided convolution for which minimal filtering is defined and pays.
pub fn plan(graph: &Graph, id: NodeId, options: LowerOptions) -> Option<PolyphasePlan> {
    let Op::Conv(conv) = graph.node(id).op else { return None };
    let operands = graph.operands(id);
    let [_, channels, height, width] = graph.shape(operands[1]).dims()[..] else { return None };
    let (x, y) = (graph.shape(operands[0]).dims(), graph.shape(id).dims());
    let Conv { window, groups } = conv;
    if !suits(&window, height, [channels, y[1] / groups]) {
        return None;
    }
    let kernel = [height, width];
    match options.tuning.way(graph, id, kernel, conv, options) {
        Some(Way::Direct) => return None,
        Some(Way::Polyphase(plan)) => return Some(plan),
        Some(Way::Winograd(_)) | None => {}
    }
    let product = implicit_product([y[2], y[3]], y[1] / groups, x[1] / groups, kernel, &window);
    let arithmetics = arithmetics(groups, channels, options);
    let plans = Filtering::all(height, window.stride[0]).flat_map(|filtering| {
        arithmetics.clone().map(move |arithmetic| {
            let product = Product { arithmetic, ..product };
            polyphase_plan(&product, filtering, &window, options.target, options.threads)
        })
    });
    let (cycles, plan) = plans.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let direct = tiles::cycles(&product, tiles::choose_tile(&product, options.target), options.target);
    (cycles <= WORTHWHILE * direct).then_some(plan)
}

/// Whether a window of `taps` rows is one for these kernels, where a group has so many channels and outputs. Depthwise
/// convolution has kernels of its own.
pub fn suits(window: &Window, taps: usize, [channels, outputs]: [usize; 2]) -> bool {
    channels * outputs > 1
        && window.stride[0] > 1
        && window.dilation[0] == 1
        && Filtering::all(taps, window.stride[0]).next().is_some()
}

/// How its products may be computed. Only images of fewer channels than are worth crossing lie plane by plane.
pub fn arithmetics(
    groups: usize,
    channels: usize,
    options: LowerOptions,
) -> impl Iterator<Item = Arithmetic> + Clone + use<> {
    let may_cross = groups == 1 && channels >= FEWEST_TO_CROSS;
    Arithmetic::choices(crossed::crossing(options).filter(|_| may_cross))
}

/// The fewest channels of which products may be crossed.
const FEWEST_TO_CROSS: usize = 16;

const _: () = assert!(FEWEST_TO_CROSS > PLANAR_CHANNELS);

/// The best plan by one way of filtering, and its cycles.
pub fn polyphase_plan(
    product: &Product,
    filtering: Filtering,
    window: &Window,
    target: Cpu,
    threads: usize,
) -> (f64, PolyphasePlan) {
    let lanes = target.lanes() as f64;
    let tile_rows = product.rows.div_ceil(filtering.outputs);
    let products = filtering.products();
    // Elements of the input in one row, for each pixel of the output.
    let per_pixel = product.input_per_pixel / window.stride[0];
    // A row of tiles: transformed input of all phases, and sums.
    let row_input = filtering.multiplications() * product.columns * per_pixel;
    let row_sums = products * product.columns * product.outputs;
    let channels_width = product.reduction / filtering.taps;
    let weights = filtering.multiplications() * channels_width * product.outputs;
    let budget =
        if weights <= 2 * RESIDENT_WEIGHTS { TRANSFORMED_ELEMENTS } else { 2 * TRANSFORMED_ELEMENTS };
    let rows = tiles::even_blocks(tile_rows, tiles::rows_of(budget, row_input + row_sums, tile_rows));
    let at = |phases: usize| Product {
        rows,
        reduction: phases * channels_width,
        input_per_pixel: per_pixel * phases,
        ..*product
    };
    let blocks = tile_rows.div_ceil(rows);
    let order = choose_order(weights);
    // Each tile of pixels reads the weights again: from a first-level cache where they are taken point by point.
    let rereading = |tile: Tile| {
        let pixel_tiles = rows.div_ceil(tile.rows) * product.columns.div_ceil(tile.columns);
        if order == Order::Pixels { 0.0 } else { (pixel_tiles * weights) as f64 * REREAD_CYCLES }
    };
    let block = |tile: Tile| {
        let sums =
            (0..products).map(|product| tiles::cycles(&at(filtering.phases_at(product)), tile, target));
        sums.sum::<f64>() + rereading(tile)
    };
    let tiles = tiles::best_tiles(&at(filtering.phases()), target, TILES).into_iter();
    let tiles = tiles.map(|tile| (block(tile), tile));
    let (block, tile) = tiles.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there is a tile for every product");
    let arithmetic = block * tile_rows as f64 / rows as f64;
    let transforms = (tile_rows * (row_input + row_sums)) as f64 / lanes * TRANSFORM_CYCLES;
    let pixels = tile_rows * filtering.multiplications() * product.columns * window.stride[1];
    let channels_of_pixel = per_pixel / window.stride[1];
    let scaled = Product { rows: 1, columns: pixels, reduction: channels_of_pixel, ..*product };
    let scaling = crossed::scaling_cycles(&scaled, target);
    let streaming = if weights <= RESIDENT_WEIGHTS {
        0.0
    } else {
        (blocks * weights) as f64 * 4.0 / WEIGHT_BYTES_PER_CYCLE
    };
    let channels = tiles::winograd_channels(product.outputs, tile, (tile_rows, rows), target, threads);
    let plan = PolyphasePlan { filtering, arithmetic: product.arithmetic, tile, rows, channels };
    (transforms + scaling + arithmetic.max(streaming), plan)
}

/// Tile by tile where all weights stay in the second-level cache, else panel by panel.
fn choose_order(weights: usize) -> Order {
    if weights <= RESIDENT_WEIGHTS { Order::Pixels } else { Order::Panels }
}

/// The border that such a convolution wants around what it reads.
pub fn border(graph: &Graph, id: NodeId, filtering: Filtering, padding: [usize; 4]) -> [usize; 4] {
    let x = graph.shape(graph.operands(id)[0]).dims();
    polyphase::border(filtering, padding, x[2], graph.shape(id).dims()[2])
}

/// Lowers a convolution as planned.
#[expect(clippy::too_many_arguments, reason = "the parts of one kernel")]
pub fn lower(
    l: &mut Lowering,
    id: NodeId,
    plan: PolyphasePlan,
    filter: &Filter,
    conv: Conv,
    x: Value,
    y: Value,
    epilogue: FusedEpilogue,
    extra: &[Value],
) {
    let Conv { window, groups } = conv;
    let [channels, outputs] = [&x, &y].map(|value| value.view.dims[1] / groups);
    let [_, width] = filter.kernel;
    let PolyphasePlan { filtering, arithmetic, tile, rows, channels: block } = plan;
    let weights = filtering.multiplications() * width * channels * outputs;
    let kernel = PolyphaseKernel {
        x: x.view.clone(),
        y: y.view.clone(),
        filtering,
        width,
        window,
        groups,
        epilogue,
        arithmetic,
        tile,
        order: choose_order(weights),
        rows,
        channels: block,
    };
    let filters = kernel.filters(l.lanes());
    let weights = l.pack(PackSource::Polyphase { weight: filter.weight, filters });
    let bias = l.pack_bias(filter.bias, y.view.dims[1]);
    let work = Work {
        multiply_adds: kernel.multiply_adds(),
        activation_bytes: l.bytes(&[&x, &y]) + l.bytes(&extra.iter().collect::<Vec<_>>()),
        weight_bytes: (filters.elements() + y.view.dims[1]) as u64 * ELEMENT,
    };
    let bindings = [x.binding, weights, bias]
        .into_iter()
        .chain(bindings(extra))
        .chain([y.binding, Binding::Scratch])
        .collect();
    l.step(id, KernelSpec::Polyphase(kernel), bindings, work);
}
