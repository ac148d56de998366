//! Depthwise convolution: each channel with its own filter, vectors along the channels.

use super::Family;
use super::conv::{border_after, geometry, input_origin};
use super::epilogue::{EpilogueBuffers, FusedEpilogue};
use super::product::{stretches, sum, uneven};
use super::view::{View, layout_suffix};
use crate::codegen::vector::{Access, Address, Affine, Builder, Kernel, Reg};
use crate::ops::Window;

/// A depthwise convolution. Weights are packed `[kh][kw][c]`, the bias `[c]`.
///
/// Grid: image, block of rows.
#[derive(Clone, PartialEq, Debug)]
pub struct DepthwiseKernel {
    /// `[n, c, h, w]`, channels contiguous, with a border of zeros at least as wide as the padding.
    pub x: View,
    /// `[n, c, h', w']`, channels contiguous.
    pub y: View,
    /// `[kh, kw]`
    pub kernel: [usize; 2],
    pub window: Window,
    pub epilogue: FusedEpilogue,
    /// Neighbouring output pixels computed together, sharing the input they overlap in.
    pub columns: usize,
    /// Output rows of one grid point.
    pub rows: usize,
}

impl DepthwiseKernel {
    pub fn multiply_adds(&self) -> u64 {
        (self.y.elements() * self.kernel[0] * self.kernel[1]) as u64
    }
}

impl Family for DepthwiseKernel {
    fn name(&self) -> String {
        format!(
            "depthwise_{}{}_t{}_b{}{}",
            geometry(&self.x, &self.y, self.kernel, &self.window, self.x.dims[1]),
            self.epilogue.suffix(),
            self.columns,
            self.rows,
            layout_suffix([&self.x, &self.y]),
        )
    }

    fn build(&self, lanes: usize) -> Kernel {
        let mut k = Builder::new(self.name(), lanes);
        let [images, channels, height, width] = self.y.dims[..] else { unreachable!("rank 4") };
        let x = k.buffer("x", Access::Read, self.x.end() + border_after(&self.x, &self.window));
        let weights = k.buffer("weights", Access::Read, self.kernel[0] * self.kernel[1] * channels);
        let bias = k.buffer("bias", Access::Read, channels);
        let epilogue = self.epilogue.declare(&mut k);
        let y = k.buffer("y", Access::Write, self.y.end());
        let filter = ChannelFilter {
            x: (&self.x, x),
            y: (&self.y, y),
            weights,
            bias,
            epilogue: &epilogue,
            kernel: self.kernel,
            window: &self.window,
            columns: self.columns,
        };
        let image = k.grid(0, images);
        let block = k.grid(1, height.div_ceil(self.rows));
        uneven(&mut k, block, height, self.rows, |k, rows| {
            let origin = [Affine::default().along(block, self.rows), Affine::default()];
            let stored = Stored { image: image.into(), origin: origin.clone() };
            filter.region(k, &image.into(), &stored, &origin, [rows, width]);
        });
        k.finish()
    }
}

/// A depthwise convolution, ready to be written into kernels.
pub(super) struct ChannelFilter<'a> {
    pub x: (&'a View, Address),
    pub y: (&'a View, Address),
    pub weights: Address,
    pub bias: Address,
    pub epilogue: &'a EpilogueBuffers<'a>,
    pub kernel: [usize; 2],
    pub window: &'a Window,
    pub columns: usize,
}

impl ChannelFilter<'_> {
    /// Computes `size` rows and columns of the output from `origin` on; the epilogue's operands lie there too,
    /// the result where `stored` says.
    pub fn region(
        &self,
        k: &mut Builder,
        image: &Affine,
        stored: &Stored,
        origin: &[Affine; 2],
        size: [usize; 2],
    ) {
        let x_origin = input_origin(origin, self.window);
        let channels = self.y.0.dims[1];
        k.repeat(size[0], |k, row| {
            stretches(k, size[1], self.columns, |k, column, columns| {
                let offset = [row.into(), column];
                let x = [0, 1].map(|a| sum(&x_origin[a], &offset[a].times(self.window.stride[a])));
                let tile = Pixels {
                    image,
                    x,
                    place: [0, 1].map(|a| sum(&origin[a], &offset[a])),
                    stored: [0, 1].map(|a| sum(&stored.origin[a], &offset[a])),
                    stored_image: &stored.image,
                    columns,
                };
                k.vectors(channels, |k, step| self.vector(k, &tile, &step.coordinate(), step.lanes));
            });
        });
    }

    /// One vector of channels of neighbouring pixels: each input vector is loaded once and serves every pixel
    /// whose window holds it.
    fn vector(&self, k: &mut Builder, tile: &Pixels, channel: &Affine, lanes: usize) {
        let Pixels { image, columns, .. } = *tile;
        let [kh, kw] = self.kernel;
        let Window { stride, dilation, .. } = self.window;
        let channels = self.y.0.dims[1];
        let bias = self.bias.at(channel, 1usize);
        let accumulators: Vec<Reg> = (0..columns).map(|_| k.load_lanes(bias.clone(), lanes)).collect();
        for ky in 0..kh {
            let row = tile.x[0].plus(ky * dilation[0]);
            let weights: Vec<Reg> = (0..kw)
                .map(|kx| {
                    k.load_lanes(self.weights.plus((ky * kw + kx) * channels).at(channel, 1usize), lanes)
                })
                .collect();
            for reach in 0..(columns - 1) * stride[1] + (kw - 1) * dilation[1] + 1 {
                let uses: Vec<(usize, usize)> = (0..columns)
                    .flat_map(|column| (0..kw).map(move |kx| (column, kx)))
                    .filter(|(column, kx)| column * stride[1] + kx * dilation[1] == reach)
                    .collect();
                if uses.is_empty() {
                    continue;
                }
                let at = [image.clone(), channel.clone(), row.clone(), tile.x[1].plus(reach)];
                let input = k.load_lanes(self.x.0.at(&self.x.1, &at), lanes);
                for (column, kx) in uses {
                    k.accumulate(accumulators[column], input, weights[kx]);
                }
            }
        }
        for (column, &accumulator) in accumulators.iter().enumerate() {
            let at = [image.clone(), channel.clone(), tile.place[0].clone(), tile.place[1].plus(column)];
            let value = self.epilogue.apply(k, accumulator, &at, 1, lanes);
            let [row, first] = &tile.stored;
            let at = [tile.stored_image.clone(), channel.clone(), row.clone(), first.plus(column)];
            k.store_lanes(value, self.y.0.at(&self.y.1, &at), lanes);
        }
    }
}

/// Where a region's result goes in the view of `y`.
pub(super) struct Stored {
    pub image: Affine,
    /// Row and column.
    pub origin: [Affine; 2],
}

/// Neighbouring pixels of one output row.
struct Pixels<'a> {
    image: &'a Affine,
    /// Input row and column of the first pixel's first tap.
    x: [Affine; 2],
    /// Output row and column of the first pixel.
    place: [Affine; 2],
    /// Where the first pixel is stored.
    stored: [Affine; 2],
    stored_image: &'a Affine,
    columns: usize,
}
