//! Choices of kernels that were measured rather than modelled, as data.
//!
//! A choice belongs to a problem: a convolution's geometry, or a fused pair's. Where lowering meets the problem it
//! makes the choice, if that fits; everything else is the cost model's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::LowerOptions;
use super::crossed::crossing;
use super::polyphase::{self, PolyphasePlan};
use super::sharing::{WORTHWHILE, longest};
use super::tiles::{self, WinogradPlan};
use crate::codegen::target::{Cpu, InstructionSet};
use crate::graph::{Graph, NodeId};
use crate::kernels::chain::ChainKernel;
use crate::kernels::conv::{Blocking, ConvKernel, geometry};
use crate::kernels::crossed::Arithmetic;
use crate::kernels::depthwise::DepthwiseKernel;
use crate::kernels::packed::WeightType;
use crate::kernels::polyphase::{Filtering, PolyphaseKernel};
use crate::kernels::product::{Order, Tile};
use crate::kernels::winograd;
use crate::kernels::{KernelSpec, View};
use crate::ops::Conv;

/// How a problem is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "algorithm", rename_all = "snake_case", deny_unknown_fields)]
pub enum Choice {
    /// An implicit matrix product.
    Direct { tile: Tile, arithmetic: Arithmetic, blocking: Blocking, order: Order },
    /// Winograd's method: the products' tile, and rows of tiles of a block.
    Winograd {
        method: winograd::Method,
        filters: winograd::Filters,
        arithmetic: Arithmetic,
        tile: Tile,
        rows: usize,
    },
    /// Minimal filtering along rows: output rows of a tile, the products' tile, and rows of tiles of a block.
    Polyphase { outputs: usize, arithmetic: Arithmetic, tile: Tile, rows: usize },
    /// Neighbouring pixels computed together, and rows of a block.
    Depthwise { columns: usize, rows: usize },
    /// A pair as one kernel: neighbouring depthwise pixels, the pointwise tile and order, rows of a block.
    Fused { columns: usize, tile: Tile, arithmetic: Arithmetic, order: Order, rows: usize },
    /// A pair as two kernels.
    Separate,
}

/// The choices of one machine, by problem.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tuning(pub BTreeMap<String, Choice>);

/// The most neighbouring pixels that a depthwise kernel computes together.
const MOST_COLUMNS: usize = 16;

impl Choice {
    /// Whether the choice makes code for a machine's registers, whatever the problem.
    pub fn is_sane(&self, target: InstructionSet) -> bool {
        let columns_fit = |columns: usize| (1..=MOST_COLUMNS).contains(&columns);
        match *self {
            Choice::Direct { tile, arithmetic, blocking, .. } => {
                tiles::fits(tile, arithmetic, target) && blocking.pixels > 0 && blocking.channels > 0
            }
            Choice::Winograd { method, filters, arithmetic, tile, rows } => {
                let depth_fits = match filters {
                    winograd::Filters::Packed => true,
                    winograd::Filters::InRegisters { depth } => {
                        arithmetic == Arithmetic::Straight
                            && depth > 0
                            && tiles::fits_with_filters(tile, method, target)
                    }
                };
                tile.rows == 1 && tiles::fits(tile, arithmetic, target) && rows > 0 && depth_fits
            }
            Choice::Polyphase { arithmetic, tile, rows, .. } => {
                tiles::fits(tile, arithmetic, target) && rows > 0
            }
            Choice::Depthwise { columns, rows } => columns_fit(columns) && rows > 0,
            Choice::Fused { columns, tile, arithmetic, rows, .. } => {
                columns_fit(columns) && tiles::fits(tile, arithmetic, target) && rows > 0
            }
            Choice::Separate => true,
        }
    }
}

/// The problem that a kernel solves, if there is more than one way to.
pub fn problem(spec: &KernelSpec) -> Option<String> {
    Some(match spec {
        KernelSpec::Conv(kernel) => conv_problem(kernel),
        KernelSpec::Winograd(kernel) => {
            format!(
                "conv_{}",
                geometry(&kernel.x, &kernel.y, kernel.method.kernel(), &kernel.window, kernel.groups)
            )
        }
        KernelSpec::Polyphase(kernel) => {
            format!("conv_{}", geometry(&kernel.x, &kernel.y, kernel.kernel(), &kernel.window, kernel.groups))
        }
        KernelSpec::Depthwise(kernel) => depthwise_problem(kernel),
        KernelSpec::Chain(kernel) => chain_problem(kernel),
        _ => return None,
    })
}

