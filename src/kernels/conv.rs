//! Convolution and dense layers as implicit matrix products.
//!
//! A tile of output pixels × vectors of output channels stays in registers while the reduction runs over
//! `(kh, kw, c)`: one broadcast input element times a vector of packed weights at each step. Padding is a border
//! of zeros in the input's view, so no tile tests for edges.

use super::Family;
use super::epilogue::{EpilogueBuffers, FusedEpilogue};
use super::view::{View, layout_suffix};
use crate::codegen::clif;
use crate::codegen::vector::{Access, Address, Affine, Builder, Kernel, Reg};
use crate::ops::Window;

/// How many output pixels and channel vectors one register tile holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tile {
    /// Output rows.
    pub rows: usize,
    /// Output columns.
    pub columns: usize,
    /// Vectors of output channels.
    pub vectors: usize,
}

/// How a kernel's output is cut into grid points.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Blocking {
    /// Output rows (or, of an image with one row, columns) of one grid point.
    pub pixels: usize,
    /// Output channels of one grid point and group.
    pub channels: usize,
}

/// Which loop runs outside, within a grid point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// For each tile of pixels all channels: outputs are written line after line, while the weights stay in the
    /// second-level cache.
    Pixels,
    /// For each panel of weights all pixels: large weights are read once.
    Panels,
}

/// A convolution. Weights are packed as [`PackedFilter`] says.
///
/// Grid: image (or group, where there is more than one), block of rows, block of channels.
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
    pub blocking: Blocking,
    pub order: Order,
}

/// How weights are stored in memory. Arithmetic is `f32` in either case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum WeightType {
    #[default]
    F32,
    /// Half the bytes; widened in registers.
    F16,
}

impl WeightType {
    pub fn bytes(self) -> usize {
        match self {
            WeightType::F32 => 4,
            WeightType::F16 => 2,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            WeightType::F32 => "",
            WeightType::F16 => "_f16",
        }
    }
}

/// The layout of packed weights: `[group][panel][kh][kw][c][panel_width]`, output channels innermost, the last
/// panel of each group filled up with zeros. A bias is packed alike, as `f32`: `[group][panel][panel_width]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PackedFilter {
    pub groups: usize,
    /// Output channels of one group.
    pub outputs: usize,
    /// `kh · kw · c` of one group.
    pub reduction: usize,
    /// Output channels of one panel; even.
    pub panel_width: usize,
    pub weight_type: WeightType,
}

impl PackedFilter {
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(self.panel_width)
    }

    /// Elements of the packed bias.
    pub fn bias_elements(&self) -> usize {
        self.groups * self.panels() * self.panel_width
    }

    /// Elements of memory, of four bytes each, that the weights of one step of the reduction take.
    fn row_elements(&self) -> usize {
        self.panel_width * self.weight_type.bytes() / WeightType::F32.bytes()
    }

    /// Elements of memory that the packed weights take.
    pub fn elements(&self) -> usize {
        self.groups * self.panels() * self.row_elements() * self.reduction
    }
}

impl ConvKernel {
    pub fn packed_filter(&self, lanes: usize) -> PackedFilter {
        PackedFilter {
            groups: self.groups,
            outputs: self.y.dims[1] / self.groups,
            reduction: self.kernel[0] * self.kernel[1] * self.x.dims[1] / self.groups,
            panel_width: self.tile.vectors * lanes,
            weight_type: self.weight_type,
        }
    }

    /// Multiply-adds of the whole layer.
    pub fn multiply_adds(&self) -> u64 {
        (self.y.elements() * self.kernel[0] * self.kernel[1] * (self.x.dims[1] / self.groups)) as u64
    }
}

impl Order {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Order::Pixels => "_px",
            Order::Panels => "",
        }
    }
}

/// `ic64ih56iw56oc128oh56ow56kh3kw3sh1sw1…`: what a name says of a convolution's geometry.
pub(super) fn geometry(x: &View, y: &View, kernel: [usize; 2], window: &Window, groups: usize) -> String {
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
    if *dilation != [1, 1] {
        name += &format!("dh{}dw{}", dilation[0], dilation[1]);
    }
    name
}

