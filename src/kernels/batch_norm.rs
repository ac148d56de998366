//! Batch normalisation with the statistics of the batch itself; with running statistics it is a scale and shift.

use super::epilogue::EpilogueBuffers;
use super::nest::{Nest, divide, loops, moved, piece, steps};
use super::view::{dims_name, layout_suffix};
use super::{Family, FusedEpilogue, View, reduce};
use crate::codegen::vector::{Access, Address, Affine, Binary, Builder, Kernel, Reg, Unary};

/// `(x - mean) / sqrt(variance + epsilon) · scale + shift` per channel of `x [n, c, …]`, with the batch's own mean
/// and biased variance, then the epilogue. Buffers: x, `scale [c]`, `shift [c]`, the epilogue's operands, y.
///
/// Mean and variance take a pass each over a block of channels: accurate whatever the mean.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormKernel {
    pub epsilon: f32,
    pub x: View,
    pub y: View,
    pub epilogue: FusedEpilogue,
}

/// How many vectors of channels are normalised at the same time.
const VECTORS: usize = 2;

/// What normalises a vector: of channels, or of one channel in every lane.
struct Normal {
    mean: Reg,
    /// `scale / sqrt(variance + epsilon)`
    factor: Reg,
    shift: Reg,
}

/// A kernel while it is built.
struct Parts<'a> {
    kernel: &'a BatchNormKernel,
    /// The axes other than the channels', for the statistics and for writing.
    reading: Nest,
    writing: Nest,
    x: Address,
    scale: Address,
    shift: Address,
    y: Address,
    epilogue: EpilogueBuffers<'a>,
}

impl Parts<'_> {
    fn origin(&self, channel: &Affine) -> Vec<Affine> {
        moved(&vec![Affine::default(); self.kernel.x.dims.len()], 1, channel.clone())
    }

    /// The mean of a channel's elements, from their sum.
    fn mean(&self, k: &mut Builder, sum: Reg) -> Reg {
        let dims = &self.kernel.x.dims;
        let count = dims.iter().product::<usize>() / dims[1];
        let reciprocal = k.constant((1.0 / count as f64) as f32);
        k.mul(sum, reciprocal)
    }

    fn normal(&self, k: &mut Builder, mean: Reg, squares: Reg, [scale, shift]: [Reg; 2]) -> Normal {
        let variance = self.mean(k, squares);
        let epsilon = k.constant(self.kernel.epsilon);
        let variance = k.add(variance, epsilon);
        let deviation = k.unary(Unary::Sqrt, variance);
        Normal { mean, factor: k.div(scale, deviation), shift }
    }

    /// Normalises `lanes` elements along `axis` from `at` on.
    fn write(&self, k: &mut Builder, normal: &Normal, at: &[Affine], axis: usize, lanes: usize) {
        let value = k.load_lanes(self.kernel.x.at(&self.x, at), lanes);
        let centred = k.sub(value, normal.mean);
        let value = k.fma(centred, normal.factor, normal.shift);
        let value = self.epilogue.apply(k, value, at, axis, lanes);
        k.store_lanes(value, self.kernel.y.at(&self.y, at), lanes);
    }

    /// Channels are contiguous: the `extent` channels from `first` on, in vectors.
    fn channels(&self, k: &mut Builder, first: &Affine, extent: usize) {
        let (x, lanes) = (&self.kernel.x, k.lanes());
        let vectors: Vec<(usize, usize)> =
            (0..extent).step_by(lanes).map(|done| (done, lanes.min(extent - done))).collect();
        // Sums of a function of each element, vector by vector.
        let sums = |k: &mut Builder, map: &dyn Fn(&mut Builder, usize, Reg) -> Reg| {
            let (axes, origin) = (self.reading.axes(), self.origin(first));
            reduce::over(k, Binary::Add, axes, &origin, vectors.len(), &|k, at, run| {
                reduce::stretch(k, Binary::Add, &at[run.axis], run.extent, vectors.len(), &|k, pixel| {
                    let base = x.at(&self.x, &moved(at, run.axis, pixel.clone()));
                    let mut term = |(vector, &(done, lanes)): (usize, &(usize, usize))| {
                        let value = k.load_lanes(base.plus(done), lanes);
                        map(k, vector, value)
                    };
                    vectors.iter().enumerate().map(&mut term).collect()
                })
            })
        };
        let totals = sums(k, &|_, _, value| value);
        let means: Vec<Reg> = totals.into_iter().map(|total| self.mean(k, total)).collect();
        let squares = sums(k, &|k, vector, value| {
            let centred = k.sub(value, means[vector]);
            k.mul(centred, centred)
        });
        let mut normal = |(vector, &(done, lanes)): (usize, &(usize, usize))| {
            let weights =
                [&self.scale, &self.shift].map(|base| k.load_lanes(base.at(first, 1usize).plus(done), lanes));
            self.normal(k, means[vector], squares[vector], weights)
        };
        let normals: Vec<Normal> = vectors.iter().enumerate().map(&mut normal).collect();
        loops(k, self.writing.axes(), &self.origin(first), &|k, at| {
            for (normal, &(done, lanes)) in normals.iter().zip(&vectors) {
                self.write(k, normal, &moved(at, 1, first.plus(done)), 1, lanes);
            }
        });
    }

    /// Channels are apart: one of them, in vectors of `lanes` pixels.
    fn plane(&self, k: &mut Builder, channel: &Affine, lanes: usize) {
        let (x, origin) = (&self.kernel.x, self.origin(channel));
        let sum = |k: &mut Builder, map: &dyn Fn(&mut Builder, Reg) -> Reg| {
            reduce::over(k, Binary::Add, self.reading.axes(), &origin, 1, &|k, at, run| {
                let stride = x.strides[run.axis];
                vec![reduce::line(k, Binary::Add, &x.at(&self.x, at), run.extent, stride, map)]
            })[0]
        };
        let total = sum(k, &|_, value| value);
        let mean = self.mean(k, total);
        let squares = sum(k, &|k, value| {
            let centred = k.sub(value, mean);
            k.mul(centred, centred)
        });
        let weights = [&self.scale, &self.shift].map(|base| k.broadcast(base.at(channel, 1usize)));
        let normal = self.normal(k, mean, squares, weights);
        let run = self.writing.run();
        loops(k, self.writing.outer(), &origin, &|k, at| {
            steps(k, &at[run.axis], run.extent, lanes, 1, |k, start, lanes| {
                self.write(k, &normal, &moved(at, run.axis, start.clone()), run.axis, lanes);
            });
        });
    }
}