/// The choice that a kernel makes.
pub fn choice(spec: &KernelSpec) -> Option<Choice> {
    Some(match spec {
        KernelSpec::Conv(kernel) => {
            let ConvKernel { tile, arithmetic, blocking, order, .. } = *kernel;
            Choice::Direct { tile, arithmetic, blocking, order }
        }
        KernelSpec::Winograd(kernel) => {
            let winograd::WinogradKernel { method, filters, arithmetic, tile, rows, .. } = *kernel;
            Choice::Winograd { method, filters, arithmetic, tile, rows }
        }
        KernelSpec::Polyphase(kernel) => {
            let PolyphaseKernel { filtering, arithmetic, tile, rows, .. } = *kernel;
            Choice::Polyphase { outputs: filtering.outputs, arithmetic, tile, rows }
        }
        KernelSpec::Depthwise(kernel) => Choice::Depthwise { columns: kernel.columns, rows: kernel.rows },
        KernelSpec::Chain(kernel) => Choice::Fused {
            columns: kernel.columns,
            tile: kernel.tile,
            arithmetic: kernel.arithmetic,
            order: kernel.order,
            rows: kernel.rows,
        },
        _ => return None,
    })
}

pub(super) fn conv_problem(kernel: &ConvKernel) -> String {
    let weights = match kernel.weight_type {
        WeightType::F32 => "",
        WeightType::F16 => "_f16",
    };
    let shape = geometry(&kernel.x, &kernel.y, kernel.kernel, &kernel.window, kernel.groups);
    format!("conv_{shape}{weights}")
}

fn depthwise_problem(kernel: &DepthwiseKernel) -> String {
    let groups = kernel.x.dims[1];
    format!("depthwise_{}", geometry(&kernel.x, &kernel.y, kernel.kernel, &kernel.window, groups))
}

pub(super) fn chain_problem(kernel: &ChainKernel) -> String {
    format!("depthwise_pointwise_{}", geometry(&kernel.x, &kernel.y, kernel.kernel, &kernel.window, 1))
}

/// What a tuning says of a convolution for which there are methods with fewer multiplications.
pub(super) enum Way {
    Direct,
    Winograd(WinogradPlan),
    Polyphase(PolyphasePlan),
}

