//! The multiplication of one step, rows by weights, both in shared memory: by the threads' multiply-adds, or by the
//! warps' tensor cores.

use super::{CHUNK, Gemm, Precision, ROW_BYTES, STEP_BYTES};
use crate::codegen::ptx::{Address, Builder, Class, Element, Matrices, Space, Target, Value};

/// The sums that a thread keeps.
pub struct Sums {
    /// The thread's first row and column of the tile.
    pub first: [Value; 2],
    pub groups: Vec<Group>,
    /// Where the thread reads rows and weights in a stage.
    row_bytes: Value,
    column_bytes: Value,
}

/// Neighbouring outputs of a pixel, counted from the thread's first of both.
pub struct Group {
    pub row: usize,
    pub column: usize,
    pub values: Vec<Value>,
}

/// Outputs that a thread reads at once.
pub const LANES: usize = 4;
/// Extents of a tensor core's product.
const MATRIX_ROWS: usize = 16;
const MATRIX_COLUMNS: usize = 8;
/// Bytes of a row that a tensor core's product is deep.
const MATRIX_BYTES: usize = 32;
/// Bytes of a step's weights for [`MATRIX_COLUMNS`] outputs.
const MATRIX_WEIGHTS: usize = MATRIX_COLUMNS * STEP_BYTES;

impl Sums {
    pub fn new(gemm: &Gemm, b: &mut Builder, thread: Value) -> Self {
        match gemm.precision {
            Precision::F32 => Sums::of_thread(gemm, b, thread),
            Precision::Tf32 | Precision::F16 => Sums::of_warp(gemm, b, thread),
        }
    }

    /// Adds the products of the step in the stage at `stage`.
    pub fn multiply(&self, gemm: &Gemm, b: &mut Builder, target: Target, stage: Value) {
        let rows = Address::from(b.add(stage, self.row_bytes));
        let columns = Address::from(b.add(stage, self.column_bytes));
        match gemm.precision {
            Precision::F32 => self.multiply_in_threads(gemm, b, rows, columns),
            Precision::Tf32 | Precision::F16 => self.multiply_in_warps(gemm, b, target, rows, columns),
        }
    }

    /// A thread's rows lie as far apart as there are threads along the rows, so that a warp reads neighbours.
    fn of_thread(gemm: &Gemm, b: &mut Builder, thread: Value) -> Self {
        let tile = &gemm.tile;
        let [rows, columns] = [tile.pixels / tile.own_pixels, tile.outputs / tile.own_outputs];
        let (row, column) = b.div_rem(thread, columns);
        let first = [row, b.mul(column, LANES)];
        let row_bytes = b.mul(row, ROW_BYTES);
        let column_bytes = b.mul(first[1], Element::F32.bytes());
        let column_bytes = b.add(column_bytes, tile.pixels * ROW_BYTES);
        let mut groups = Vec::new();
        for row in 0..tile.own_pixels {
            for column in 0..tile.own_outputs / LANES {
                let values = zeros(b, LANES);
                groups.push(Group { row: row * rows, column: column * columns * LANES, values });
            }
        }
        Sums { first, groups, row_bytes, column_bytes }
    }

    fn multiply_in_threads(&self, gemm: &Gemm, b: &mut Builder, rows: Address, columns: Address) {
        let size = Element::F32.bytes();
        let per_row = gemm.tile.own_outputs / LANES;
        for depth in (0..gemm.precision.depth()).step_by(LANES) {
            let left: Vec<Vec<Value>> = self
                .groups
                .chunks(per_row)
                .map(|row| {
                    let at = rows.plus(row[0].row * ROW_BYTES + depth * size);
                    b.load(Space::Shared, Element::F32, LANES, at, None)
                })
                .collect();
            for lane in 0..LANES {
                let line = columns.plus((depth + lane) * gemm.tile.outputs * size);
                let right: Vec<Vec<Value>> = self.groups[..per_row]
                    .iter()
                    .map(|group| {
                        let at = line.plus(group.column * size);
                        b.load(Space::Shared, Element::F32, LANES, at, None)
                    })
                    .collect();
                for (row, left) in self.groups.chunks(per_row).zip(&left) {
                    for (group, right) in row.iter().zip(&right) {
                        for (&sum, &right) in group.values.iter().zip(right) {
                            b.accumulate(sum, left[lane], right);
                        }
                    }
                }
            }
        }
    }

