//! Softmax along any axis.

use super::epilogue::EpilogueBuffers;
use super::nest::{Nest, moved, steps};
use super::view::{dims_name, layout_suffix};
use super::{Family, FusedEpilogue, View, math, reduce};
use crate::codegen::vector::{Access, Address, Affine, Binary, Builder, Kernel, Reg};
use crate::ops::Softmax;

/// `x` to `y` of the same dims, then the epilogue. Buffers: x, the epilogue's operands, y, scratch for the
/// exponentials of a line.
#[derive(Clone, PartialEq, Debug)]
pub struct SoftmaxKernel {
    pub softmax: Softmax,
    pub x: View,
    pub y: View,
    pub epilogue: FusedEpilogue,
}

/// A kernel while it is built.
struct Parts<'a> {
    kernel: &'a SoftmaxKernel,
    x: Address,
    y: Address,
    powers: Address,
    epilogue: EpilogueBuffers<'a>,
}

impl Parts<'_> {
    /// What powers are multiplied by, or for the logarithm, what is subtracted from the input.
    fn factor(&self, k: &mut Builder, max: Reg, sum: Reg) -> Reg {
        if !self.kernel.softmax.log {
            return math::reciprocal(k, sum);
        }
        // The sum is at least one, the power of the largest.
        let logarithm = math::log(k, sum);
        k.add(max, logarithm)
    }

    /// One line whose elements are contiguous.
    fn contiguous(&self, k: &mut Builder, at: &[Affine]) {
        let SoftmaxKernel { softmax: Softmax { axis, log }, x, y, .. } = self.kernel;
        let (extent, lanes) = (x.dims[*axis], k.lanes());
        let from = x.at(&self.x, at);
        let max = reduce::line(k, Binary::Max, &from, extent, 1, &|_, value| value);
        steps(k, &Affine::default(), extent, lanes, 1, |k, start, lanes| {
            let value = k.load_lanes(from.at(start, 1usize), lanes);
            let below = k.sub(value, max);
            let power = math::exp(k, below);
            k.store_lanes(power, self.powers.at(start, 1usize), lanes);
        });
        let sum = reduce::line(k, Binary::Add, &self.powers, extent, 1, &|_, value| value);
        let factor = self.factor(k, max, sum);
        steps(k, &Affine::default(), extent, lanes, 1, |k, start, lanes| {
            let at = moved(at, *axis, start.clone());
            let value = if *log {
                let value = k.load_lanes(x.at(&self.x, &at), lanes);
                k.sub(value, factor)
            } else {
                let power = k.load_lanes(self.powers.at(start, 1usize), lanes);
                k.mul(power, factor)
            };
            let value = self.epilogue.apply(k, value, &at, *axis, lanes);
            k.store_lanes(value, y.at(&self.y, &at), lanes);
        });
    }

    /// `lanes` lines side by side along an axis.
    fn side_by_side(&self, k: &mut Builder, at: &[Affine], along: usize, lanes: usize) {
        let SoftmaxKernel { softmax: Softmax { axis, log }, x, y, .. } = self.kernel;
        let (extent, pitch) = (x.dims[*axis], k.lanes());
        let load = |k: &mut Builder, position: &Affine| {
            k.load_lanes(x.at(&self.x, &moved(at, *axis, position.clone())), lanes)
        };
        let origin = Affine::default();
        let max =
            reduce::stretch(k, Binary::Max, &origin, extent, 1, &|k, position| vec![load(k, position)])[0];
        let sum = reduce::stretch(k, Binary::Add, &origin, extent, 1, &|k, position| {
            let value = load(k, position);
            let below = k.sub(value, max);
            let power = math::exp(k, below);
            k.store(power, self.powers.at(position, pitch));
            vec![power]
        })[0];
        let factor = self.factor(k, max, sum);
        k.repeat(extent, |k, position| {
            let at = moved(at, *axis, position.into());
            let value = if *log {
                let value = load(k, &position.into());
                k.sub(value, factor)
            } else {
                let power = k.load(self.powers.along(position, pitch));
                k.mul(power, factor)
            };
            let value = self.epilogue.apply(k, value, &at, along, lanes);
            k.store_lanes(value, y.at(&self.y, &at), lanes);
        });
    }
}

impl Family for SoftmaxKernel {
    fn name(&self) -> String {
        let (dims, layout) = (dims_name(&self.x.dims), layout_suffix([&self.x, &self.y]));
        let log = if self.softmax.log { "log" } else { "" };
        format!("{log}softmax_{dims}_axis{}{layout}", self.softmax.axis) + &self.epilogue.suffix()
    }

    fn build(&self, lanes: usize) -> Kernel {
        let (x, y, dims, axis) = (&self.x, &self.y, &self.x.dims, self.softmax.axis);
        let mut k = Builder::new(self.name(), lanes);
        let from = k.buffer("x", Access::Read, x.end());
        let epilogue = self.epilogue.declare(&mut k);
        let to = k.buffer("y", Access::Write, y.end());
        let others = (0..dims.len()).filter(|&other| other != axis);
        let mut strides = vec![y.strides.clone(), x.strides.clone()];
        strides.extend(self.epilogue.strides(dims));
        let nest = Nest::new(others, dims, &strides);
        let contiguous = |axis: usize| {
            [x, y].iter().all(|view| view.is_contiguous_along(axis))
                && self.epilogue.is_contiguous_along(dims, axis)
        };
        let touched = 4 * dims[axis];
        if contiguous(axis) {
            let powers = k.buffer("powers", Access::Scratch, dims[axis]);
            let parts = Parts { kernel: self, x: from, y: to, powers, epilogue };
            nest.emit(&mut k, touched, 1, &|k, at, run| {
                k.repeat(run.extent, |k, line| {
                    parts.contiguous(k, &moved(at, run.axis, at[run.axis].along(line, 1usize)));
                });
            });
        } else {
            let powers = k.buffer("powers", Access::Scratch, dims[axis] * lanes);
            let parts = Parts { kernel: self, x: from, y: to, powers, epilogue };
            let lanes = if contiguous(nest.run().axis) { lanes } else { 1 };
            nest.emit(&mut k, touched, lanes, &|k, at, run| {
                steps(k, &at[run.axis], run.extent, lanes, 1, |k, start, lanes| {
                    parts.side_by_side(k, &moved(at, run.axis, start.clone()), run.axis, lanes);
                });
            });
        }
        k.finish()
    }
}
