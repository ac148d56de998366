//! The ways of computing a problem that are worth measuring: what the cost model ranks best, and its neighbours.

use super::LowerOptions;
use super::convolutions::implicit_product;
use super::crossed;
use super::polyphase::{self, PolyphasePlan};
use super::tiles::{self, Product, WinogradPlan};
use super::tuning::{Choice, choice};
use crate::codegen::target::Cpu;
use crate::kernels::chain::ChainKernel;
use crate::kernels::conv::{Blocking, ConvKernel};
use crate::kernels::crossed::{Arithmetic, Crossing};
use crate::kernels::polyphase::Filtering;
use crate::kernels::product::{Order, Tile};
use crate::kernels::winograd::Method;
use crate::kernels::{KernelSpec, View};
use crate::ops::Window;

/// Register tiles that are tried for a problem.
const TILES: usize = 4;

/// Ways of minimal filtering, straight and crossed, that are tried for a problem.
const FILTERINGS: usize = 4;

/// Other ways of computing what a kernel computes, most promising first, as far as the options allow.
pub fn candidates(spec: &KernelSpec, options: LowerOptions) -> Vec<Choice> {
    let target = options.target;
    let mut found = match spec {
        KernelSpec::Conv(kernel) => conv(kernel, options),
        KernelSpec::Winograd(kernel) => {
            let (x, y, window) = (&kernel.x, &kernel.y, &kernel.window);
            let product = product(x, y, kernel.method.kernel(), window, kernel.groups);
            let mut found = by_winograd(&product, kernel.method.kernel(), options);
            found.insert(
                0,
                direct(&product, tiles::choose_tile(&product, target), target, images(y, kernel.groups)),
            );
            found
        }
        KernelSpec::Polyphase(kernel) => {
            let (x, y, window) = (&kernel.x, &kernel.y, &kernel.window);
            let product = product(x, y, kernel.kernel(), window, kernel.groups);
            let mut found = by_filtering(&product, kernel.filtering.taps, (window, kernel.groups), options);
            found.insert(
                0,
                direct(&product, tiles::choose_tile(&product, target), target, images(y, kernel.groups)),
            );
            found
        }
        KernelSpec::Depthwise(kernel) => {
            let height = kernel.y.dims[2];
            let columns = [
                kernel.columns + 2,
                kernel.columns + 1,
                kernel.columns.saturating_sub(1),
                kernel.columns / 2,
            ];
            let rows = around(kernel.rows, height).map(|rows| (kernel.columns, rows));
            let found = columns.into_iter().map(|columns| (columns, kernel.rows)).chain(rows);
            found.map(|(columns, rows)| Choice::Depthwise { columns, rows }).collect()
        }
        KernelSpec::Chain(kernel) => {
            let window = Window::default();
            let [_, outputs, height, width] = kernel.y.dims[..] else { unreachable!("rank 4") };
            let arithmetic = kernel.arithmetic;
            let of = |rows| Product {
                arithmetic,
                ..implicit_product([rows, width], outputs, kernel.x.dims[1], [1, 1], &window)
            };
            let fused = |columns, tile, order, rows| Choice::Fused { columns, tile, arithmetic, order, rows };
            let mut found = vec![Choice::Separate];
            if let Some(crossing) = crossed::crossing(options) {
                let other = Product { arithmetic: other_arithmetic(arithmetic, crossing), ..of(kernel.rows) };
                let ChainKernel { columns, order, rows, .. } = *kernel;
                let tile = tiles::choose_tile(&other, target);
                found.push(Choice::Fused { columns, tile, arithmetic: other.arithmetic, order, rows });
            }
            for rows in around(kernel.rows, height) {
                let tile = tiles::choose_tile(&of(rows), target);
                found.push(fused(kernel.columns, tile, kernel.order, rows));
            }
            found.push(fused(kernel.columns, kernel.tile, other(kernel.order), kernel.rows));
            for tile in tiles::best_tiles(&of(kernel.rows), target, TILES) {
                found.push(fused(kernel.columns, tile, kernel.order, kernel.rows));
            }
            for columns in [kernel.columns + 1, kernel.columns / 2] {
                found.push(fused(columns, kernel.tile, kernel.order, kernel.rows));
            }
            found
        }
        _ => Vec::new(),
    };
    let own = choice(spec);
    let mut seen = Vec::new();
    found.retain(|candidate| {
        let is_new = Some(*candidate) != own && candidate.is_sane(target.isa) && !seen.contains(candidate);
        seen.push(*candidate);
        is_new
    });
    found
}

fn product(x: &View, y: &View, kernel: [usize; 2], window: &Window, groups: usize) -> Product {
    implicit_product([y.dims[2], y.dims[3]], y.dims[1] / groups, x.dims[1] / groups, kernel, window)
}

/// What a direct kernel's grid has one coordinate for.
fn images(y: &View, groups: usize) -> usize {
    if groups > 1 { groups } else { y.dims[0] }
}

/// Half, double and four times as many.
fn around(rows: usize, most: usize) -> impl Iterator<Item = usize> {
    [2 * rows, rows.div_ceil(2), 4 * rows].into_iter().map(move |rows| rows.clamp(1, most))
}

fn other(order: Order) -> Order {
    match order {
        Order::Pixels => Order::Panels,
        Order::Panels => Order::Pixels,
    }
}

fn other_arithmetic(arithmetic: Arithmetic, crossing: Crossing) -> Arithmetic {
    match arithmetic {
        Arithmetic::Straight => Arithmetic::Crossed(crossing),
        Arithmetic::Crossed(_) => Arithmetic::Straight,
    }
}

