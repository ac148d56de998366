//! Pooling over whole images.

use std::slice;

use super::nest::{Nest, divide, moved, piece, steps};
use super::view::{dims_name, layout_suffix};
use super::{Family, FusedEpilogue, View, reduce};
use crate::codegen::vector::{Access, Affine, Binary, Builder, Kernel, Reg};
use crate::ops::{GlobalPool, GlobalReduce};

/// `x [n, c, h, w]` to `y [n, c, 1, 1]`, then the epilogue. Buffers: x, the epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct GlobalPoolKernel {
    pub pool: GlobalPool,
    pub x: View,
    pub y: View,
    pub epilogue: FusedEpilogue,
}

/// How many vectors of channels are reduced at the same time.
const VECTORS: usize = 4;

impl GlobalPoolKernel {
    fn op(&self) -> Binary {
        match self.pool.reduce {
            GlobalReduce::Average => Binary::Add,
            GlobalReduce::Max => Binary::Max,
        }
    }

    /// What is left to do once all elements are combined.
    fn finish(&self, k: &mut Builder, total: Reg) -> Reg {
        match self.pool.reduce {
            GlobalReduce::Average => {
                let count = self.x.dims[2] * self.x.dims[3];
                let reciprocal = k.constant((1.0 / count as f64) as f32);
                k.mul(total, reciprocal)
            }
            GlobalReduce::Max => total,
        }
    }
}

impl Family for GlobalPoolKernel {
    fn name(&self) -> String {
        let reduce = match self.pool.reduce {
            GlobalReduce::Average => "avg",
            GlobalReduce::Max => "max",
        };
        let (dims, layout) = (dims_name(&self.x.dims), layout_suffix([&self.x, &self.y]));
        format!("global{reduce}pool_{dims}{layout}{}", self.epilogue.suffix())
    }

    fn build(&self, lanes: usize) -> Kernel {
        let (x, y) = (&self.x, &self.y);
        let mut k = Builder::new(self.name(), lanes);
        let from = k.buffer("x", Access::Read, x.end());
        let epilogue = self.epilogue.declare(&mut k);
        let to = k.buffer("y", Access::Write, y.end());
        let [channels, pixels] = [x.dims[1], x.dims[2] * x.dims[3]];
        let nest = Nest::new([2, 3], &x.dims, slice::from_ref(&x.strides));
        let n = Affine::from(k.grid(0, x.dims[0]));
        let at = |c: &Affine| vec![n.clone(), c.clone(), Affine::default(), Affine::default()];

        let vector = [x, y].iter().all(|view| view.is_contiguous_along(1))
            && self.epilogue.is_contiguous_along(&y.dims, 1);
        if !vector {
            divide(&mut k, 1, channels, piece(channels, pixels, 1), &|k, start, extent| {
                k.repeat(extent, |k, index| {
                    let at = at(&start.along(index, 1usize));
                    let total = reduce::over(k, self.op(), nest.axes(), &at, 1, &|k, at, run| {
                        let (base, stride) = (x.at(&from, at), x.strides[run.axis]);
                        vec![reduce::line(k, self.op(), &base, run.extent, stride, &|_, value| value)]
                    });
                    let value = self.finish(k, total[0]);
                    let value = epilogue.apply(k, value, &at, 1, 1);
                    k.store_lanes(value, y.at(&to, &at), 1);
                });
            });
            return k.finish();
        }
        let block = VECTORS * lanes;
        divide(&mut k, 1, channels, piece(channels, pixels, block), &|k, start, extent| {
            steps(k, start, extent, block, 1, |k, c, extent| {
                let vectors = extent.div_ceil(lanes);
                let totals = reduce::over(k, self.op(), nest.axes(), &at(c), vectors, &|k, at, run| {
                    let first = &at[run.axis];
                    reduce::stretch(k, self.op(), first, run.extent, vectors, &|k, pixel| {
                        let base = x.at(&from, &moved(at, run.axis, pixel.clone()));
                        let load = |done| k.load_lanes(base.plus(done), lanes.min(extent - done));
                        (0..extent).step_by(lanes).map(load).collect()
                    })
                });
                for (done, total) in (0..extent).step_by(lanes).zip(totals) {
                    let (at, lanes) = (at(&c.plus(done)), lanes.min(extent - done));
                    let value = self.finish(k, total);
                    let value = epilogue.apply(k, value, &at, 1, lanes);
                    k.store_lanes(value, y.at(&to, &at), lanes);
                }
            });
        });
        k.finish()
    }
}