    /// Fragments as `mma` has them: a lane keeps two neighbours of row `lane / 4`, and two of the row eight below.
    fn of_warp(gemm: &Gemm, b: &mut Builder, thread: Value) -> Self {
        let tile = &gemm.tile;
        let (warp, lane) = b.div_rem(thread, 32);
        let (warp_row, warp_column) = b.div_rem(warp, tile.outputs / tile.own_outputs);
        let (row, pair) = b.div_rem(lane, 4);
        let first_row = b.mul(warp_row, tile.own_pixels);
        let first_column = b.mul(warp_column, tile.own_outputs);
        let own_row = b.add(first_row, row);
        let own_column = b.mad(pair, 2, first_column);
        // For `ldmatrix` a lane names row `lane % 16`, its first 16 bytes or, in the upper half warp, its next.
        let (half, matrix_row) = b.div_rem(lane, MATRIX_ROWS);
        let matrix_row = b.add(first_row, matrix_row);
        let half_bytes = b.mul(half, CHUNK);
        let row_bytes = b.mad(matrix_row, ROW_BYTES, half_bytes);
        let column_bytes = b.mul(first_column, STEP_BYTES);
        let column_bytes = b.mad(lane, CHUNK, column_bytes);
        let column_bytes = b.add(column_bytes, tile.pixels * ROW_BYTES);
        let mut groups = Vec::new();
        for row in (0..tile.own_pixels).step_by(MATRIX_ROWS) {
            for column in (0..tile.own_outputs).step_by(MATRIX_COLUMNS) {
                for row in [row, row + MATRIX_ROWS / 2] {
                    groups.push(Group { row, column, values: zeros(b, 2) });
                }
            }
        }
        Sums { first: [own_row, own_column], groups, row_bytes, column_bytes }
    }

    fn multiply_in_warps(
        &self,
        gemm: &Gemm,
        b: &mut Builder,
        target: Target,
        rows: Address,
        columns: Address,
    ) {
        let tile = &gemm.tile;
        // Packed so that a lane's weights of a step are 16 bytes.
        let right: Vec<Vec<Value>> = (0..tile.own_outputs / MATRIX_COLUMNS)
            .map(|at| b.load_words(Space::Shared, Class::B32, 4, columns.plus(at * MATRIX_WEIGHTS), None))
            .collect();
        let per_row = 2 * right.len();
        for (at, row) in self.groups.chunks(per_row).enumerate() {
            for part in 0..STEP_BYTES / MATRIX_BYTES {
                let from = rows.plus(at * MATRIX_ROWS * ROW_BYTES + part * MATRIX_BYTES);
                let mut left = b.load_matrices(from);
                if gemm.precision == Precision::Tf32 {
                    left = left.map(|word| b.round_to_tf32(word));
                }
                for (groups, right) in row.chunks(2).zip(&right) {
                    let sums = [groups[0].values.as_slice(), &groups[1].values].concat();
                    let right = &right[2 * part..][..2];
                    match gemm.precision {
                        Precision::Tf32 => b.multiply_matrices(Matrices::Tf32K8, &sums, &left, right),
                        _ if target.has_async_copy() => {
                            b.multiply_matrices(Matrices::F16K16, &sums, &left, right);
                        }
                        _ => {
                            b.multiply_matrices(Matrices::F16K8, &sums, &left[..2], &right[..1]);
                            b.multiply_matrices(Matrices::F16K8, &sums, &left[2..], &right[1..]);
                        }
                    }
                }
            }
        }
    }
}

fn zeros(b: &mut Builder, count: usize) -> Vec<Value> {
    (0..count).map(|_| b.variable(Class::F32, 0.0)).collect()
}
