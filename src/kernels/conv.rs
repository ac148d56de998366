//! Convolution and dense layers as implicit matrix products.

use serde::{Deserialize, Serialize};

use super::Family;
use super::crossed::{self, Arithmetic, Balance, Operand, Terms};
use super::ends::Layer;
use super::epilogue::FusedEpilogue;
use super::packed::{PackedFilter, WeightType};
use super::product::{Order, Product, Region, Then, Tile, next_input, uneven};
use super::view::{View, layout_suffix};
use crate::codegen::vector::{Access, Affine, Builder, Kernel};
use crate::ops::Window;

/// How a kernel's output is cut into grid points.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocking {
    /// Output rows (or, of an image with one row, columns) of one grid point.
    pub pixels: usize,
    /// Output channels of one grid point and group.
    pub channels: usize,
}

/// A convolution. Weights are packed as [`PackedFilter`] says.
///
/// Buffers: `x`, weights, bias, the epilogue's operands, `y`, and for crossed products scratch, which a grid point copies
/// its pixels to. Grid: image (or group, where there is more than one), block of rows, block of channels.
#[derive(Clone, PartialEq, Debug)]
pub struct ConvKernel {
    /// `[n, c, h, w]`, with a border of zeros at least as wide as the padding.
    pub x: View,
    /// `[n, o, h', w']`
    pub y: View,
    /// `[kh, kw]`
    pub kernel: [usize; 2],
    pub window: Window,
    pub groups: usize,
    pub weight_type: WeightType,
    pub epilogue: FusedEpilogue,
    pub tile: Tile,
    /// Crossed only where [`ConvKernel::may_cross`] says so.
    pub arithmetic: Arithmetic,
    pub blocking: Blocking,
    pub order: Order,
}

impl ConvKernel {
    /// Whether its products can be crossed: those of one run of contiguous channels.
    pub fn may_cross(&self) -> bool {
        self.kernel == [1, 1]
            && self.window.padding == [0; 4]
            && self.groups == 1
            && self.weight_type == WeightType::F32
            && self.x.is_contiguous_along(1)
    }

    /// What [`Blocking::pixels`] cuts up: rows, or the pixels of the only one.
    pub fn block_extent(&self) -> usize {
        let [.., height, width] = self.y.dims[..] else { unreachable!("rank 4") };
        if height > 1 { height } else { width }
    }

    pub fn packed_filter(&self, lanes: usize) -> PackedFilter {
        PackedFilter {
            groups: self.groups,
            outputs: self.y.dims[1] / self.groups,
            reduction: self.kernel[0] * self.kernel[1] * self.x.dims[1] / self.groups,
            panel_width: self.tile.vectors * lanes,
            weight_type: self.weight_type,
            arithmetic: self.arithmetic,
        }
    }

    /// The pixels of a grid point, as crossed products read them.
    fn scaled(&self) -> View {
        let (pixels, width) = (self.blocking.pixels, self.y.dims[3]);
        let [rows, columns] = if self.y.dims[2] > 1 { [pixels, width] } else { [1, pixels] };
        Operand::view(self.x.dims[1], rows, columns)
    }

    /// Multiply-adds of the whole layer.
    pub fn multiply_adds(&self) -> u64 {
        (self.y.elements() * self.kernel[0] * self.kernel[1] * (self.x.dims[1] / self.groups)) as u64
    }
}

/// `ic64ih56iw56oc128oh56ow56kh3kw3sh1sw1…`: what a name says of a convolution's geometry.
pub(crate) fn geometry(x: &View, y: &View, kernel: [usize; 2], window: &Window, groups: usize) -> String {
    let ([n, c, h, w], [_, o, oh, ow]) = (&x.dims[..], &y.dims[..]) else { unreachable!("rank 4") };
    let mut name = String::new();
    if groups > 1 {
        name += &format!("g{groups}");
    }
    if *n > 1 {
        name += &format!("mb{n}");
    }
    name += &format!("ic{c}ih{h}iw{w}oc{o}oh{oh}ow{ow}kh{}kw{}", kernel[0], kernel[1]);
    let Window { stride, padding, dilation } = window;
    if *stride != [1, 1] {
        name += &format!("sh{}sw{}", stride[0], stride[1]);
    }
    if *padding != [0; 4] {
        name += &format!("ph{}pw{}", padding[0], padding[1]);
    }
    if padding[2..] != padding[..2] {
        name += &format!("pb{}pr{}", padding[2], padding[3]);
    }
    if *dilation != [1, 1] {
        name += &format!("dh{}dw{}", dilation[0], dilation[1]);
    }
    name
}

impl Family for ConvKernel {
    fn name(&self) -> String {
        let Tile { rows, columns, vectors } = self.tile;
        format!(
            "conv_{}{}{}{}_t{rows}x{columns}x{vectors}_b{}x{}{}{}",
            geometry(&self.x, &self.y, self.kernel, &self.window, self.groups),
            self.weight_type.suffix(),
            self.arithmetic.suffix(),
            self.epilogue.suffix(),
            self.blocking.pixels,
            self.blocking.channels,
            self.order.suffix(),
            layout_suffix([&self.x, &self.y]),
        )
    }

