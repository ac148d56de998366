//! Sums, means and extremes over any axes.

use std::slice;

use super::nest::{Nest, moved, steps};
use super::view::{dims_name, layout_suffix};
use super::{Family, View, reduce};
use crate::codegen::vector::{Access, Affine, Binary, Builder, Kernel, Reg};
use crate::ops::ReduceFunction;

/// `x` to `y`, of the same rank and with an extent of 1 along `axes`. Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct ReduceKernel {
    pub function: ReduceFunction,
    pub axes: Vec<usize>,
    pub x: View,
    pub y: View,
}

/// How many vectors are reduced at the same time.
const VECTORS: usize = 4;

impl ReduceKernel {
    fn op(&self) -> Binary {
        match self.function {
            ReduceFunction::Sum | ReduceFunction::Mean => Binary::Add,
            ReduceFunction::Max => Binary::Max,
            ReduceFunction::Min => Binary::Min,
        }
    }

    /// How many elements become one.
    fn count(&self) -> usize {
        self.axes.iter().map(|&axis| self.x.dims[axis]).product()
    }

    fn finish(&self, k: &mut Builder, total: Reg) -> Reg {
        match self.function {
            ReduceFunction::Mean => {
                let reciprocal = k.constant((1.0 / self.count() as f64) as f32);
                k.mul(total, reciprocal)
            }
            _ => total,
        }
    }
}

impl Family for ReduceKernel {
    fn name(&self) -> String {
        let function = self.function.name().replace('_', "");
        let axes: String = self.axes.iter().map(|axis| format!("_{axis}")).collect();
        format!("{function}_{}_axes{axes}{}", dims_name(&self.x.dims), layout_suffix([&self.x, &self.y]))
    }

    fn build(&self, lanes: usize) -> Kernel {
        let (x, y, rank) = (&self.x, &self.y, self.x.dims.len());
        let mut k = Builder::new(self.name(), lanes);
        let from = k.buffer("x", Access::Read, x.end());
        let to = k.buffer("y", Access::Write, y.end());
        let inner = Nest::new(self.axes.iter().copied(), &x.dims, slice::from_ref(&x.strides));
        let kept = (0..rank).filter(|axis| !self.axes.contains(axis));
        let nest = Nest::new(kept, &y.dims, &[y.strides.clone(), x.strides.clone()]);
        let run = nest.run();
        let vector = run.extent > 1 && x.strides[run.axis] == 1 && y.strides[run.axis] == 1;
        let width = if vector { VECTORS * lanes } else { 1 };
        nest.emit(&mut k, self.count() + 1, width, &|k, at, run| {
            steps(k, &at[run.axis], run.extent, width, 1, |k, start, extent| {
                let at = moved(&at[..rank], run.axis, start.clone());
                let vectors = if vector { extent.div_ceil(lanes) } else { 1 };
                let totals = reduce::over(k, self.op(), inner.axes(), &at, vectors, &|k, at, part| {
                    if !vector {
                        let (base, stride) = (x.at(&from, at), x.strides[part.axis]);
                        return vec![reduce::line(k, self.op(), &base, part.extent, stride, &|_, v| v)];
                    }
                    let first = at[part.axis].clone();
                    reduce::stretch(k, self.op(), &first, part.extent, vectors, &|k, position: &Affine| {
                        let base = x.at(&from, &moved(at, part.axis, position.clone()));
                        let load = |done| k.load_lanes(base.plus(done), lanes.min(extent - done));
                        (0..extent).step_by(lanes).map(load).collect()
                    })
                });
                for (total, done) in totals.into_iter().zip((0..extent).step_by(lanes)) {
                    let at = moved(&at, run.axis, at[run.axis].plus(done));
                    let value = self.finish(k, total);
                    let lanes = if vector { lanes.min(extent - done) } else { 1 };
                    k.store_lanes(value, y.at(&to, &at), lanes);
                }
            });
        });
        k.finish()
    }
}