impl Family for BatchNormKernel {
    fn name(&self) -> String {
        let (dims, layout) = (dims_name(&self.x.dims), layout_suffix([&self.x, &self.y]));
        format!("batchnorm_{dims}_epsilon{:?}{layout}", self.epsilon) + &self.epilogue.suffix()
    }

    fn build(&self, lanes: usize) -> Kernel {
        let (x, y, dims) = (&self.x, &self.y, &self.x.dims);
        let mut k = Builder::new(self.name(), lanes);
        let from = k.buffer("x", Access::Read, x.end());
        let [scale, shift] = ["scale", "shift"].map(|name| k.buffer(name, Access::Read, dims[1]));
        let epilogue = self.epilogue.declare(&mut k);
        let to = k.buffer("y", Access::Write, y.end());
        let others = (0..dims.len()).filter(|&axis| axis != 1);
        let mut strides = vec![y.strides.clone(), x.strides.clone()];
        strides.extend(self.epilogue.strides(dims));
        let parts = Parts {
            kernel: self,
            reading: Nest::new(others.clone(), dims, &strides[1..2]),
            writing: Nest::new(others, dims, &strides),
            x: from,
            scale,
            shift,
            y: to,
            epilogue,
        };
        let contiguous = |axis: usize| {
            [x, y].iter().all(|view| view.is_contiguous_along(axis))
                && self.epilogue.is_contiguous_along(dims, axis)
        };
        let touched = 4 * (dims.iter().product::<usize>() / dims[1]);
        if contiguous(1) {
            let block = VECTORS * lanes;
            divide(&mut k, 0, dims[1], piece(dims[1], touched, block), &|k, start, extent| {
                steps(k, start, extent, block, 1, |k, first, extent| parts.channels(k, first, extent));
            });
        } else {
            let lanes = if contiguous(parts.writing.run().axis) { lanes } else { 1 };
            divide(&mut k, 0, dims[1], piece(dims[1], touched, 1), &|k, start, extent| {
                k.repeat(extent, |k, index| parts.plane(k, &start.along(index, 1usize), lanes));
            });
        }
        k.finish()
    }
}
