//! Products of matrices that are both computed when the model runs.

use super::nest::{Axis, divide, loops, piece, steps};
use super::view::{dims_name, layout_suffix};
use super::{Family, View};
use crate::codegen::vector::{Access, Address, Affine, Builder, Kernel};

/// `a […, m, k]` times `b […, k, n]` to `y […, m, n]`, all of one rank; along broadcast axes the stride is 0.
/// Buffers: a, b, y.
#[derive(Clone, PartialEq, Debug)]
pub struct MatMulKernel {
    pub a: View,
    pub b: View,
    pub y: View,
}

/// Rows and vectors of the register tile.
const TILE: [usize; 2] = [4, 2];

impl MatMulKernel {
    /// Multiply-adds of the whole batch.
    pub fn multiply_adds(&self) -> u64 {
        (self.y.elements() * self.a.dims.last().copied().unwrap_or(1)) as u64
    }

    /// `rows × columns` elements from `[row, column]` on.
    fn tile(
        &self,
        k: &mut Builder,
        [a, b, y]: [&Address; 3],
        batch: &[Affine],
        [row, column]: [&Affine; 2],
        [rows, columns]: [usize; 2],
        lanes: usize,
    ) {
        let rank = self.y.dims.len();
        let at = |row: Affine, column: Affine| {
            let mut at = batch[..rank - 2].to_vec();
            at.extend([row, column]);
            at
        };
        let vectors: Vec<usize> = (0..columns).step_by(lanes).collect();
        let sums: Vec<_> = (0..rows * vectors.len()).map(|_| k.register()).collect();
        sums.iter().for_each(|&sum| k.assign_constant(sum, 0.0));
        k.repeat(self.a.dims[rank - 1], |k, index| {
            let step = Affine::from(index);
            let line: Vec<_> = vectors
                .iter()
                .map(|&done| {
                    let from = self.b.at(b, &at(step.clone(), column.plus(done)));
                    k.load_lanes(from, lanes.min(columns - done))
                })
                .collect();
            for (r, sums) in sums.chunks_exact(vectors.len()).enumerate() {
                let factor = k.broadcast(self.a.at(a, &at(row.plus(r), step.clone())));
                sums.iter().zip(&line).for_each(|(&sum, &value)| k.accumulate(sum, factor, value));
            }
        });
        for (r, sums) in sums.chunks_exact(vectors.len()).enumerate() {
            for (&sum, &done) in sums.iter().zip(&vectors) {
                let to = self.y.at(y, &at(row.plus(r), column.plus(done)));
                k.store_lanes(sum, to, lanes.min(columns - done));
            }
        }
    }
}

impl Family for MatMulKernel {
    fn name(&self) -> String {
        let (dims, k) = (dims_name(&self.y.dims), self.a.dims.last().copied().unwrap_or(1));
        format!("matmul_{dims}_k{k}{}", layout_suffix([&self.a, &self.b, &self.y]))
    }

    fn build(&self, lanes: usize) -> Kernel {
        let rank = self.y.dims.len();
        let (m, n) = (self.y.dims[rank - 2], self.y.dims[rank - 1]);
        let mut k = Builder::new(self.name(), lanes);
        let a = k.buffer("a", Access::Read, self.a.end());
        let b = k.buffer("b", Access::Read, self.b.end());
        let y = k.buffer("y", Access::Write, self.y.end());
        let contiguous = self.b.strides[rank - 1] == 1 && self.y.strides[rank - 1] == 1;
        let lanes = if contiguous { lanes } else { 1 };
        let mut batch: Vec<Axis> =
            (0..rank - 2).map(|axis| Axis { axis, extent: self.y.dims[axis] }).collect();
        batch.retain(|axis| axis.extent > 1);
        let mut at = vec![Affine::default(); rank];
        if !batch.is_empty() {
            let outer = batch.remove(0);
            at[outer.axis] = k.grid(0, outer.extent).into();
        }
        let work = n.saturating_mul(self.a.dims[rank - 1]);
        divide(&mut k, 1, m, piece(m, work, TILE[0]), &|k, first, rows| {
            loops(k, &batch, &at, &|k, at| {
                steps(k, first, rows, TILE[0], 1, |k, row, rows| {
                    steps(k, &Affine::default(), n, TILE[1] * lanes, 1, |k, column, columns| {
                        self.tile(k, [&a, &b, &y], at, [row, column], [rows, columns], lanes);
                    });
                });
            });
        });
        k.finish()
    }
}
