//! Depthwise and pointwise convolution as one kernel: the map between them lives in scratch memory only.

use super::Family;
use super::conv::{border_after, geometry};
use super::crossed::{self, Arithmetic, Balance, Operand, Terms};
use super::depthwise::{ChannelFilter, Stored};
use super::ends::Layer;
use super::epilogue::FusedEpilogue;
use super::packed::{PackedFilter, WeightType};
use super::product::{Order, Product, Region, Then, Tile, next_input, uneven};
use super::view::{View, layout_suffix};
use crate::codegen::vector::{Access, Affine, Builder, Kernel};
use crate::ops::Window;

/// A depthwise convolution and the 1×1 convolution after it. Each grid point computes a block of the depthwise
/// rows into scratch memory that stays in the nearest caches, and multiplies it from there.
///
/// Buffers: `x`, depthwise weights and bias, pointwise weights and bias, the epilogues' operands in that order, `y`,
/// scratch. Grid: image, block of rows, block of output channels, each of which computes the depthwise rows again.
#[derive(Clone, PartialEq, Debug)]
pub struct ChainKernel {
    /// `[n, c, h, w]`, with a border of zeros at least as wide as the padding.
    pub x: View,
    /// `[n, o, h', w']`
    pub y: View,
    /// The depthwise `[kh, kw]`.
    pub kernel: [usize; 2],
    /// The depthwise window.
    pub window: Window,
    pub depthwise_epilogue: FusedEpilogue,
    pub pointwise_epilogue: FusedEpilogue,
    /// Neighbouring depthwise pixels computed together.
    pub columns: usize,
    /// The pointwise register tile.
    pub tile: Tile,
    /// How the pointwise half's sums are computed.
    pub arithmetic: Arithmetic,
    /// The order of the pointwise loops.
    pub order: Order,
    /// Output rows of one grid point.
    pub rows: usize,
    /// Output channels of one grid point: all, or a multiple of the tile's.
    pub channels: usize,
}

impl ChainKernel {
    pub fn multiply_adds(&self) -> u64 {
        let [n, o, h, w] = self.y.dims[..] else { unreachable!("rank 4") };
        let channels = self.x.dims[1];
        (n * h * w * channels * (self.kernel[0] * self.kernel[1] + o)) as u64
    }

    pub fn packed_filter(&self, lanes: usize) -> PackedFilter {
        PackedFilter {
            groups: 1,
            outputs: self.y.dims[1],
            reduction: self.x.dims[1],
            panel_width: self.tile.vectors * lanes,
            weight_type: WeightType::F32,
            arithmetic: self.arithmetic,
        }
    }

    /// The depthwise rows of one grid point, as they lie in scratch memory.
    fn scratch(&self) -> View {
        Operand::view(self.x.dims[1], self.rows, self.y.dims[3])
    }
}

impl Family for ChainKernel {
    fn name(&self) -> String {
        let Tile { rows, columns, vectors } = self.tile;
        let part = if self.channels < self.y.dims[1] { format!("x{}", self.channels) } else { String::new() };
        format!(
            "depthwise_pointwise_{}{}_pw{}{}_t{}_t{rows}x{columns}x{vectors}_b{}{part}{}{}",
            geometry(&self.x, &self.y, self.kernel, &self.window, 1),
            self.depthwise_epilogue.suffix(),
            self.arithmetic.suffix(),
            self.pointwise_epilogue.suffix(),
            self.columns,
            self.rows,
            self.order.suffix(),
            layout_suffix([&self.x, &self.y]),
        )
    }

    fn build(&self, lanes: usize) -> Kernel {
        let mut k = Builder::new(self.name(), lanes);
        let channels = self.x.dims[1];
        let [images, outputs, height, width] = self.y.dims[..] else { unreachable!("rank 4") };
        let filter = self.packed_filter(lanes);
        let scratch = self.scratch();
        let x = k.buffer("x", Access::Read, self.x.end() + border_after(&self.x, &self.window));
        let depthwise_weights = k.buffer("w1", Access::Read, self.kernel[0] * self.kernel[1] * channels);
        let depthwise_bias = k.buffer("b1", Access::Read, channels);
        let weights = k.buffer("w2", Access::Read, filter.elements());
        let bias = k.buffer("b2", Access::Read, filter.bias_elements());
        let depthwise_epilogue = self.depthwise_epilogue.declare(&mut k);
        let pointwise_epilogue = self.pointwise_epilogue.declare(&mut k);
        let y = k.buffer("y", Access::Write, self.y.end());
        let elements = if filter.is_crossed() { Operand::elements(&scratch) } else { scratch.end() };
        let between = k.buffer("scratch", Access::Scratch, elements);
        let operand = filter.is_crossed().then(|| Operand::new(scratch.clone(), between.clone()));
        let depthwise = ChannelFilter {
            x: (&self.x, x.clone()),
            y: (&scratch, between.clone()),
            weights: depthwise_weights,
            bias: depthwise_bias,
            epilogue: &depthwise_epilogue,
            kernel: self.kernel,
            window: &self.window,
            columns: self.columns,
        };
        let image = k.grid(0, images);
        let block = k.grid(1, height.div_ceil(self.rows));
        let channel_block = k.grid(2, outputs.div_ceil(self.channels));
        let first = Affine::default().along(block, self.rows);
        let shape = (self.kernel, &self.window);
        let next_input = next_input((&self.x, &x), &image.into(), shape, 0, &first, self.rows);
        let pointwise_window = Window::default();
        let pointwise = Product {
            x: (&scratch, between),
            weights: weights.clone(),
            filter,
            kernel: [1, 1],
            window: &pointwise_window,
            tile: self.tile,
            order: self.order,
            then: Then::NextPanel,
            next_input: Some(next_input),
        };
        let zero = Affine::default;
        uneven(&mut k, block, height, self.rows, |k, rows| {
            let origin = [zero().along(block, self.rows), zero()];
            let stored = Stored { image: zero(), origin: [zero(), zero()] };
            depthwise.region(k, &image.into(), &stored, &origin, [rows, width]);
            if let Some(operand) = &operand {
                let balance = Balance::of(&filter, &weights, &zero());
                operand.scale(k, &balance, [rows, width]);
            }
            uneven(k, channel_block, outputs, self.channels, |k, channels| {
                let region = Region {
                    image: zero(),
                    group: zero(),
                    origin: [zero(), zero()],
                    size: [rows, width],
                    first_channel: zero().along(channel_block, self.channels),
                    channels,
                };
                let layer = Layer {
                    bias: bias.clone(),
                    epilogue: &pointwise_epilogue,
                    y: (&self.y, y.clone()),
                    image: image.into(),
                    first_channel: zero(),
                    origin: origin.clone(),
                };
                let pixels = operand.as_ref().map(|operand| &operand.pixels);
                let crossed = Terms::of(&filter, &weights, &zero()).zip(pixels);
                crossed::region(&pointwise, k, &region, layer, crossed);
            });
        });
        k.finish()
    }
}
