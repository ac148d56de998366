//! The multiplication of one step, rows by weights, both in shared memory.

use super::{Gemm, ROW_BYTES, STEP_BYTES};
use crate::codegen::ptx::{Address, Builder, Class, Element, Space, Value};

/// A thread's sums.
pub struct Sums {
    /// By row, then by column.
    pub values: Vec<Vec<Value>>,
    /// The thread's first row and column of the tile.
    pub first: [Value; 2],
    row_bytes: Value,
    column_bytes: Value,
}

/// Outputs that a thread reads at once.
pub const LANES: usize = 4;

impl Sums {
    pub fn new(gemm: &Gemm, b: &mut Builder, thread: Value) -> Self {
        let tile = &gemm.tile;
        let columns = tile.outputs / tile.own_outputs;
        let (row, column) = b.div_rem(thread, columns);
        let first = [row, b.mul(column, LANES)];
        let row_bytes = b.mul(row, ROW_BYTES);
        let column_bytes = b.mul(first[1], Element::F32.bytes());
        let column_bytes = b.add(column_bytes, tile.pixels * ROW_BYTES);
        let values = (0..tile.own_pixels)
            .map(|_| (0..tile.own_outputs).map(|_| b.variable(Class::F32, 0.0)).collect())
            .collect();
        Sums { values, first, row_bytes, column_bytes }
    }

    /// The row of the tile that is the thread's `at`-th, counted from its first.
    pub fn row(&self, gemm: &Gemm, at: usize) -> usize {
        at * (gemm.tile.pixels / gemm.tile.own_pixels)
    }

    /// The column of the tile where the thread's `at`-th group of [`LANES`] begins, counted from its first.
    pub fn column(&self, gemm: &Gemm, at: usize) -> usize {
        at * (gemm.tile.outputs / gemm.tile.own_outputs) * LANES
    }

    /// Adds the products of the step in the stage at `stage`.
    pub fn multiply(&self, gemm: &Gemm, b: &mut Builder, stage: Value) {
        let rows = Address::from(b.add(stage, self.row_bytes));
        let columns = Address::from(b.add(stage, self.column_bytes));
        let size = Element::F32.bytes();
        for depth in (0..gemm.precision.depth()).step_by(LANES) {
            let left: Vec<Vec<Value>> = (0..gemm.tile.own_pixels)
                .map(|at| {
                    let at = rows.plus(self.row(gemm, at) * ROW_BYTES + depth * size);
                    b.load(Space::Shared, Element::F32, LANES, at, None)
                })
                .collect();
            for lane in 0..LANES {
                let line =
                    columns.plus((depth + lane) * gemm.tile.outputs * STEP_BYTES / gemm.precision.depth());
                let right: Vec<Value> = (0..gemm.tile.own_outputs / LANES)
                    .flat_map(|at| {
                        let at = line.plus(self.column(gemm, at) * size);
                        b.load(Space::Shared, Element::F32, LANES, at, None)
                    })
                    .collect();
                for (row, left) in self.values.iter().zip(&left) {
                    for (&sum, &right) in row.iter().zip(&right) {
                        b.accumulate(sum, left[lane], right);
                    }
                }
            }
        }
    }
}