    fn build(&self, lanes: usize) -> Kernel {
        debug_assert!(!self.arithmetic.is_crossed() || self.may_cross());
        let mut k = Builder::new(self.name(), lanes);
        let filter = self.packed_filter(lanes);
        let x = k.buffer("x", Access::Read, self.x.end() + border_after(&self.x, &self.window));
        let weights = k.buffer("weights", Access::Read, filter.elements());
        let bias = k.buffer("bias", Access::Read, filter.bias_elements());
        let epilogue = self.epilogue.declare(&mut k);
        let y = k.buffer("y", Access::Write, self.y.end());
        let operand = filter.is_crossed().then(|| {
            let view = self.scaled();
            let scratch = k.buffer("scratch", Access::Scratch, Operand::elements(&view));
            Operand::new(view, scratch)
        });
        let [images, _, height, width] = self.y.dims[..] else { unreachable!("rank 4") };
        let along_rows = height > 1;
        let extent = self.block_extent();
        let blocks = extent.div_ceil(self.blocking.pixels);
        let channel_blocks = filter.outputs.div_ceil(self.blocking.channels);
        let first = k.grid(0, if self.groups > 1 { self.groups } else { images });
        let block = k.grid(1, blocks);
        let channel_block = k.grid(2, channel_blocks);
        let next_input = (self.groups == 1).then(|| {
            let (axis, pixels) = (usize::from(!along_rows), self.blocking.pixels);
            let start = Affine::default().along(block, pixels);
            next_input((&self.x, &x), &first.into(), (self.kernel, &self.window), axis, &start, pixels)
        });
        // Scaled pixels lie side by side.
        let unit = Window::default();
        let (source, window) = match &operand {
            Some(operand) => (operand.x(), &unit),
            None => ((&self.x, x.clone()), &self.window),
        };
        let product = Product {
            x: source,
            weights: weights.clone(),
            filter,
            kernel: self.kernel,
            window,
            tile: self.tile,
            order: self.order,
            then: Then::NextPanel,
            next_input,
        };
        let size = |pixels| if along_rows { [pixels, width] } else { [1, pixels] };
        let run = |k: &mut Builder, image: Affine, group: Affine| {
            uneven(k, block, extent, self.blocking.pixels, |k, pixels| {
                let start = Affine::default().along(block, self.blocking.pixels);
                let origin = if along_rows { [start, Affine::default()] } else { [Affine::default(), start] };
                let first_input = input_origin(&origin, &self.window);
                if let Some(operand) = &operand {
                    let [_, _, row, column] = self.x.strides[..] else { unreachable!("rank 4") };
                    let at =
                        [image.clone(), Affine::default(), first_input[0].clone(), first_input[1].clone()];
                    let Window { stride, .. } = self.window;
                    let strides = [stride[0] * row, stride[1] * column];
                    let balance = Balance::of(&filter, &weights, &group);
                    operand.take(k, &self.x.at(&x, &at), strides, &balance, size(pixels));
                }
                uneven(k, channel_block, filter.outputs, self.blocking.channels, |k, channels| {
                    let layer = Layer {
                        bias: bias.at(&group, filter.panels() * filter.panel_width),
                        epilogue: &epilogue,
                        y: (&self.y, y.clone()),
                        image: image.clone(),
                        first_channel: group.times(filter.outputs),
                        origin: origin.clone(),
                    };
                    let region = Region {
                        image: if filter.is_crossed() { Affine::default() } else { image.clone() },
                        group: group.clone(),
                        origin: if filter.is_crossed() { Default::default() } else { first_input.clone() },
                        size: size(pixels),
                        first_channel: Affine::default().along(channel_block, self.blocking.channels),
                        channels,
                    };
                    let pixels = operand.as_ref().map(|operand| &operand.pixels);
                    let crossed = Terms::of(&filter, &weights, &group).zip(pixels);
                    crossed::region(&product, k, &region, layer, crossed);
                });
            });
        };
        if self.groups > 1 {
            k.repeat(images, |k, image| run(k, image.into(), first.into()));
        } else {
            run(&mut k, first.into(), Affine::default());
        }
        k.finish()
    }
}

/// The input coordinate that an output coordinate's first tap reads; padding makes it negative at the edges,
/// where the view's border is.
pub(super) fn input_origin(origin: &[Affine; 2], window: &Window) -> [Affine; 2] {
    [0, 1].map(|axis| origin[axis].times(window.stride[axis]).plus(-(window.padding[axis] as i64)))
}

/// Elements that windows reach past the last element of the view, in the border after it.
pub(super) fn border_after(x: &View, window: &Window) -> usize {
    window.padding[2] * x.strides[2] + window.padding[3] * x.strides[3]
}