impl Tuning {
    fn get(&self, problem: impl FnOnce() -> String, target: Cpu) -> Option<Choice> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&problem()).copied().filter(|choice| choice.is_sane(target.isa))
    }

    /// How to compute a convolution for which there are methods with fewer multiplications.
    pub(super) fn way(
        &self,
        graph: &Graph,
        id: NodeId,
        kernel: [usize; 2],
        Conv { window, groups }: Conv,
        options: LowerOptions,
    ) -> Option<Way> {
        let LowerOptions { target, threads, .. } = options;
        let view = |id: NodeId| {
            let (n, c, h, w) = graph.shape(id).nchw()?;
            Some(View::channels_last([n, c, h, w], [0; 4]))
        };
        let (x, y) = (view(graph.operands(id)[0])?, view(id)?);
        // Rows of tiles and output channels of a grid point.
        let cut = |outputs_of_tile: usize, tile: Tile, rows: usize| {
            let tile_rows = y.dims[2].div_ceil(outputs_of_tile);
            let rows = rows.min(tile_rows);
            let outputs = y.dims[1] / groups;
            (rows, tiles::winograd_channels(outputs, tile, (tile_rows, rows), target, threads))
        };
        match self.get(|| format!("conv_{}", geometry(&x, &y, kernel, &window, groups)), target)? {
            Choice::Direct { .. } => Some(Way::Direct),
            Choice::Winograd { method, filters, arithmetic, tile, rows }
                if method.kernel() == kernel
                    && Arithmetic::choices(crossing(options)).any(|choice| choice == arithmetic)
                    && tiles::suits_winograd(x.dims[1] / groups, y.dims[1] / groups, target) =>
            {
                let (rows, channels) = cut(method.rows.outputs(), tile, rows);
                Some(Way::Winograd(WinogradPlan { method, filters, arithmetic, tile, rows, channels }))
            }
            Choice::Polyphase { outputs, arithmetic, tile, rows }
                if polyphase::arithmetics(groups, x.dims[1] / groups, options)
                    .any(|choice| choice == arithmetic)
                    && polyphase::suits(&window, kernel[0], [x.dims[1] / groups, y.dims[1] / groups]) =>
            {
                let filtering = Filtering::all(kernel[0], window.stride[0])
                    .find(|filtering| filtering.outputs == outputs)?;
                let (rows, channels) = cut(outputs, tile, rows);
                Some(Way::Polyphase(PolyphasePlan { filtering, arithmetic, tile, rows, channels }))
            }
            _ => None,
        }
    }

    /// How the sums of a convolution or of a pair are computed, whatever the blocks: it decides how they are rounded, so
    /// it may not depend on the number of threads.
    pub(super) fn arithmetic(&self, problem: impl FnOnce() -> String, target: Cpu) -> Option<Arithmetic> {
        match self.get(problem, target)? {
            Choice::Direct { arithmetic, .. } | Choice::Fused { arithmetic, .. } => Some(arithmetic),
            _ => None,
        }
    }

    /// A convolution with the tile, blocks and order that were measured.
    pub(super) fn conv(&self, kernel: ConvKernel, target: Cpu, threads: usize) -> ConvKernel {
        let (outputs, extent) = (kernel.y.dims[1] / kernel.groups, kernel.block_extent());
        let points =
            |blocking: &Blocking| extent.div_ceil(blocking.pixels) * outputs.div_ceil(blocking.channels);
        match self.get(|| conv_problem(&kernel), target) {
            Some(Choice::Direct { tile, arithmetic, blocking, order })
                if arithmetic == kernel.arithmetic
                    && (blocking.channels.is_multiple_of(tile.vectors * target.lanes())
                        || blocking.channels >= outputs)
                    && busies(threads, points(&blocking), points(&kernel.blocking)) =>
            {
                // A file may say any number.
                let pixels = blocking.pixels.min(extent.next_multiple_of(tile.rows * tile.columns));
                let channels = blocking.channels.min(outputs.next_multiple_of(tile.vectors * target.lanes()));
                let blocking = Blocking { pixels, channels };
                ConvKernel { tile, blocking, order, ..kernel }
            }
            _ => kernel,
        }
    }

    /// A depthwise convolution with the columns and rows that were measured.
    pub(super) fn depthwise(&self, kernel: DepthwiseKernel, target: Cpu, threads: usize) -> DepthwiseKernel {
        let points = |rows: usize| kernel.y.dims[2].div_ceil(rows);
        match self.get(|| depthwise_problem(&kernel), target) {
            Some(Choice::Depthwise { columns, rows })
                if busies(threads, points(rows), points(kernel.rows)) =>
            {
                DepthwiseKernel { columns, rows: rows.min(kernel.y.dims[2]), ..kernel }
            }
            _ => kernel,
        }
    }

    /// The kernel of a pair; none where it is to be two.
    pub(super) fn chain(&self, kernel: ChainKernel, target: Cpu, threads: usize) -> Option<ChainKernel> {
        let [images, outputs, height, _] = kernel.y.dims[..] else { unreachable!("rank 4") };
        // The model's own blocks may share output channels.
        let part = kernel.channels.min(outputs) as f64 / outputs as f64;
        let own = longest(height, kernel.rows, images, threads).min(part * (images * height) as f64);
        match self.get(|| chain_problem(&kernel), target) {
            Some(Choice::Separate) => None,
            Some(Choice::Fused { columns, tile, arithmetic, order, rows })
                if arithmetic == kernel.arithmetic
                    && longest(height, rows, images, threads) <= own * WORTHWHILE =>
            {
                let rows = rows.min(height);
                Some(ChainKernel { columns, tile, order, rows, channels: outputs, ..kernel })
            }
            _ => Some(kernel),
        }
    }
}

/// Whether so many grid points keep the threads as busy as the model's own: a choice may have been measured with fewer
/// threads.
fn busies(threads: usize, points: usize, own: usize) -> bool {
    threads == 1 || points >= own.min(2 * threads)
}