/// A tile with the blocking and order that the model gives it.
fn direct(product: &Product, tile: Tile, target: Cpu, images: usize) -> Choice {
    let blocking = match product.arithmetic {
        Arithmetic::Straight => tiles::choose_blocking(product, tile, target, images, 1),
        Arithmetic::Crossed(_) => crossed::choose_blocking(product, tile, target, images, 1),
    };
    let (arithmetic, order) = (product.arithmetic, tiles::choose_order(product));
    Choice::Direct { tile, arithmetic, blocking, order }
}

fn conv(kernel: &ConvKernel, options: LowerOptions) -> Vec<Choice> {
    let LowerOptions { target, winograd, .. } = options;
    let crossing = crossed::crossing(options);
    let ConvKernel { x, y, window, groups, tile, arithmetic, blocking, order, .. } = kernel;
    let images = images(y, *groups);
    let product = product(x, y, kernel.kernel, window, *groups);
    let product = Product { arithmetic: *arithmetic, ..product };
    let mut found = Vec::new();
    let may_cross = kernel.may_cross() && !tiles::weights_bind(&product);
    if let Some(crossing) = crossing.filter(|_| may_cross) {
        let other = Product { arithmetic: other_arithmetic(*arithmetic, crossing), ..product };
        found.push(direct(&other, tiles::choose_tile(&other, target), target, images));
    }
    if winograd && window.stride == [1, 1] && window.dilation == [1, 1] {
        // As the model cuts it: each method, straight and crossed, and the one that transforms filters in registers.
        let plans = Arithmetic::choices(crossing).count() * Method::all(kernel.kernel).len() + 1;
        found.extend(by_winograd(&product, kernel.kernel, options).into_iter().take(plans));
    }
    let per_group = [x.dims[1] / groups, y.dims[1] / groups];
    if winograd && polyphase::suits(window, kernel.kernel[0], per_group) {
        found.extend(by_filtering(&product, kernel.kernel[0], (window, *groups), options));
    }
    let best = tiles::best_tiles(&product, target, TILES);
    found.extend(best.into_iter().map(|tile| direct(&product, tile, target, images)));
    let with = |blocking, order| Choice::Direct { tile: *tile, arithmetic: *arithmetic, blocking, order };
    found.push(with(*blocking, other(*order)));
    let extent = if product.rows > 1 { product.rows } else { product.columns };
    for pixels in around(blocking.pixels, extent) {
        found.push(with(Blocking { pixels, ..*blocking }, *order));
    }
    let panel = tile.vectors * target.lanes();
    for parts in [2, 4] {
        let channels = product.outputs.div_ceil(parts).next_multiple_of(panel);
        found.push(with(Blocking { channels, ..*blocking }, *order));
    }
    found
}

/// Winograd's methods, each as the model cuts it and with other blocks.
fn by_winograd(product: &Product, kernel: [usize; 2], options: LowerOptions) -> Vec<Choice> {
    let target = options.target;
    if !tiles::suits_winograd(product.reduction / (kernel[0] * kernel[1]), product.outputs, target) {
        return Vec::new();
    }
    let plans = Method::all(kernel).iter().flat_map(|&method| {
        Arithmetic::choices(crossed::crossing(options)).map(move |arithmetic| {
            tiles::winograd_plan(&Product { arithmetic, ..*product }, method, target, 1).1
        })
    });
    let in_registers = tiles::winograd_plan_in_registers(product, kernel, target, 1).map(|(_, plan)| plan);
    let plans: Vec<WinogradPlan> = plans.chain(in_registers).collect();
    let choice = |WinogradPlan { method, filters, arithmetic, tile, rows, .. }| Choice::Winograd {
        method,
        filters,
        arithmetic,
        tile,
        rows,
    };
    let mut found: Vec<Choice> = plans.iter().copied().map(choice).collect();
    for plan in plans {
        let tile_rows = product.rows.div_ceil(plan.method.rows.outputs());
        found.extend(around(plan.rows, tile_rows).take(2).map(|rows| choice(WinogradPlan { rows, ..plan })));
    }
    found
}

/// Minimal filtering along rows: as many output rows at a time as the model finds best, then others, and other blocks.
fn by_filtering(
    product: &Product,
    taps: usize,
    (window, groups): (&Window, usize),
    options: LowerOptions,
) -> Vec<Choice> {
    let channels = product.input_per_pixel / (window.stride[0] * window.stride[1]);
    let arithmetics = polyphase::arithmetics(groups, channels, options);
    let plans = Filtering::all(taps, window.stride[0]).flat_map(|filtering| {
        arithmetics.clone().map(move |arithmetic| {
            let product = Product { arithmetic, ..*product };
            polyphase::polyphase_plan(&product, filtering, window, options.target, 1)
        })
    });
    let mut plans: Vec<(f64, PolyphasePlan)> = plans.collect();
    plans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let choice = |PolyphasePlan { filtering, arithmetic, tile, rows, .. }| Choice::Polyphase {
        outputs: filtering.outputs,
        arithmetic,
        tile,
        rows,
    };
    let mut found: Vec<Choice> = plans.iter().take(FILTERINGS).map(|plan| choice(plan.1)).collect();
    for (_, plan) in plans.into_iter().take(1) {
        let tile_rows = product.rows.div_ceil(plan.filtering.outputs);
        found.extend(around(plan.rows, tile_rows).take(2).map(|rows| choice(PolyphasePlan { rows, ..plan })));
    }
    found
}