impl Family for ConvKernel {
    fn name(&self) -> String {
        let Tile { rows, columns, vectors } = self.tile;
        format!(
            "conv_{}{}{}_t{rows}x{columns}x{vectors}_b{}x{}{}{}",
            geometry(&self.x, &self.y, self.kernel, &self.window, self.groups),
            self.weight_type.suffix(),
            self.epilogue.suffix(),
            self.blocking.pixels,
            self.blocking.channels,
            self.order.suffix(),
            layout_suffix([&self.x, &self.y]),
        )
    }

    fn build(&self, lanes: usize) -> Kernel {
        let mut k = Builder::new(self.name(), lanes);
        let filter = self.packed_filter(lanes);
        let x = k.buffer("x", Access::Read, self.x.end() + border_after(&self.x, &self.window));
        let weights = k.buffer("weights", Access::Read, filter.elements());
        let bias = k.buffer("bias", Access::Read, filter.bias_elements());
        let epilogue = self.epilogue.declare(&mut k);
        let y = k.buffer("y", Access::Write, self.y.end());
        let product = Product {
            x: (&self.x, x),
            y: (&self.y, y),
            weights,
            bias,
            epilogue: &epilogue,
            filter,
            kernel: self.kernel,
            window: &self.window,
            tile: self.tile,
            order: self.order,
        };
        let [images, _, height, width] = self.y.dims[..] else { unreachable!("rank 4") };
        let along_rows = height > 1;
        let extent = if along_rows { height } else { width };
        let blocks = extent.div_ceil(self.blocking.pixels);
        let channel_blocks = filter.outputs.div_ceil(self.blocking.channels);
        let first = k.grid(0, if self.groups > 1 { self.groups } else { images });
        let block = k.grid(1, blocks);
        let channel_block = k.grid(2, channel_blocks);
        let size = |pixels| if along_rows { [pixels, width] } else { [1, pixels] };
        let run = |k: &mut Builder, image: Affine, group: Affine| {
            uneven(k, block, extent, self.blocking.pixels, |k, pixels| {
                let start = Affine::default().along(block, self.blocking.pixels);
                let origin = if along_rows { [start, Affine::default()] } else { [Affine::default(), start] };
                uneven(k, channel_block, filter.outputs, self.blocking.channels, |k, channels| {
                    let region = Region {
                        x_image: image.clone(),
                        image: image.clone(),
                        group: group.clone(),
                        x_origin: input_origin(&origin, &self.window),
                        y_origin: origin.clone(),
                        size: size(pixels),
                        first_channel: Affine::default().along(channel_block, self.blocking.channels),
                        channels,
                    };
                    product.region(k, &region);
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

/// Runs `body` with `block`, or with what is left of `extent` at the last value of `index`.
pub(super) fn uneven(
    k: &mut Builder,
    index: crate::codegen::vector::Index,
    extent: usize,
    block: usize,
    mut body: impl FnMut(&mut Builder, usize),
) {
    let last = extent.div_ceil(block) - 1;
    let rest = extent - last * block;
    if rest == block {
        body(k, block);
    } else if last == 0 {
        body(k, rest);
    } else {
        let body = std::cell::RefCell::new(body);
        k.branch(index, last, |k| body.borrow_mut()(k, block), |k| body.borrow_mut()(k, rest));
    }
}

/// Runs `body` for each stretch of `step` in `extent`: a loop over the full ones, then the rest. `body` gets the
/// stretch's start and length.
pub(super) fn stretches(
    k: &mut Builder,
    extent: usize,
    step: usize,
    mut body: impl FnMut(&mut Builder, Affine, usize),
) {
    let full = extent / step;
    match full {
        0 => {}
        1 => body(k, Affine::default(), step),
        _ => k.repeat(full, |k, index| body(k, Affine::default().along(index, step), step)),
    }
    if !extent.is_multiple_of(step) {
        body(k, Affine::constant(full * step), extent % step);
    }
}

/// Adds two coordinates.
pub(super) fn sum(a: &Affine, b: &Affine) -> Affine {
    let mut terms = a.terms.clone();
    terms.extend_from_slice(&b.terms);
    Affine { terms, offset: a.offset + b.offset }
}

/// The part of an output that [`Product::region`] computes.
pub(super) struct Region {
    /// The image in the view of `x`, and in that of `y`.
    pub x_image: Affine,
    pub image: Affine,
    pub group: Affine,
    /// The input row and column that the first output pixel's first tap reads.
    pub x_origin: [Affine; 2],
    /// The first output row and column.
    pub y_origin: [Affine; 2],
    /// Rows and columns.
    pub size: [usize; 2],
    /// Counted within the group; a multiple of the panel width.
    pub first_channel: Affine,
    pub channels: usize,
}

/// An implicit matrix product, ready to be written into kernels.
pub(super) struct Product<'a> {
    pub x: (&'a View, Address),
    pub y: (&'a View, Address),
    pub weights: Address,
    pub bias: Address,
    pub epilogue: &'a EpilogueBuffers<'a>,
    pub filter: PackedFilter,
    pub kernel: [usize; 2],
    pub window: &'a Window,
    pub tile: Tile,
    pub order: Order,
}

/// Part of an axis.
#[derive(Clone)]
struct Stretch {
    start: Affine,
    extent: usize,
}

/// One register tile's place.
struct Place {
    /// First input row and column.
    x: [Affine; 2],
    /// First output row and column.
    y: [Affine; 2],
    rows: usize,
    columns: usize,
    /// First output channel, within the group.
    channel: Affine,
    channels: usize,
}

impl Product<'_> {
    /// Computes a region, tile by tile.
    pub fn region(&self, k: &mut Builder, region: &Region) {
        match self.order {
            Order::Pixels => self.pixels(k, region, |k, row, column| {
                self.panels(k, region, |k, channel| {
                    self.tile(k, region, &self.place(region, &row, &column, channel))
                });
            }),
            Order::Panels => self.panels(k, region, |k, channel| {
                self.pixels(k, region, |k, row, column| {
                    self.tile(k, region, &self.place(region, &row, &column, channel.clone()));
                });
            }),
        }
    }

    fn panels(&self, k: &mut Builder, region: &Region, mut body: impl FnMut(&mut Builder, Stretch)) {
        stretches(k, region.channels, self.filter.panel_width, |k, start, extent| {
            body(k, Stretch { start: sum(&region.first_channel, &start), extent });
        });
    }

    fn pixels(&self, k: &mut Builder, region: &Region, mut body: impl FnMut(&mut Builder, Stretch, Stretch)) {
        stretches(k, region.size[0], self.tile.rows, |k, start, extent| {
            let row = Stretch { start, extent };
            stretches(k, region.size[1], self.tile.columns, |k, start, extent| {
                body(k, row.clone(), Stretch { start, extent });
            });
        });
    }

    fn place(&self, region: &Region, row: &Stretch, column: &Stretch, channel: Stretch) -> Place {
        let offset = [&row.start, &column.start];
        Place {
            x: [0, 1].map(|axis| sum(&region.x_origin[axis], &offset[axis].times(self.window.stride[axis]))),
            y: [0, 1].map(|axis| sum(&region.y_origin[axis], offset[axis])),
            rows: row.extent,
            columns: column.extent,
            channel: channel.start,
            channels: channel.extent,
        }
    }

    fn tile(&self, k: &mut Builder, region: &Region, place: &Place) {
        let lanes = k.lanes();
        let vectors = place.channels.div_ceil(lanes);
        let width = self.filter.panel_width;
        let padded_outputs = self.filter.panels() * width;
        let bias = self.bias.at(&region.group, padded_outputs).at(&place.channel, 1usize);
        let pixels: Vec<[usize; 2]> =
            (0..place.rows).flat_map(|row| (0..place.columns).map(move |column| [row, column])).collect();
        let accumulators: Vec<Vec<Reg>> =
            pixels.iter().map(|_| (0..vectors).map(|v| k.load(bias.plus(v * lanes))).collect()).collect();
        self.reduce(k, region, place, &pixels, &accumulators);
        let output = sum(&region.group.times(self.filter.outputs), &place.channel);
        for (pixel, registers) in pixels.iter().zip(&accumulators) {
            for (v, &register) in registers.iter().enumerate() {
                let active = (place.channels - v * lanes).min(lanes);
                let at = [
                    region.image.clone(),
                    output.plus(v * lanes),
                    place.y[0].plus(pixel[0]),
                    place.y[1].plus(pixel[1]),
                ];
                let value = self.epilogue.apply(k, register, &at, 1, active);
                k.store_lanes(value, self.y.0.at(&self.y.1, &at), active);
            }
        }
    }

    /// Accumulates over `(kh, kw, c)`. Where neighbouring taps of a row lie next to each other in memory, the
    /// horizontal taps and the channels are one run.
    fn reduce(
        &self,
        k: &mut Builder,
        region: &Region,
        place: &Place,
        pixels: &[[usize; 2]],
        accumulators: &[Vec<Reg>],
    ) {
        let view = self.x.0;
        let [kh, kw] = self.kernel;
        let channels = self.filter.reduction / (kh * kw);
        let row = self.filter.row_elements();
        let panel = row * self.filter.reduction;
        let [image_stride, channel_stride, row_stride, pixel_stride] = view.strides[..] else {
            unreachable!("rank 4")
        };
        let first_channel = region.group.times(channels);
        let x = self
            .x
            .1
            .plus(view.offset)
            .at(&region.x_image, image_stride)
            .at(&first_channel, channel_stride)
            .at(&place.x[0], row_stride)
            .at(&place.x[1], pixel_stride);
        let weights = self
            .weights
            .at(&region.group, self.filter.panels() * panel)
            .at(&place.channel.divided_by(self.filter.panel_width), panel);
        let Window { stride, dilation, .. } = self.window;
        let displacements: Vec<usize> = pixels
            .iter()
            .map(|[row, column]| row * stride[0] * row_stride + column * stride[1] * pixel_stride)
            .collect();
        let step = |k: &mut Builder, x: &Address, weights: &Address| {
            self.multiply_add(k, x, weights, &displacements, accumulators);
        };
        let joined = channel_stride == 1 && pixel_stride == channels && dilation[1] == 1;
        let (taps, run) = if joined { (1, kw * channels) } else { (kw, channels) };
        k.repeat(kh, |k, ky| {
            let x = x.along(ky, dilation[0] * row_stride);
            let weights = weights.along(ky, kw * channels * row);
            let unroll = unroll(k.lanes());
            if taps * run <= MAX_UNROLLED && unroll > 1 {
                for at in 0..taps * run {
                    let (tap, channel) = (at / run, at % run);
                    let x = x.plus(tap * dilation[1] * pixel_stride + channel * channel_stride);
                    step(k, &x, &weights.plus(at * row));
                }
                return;
            }
            k.repeat(taps, |k, kx| {
                let x = x.along(kx, dilation[1] * pixel_stride);
                let weights = weights.along(kx, run * row);
                k.repeat(run / unroll, |k, channel| {
                    let x = x.along(channel, unroll * channel_stride);
                    let weights = weights.along(channel, unroll * row);
                    for unrolled in 0..unroll {
                        step(k, &x.plus(unrolled * channel_stride), &weights.plus(unrolled * row));
                    }
                });
                for channel in run / unroll * unroll..run {
                    step(k, &x.plus(channel * channel_stride), &weights.plus(channel * row));
                }
            });
        });
    }
    /// One step of the reduction: one input element of each pixel times one row of the weights' panel.
    fn multiply_add(
        &self,
        k: &mut Builder,
        x: &Address,
        weights: &Address,
        displacements: &[usize],
        accumulators: &[Vec<Reg>],
    ) {
        let lanes = k.lanes();
        let row = (0..accumulators[0].len()).map(|v| match self.filter.weight_type {
            WeightType::F32 => k.load(weights.plus(v * lanes)),
            WeightType::F16 => k.load_half(weights.plus(v * lanes / 2)),
        });
        let row: Vec<Reg> = row.collect();
        for (&displacement, registers) in displacements.iter().zip(accumulators) {
            let element = k.broadcast(x.plus(displacement));
            for (&accumulator, &weight) in registers.iter().zip(&row) {
                k.accumulate(accumulator, element, weight);
            }
        }
    }
}

/// Steps of the reduction in one round of its innermost loop. Cranelift moves arithmetic down to its use, past all
/// loads of the round, so that only a round of one step leaves the accumulators in registers.
fn unroll(lanes: usize) -> usize {
    if lanes == clif::LANES { 1 } else { 4 }
}

/// The longest run over horizontal taps and channels that is written out instead of looped over.
const MAX_UNROLLED: usize = 36;
