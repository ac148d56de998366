//! The transforms of Winograd's minimal filtering F(m, r) along one axis: `m` outputs of a filter of `r` elements from
//! `m + r - 1` inputs with as many multiplications.

use serde::{Deserialize, Serialize};

use crate::codegen::vector::{Builder, Reg};

/// F(m, r).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// F(2, 3), with interpolation points 0, ±1.
    F2,
    /// F(4, 3), with interpolation points 0, ±1, ±2.
    F4,
    /// F(2, 5), with those of F(4, 3).
    F2Of5,
}

/// A method for both axes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    pub rows: Transform,
    pub columns: Transform,
}

impl Method {
    /// Those for a kernel of `[rows, columns]`, from the one with the fewest multiplications to the one with the
    /// smallest weights.
    pub fn all(kernel: [usize; 2]) -> &'static [Method] {
        const THREE: [Method; 3] = [
            Method { rows: Transform::F4, columns: Transform::F4 },
            Method { rows: Transform::F4, columns: Transform::F2 },
            Method { rows: Transform::F2, columns: Transform::F2 },
        ];
        const FIVE: [Method; 1] = [Method { rows: Transform::F2Of5, columns: Transform::F2Of5 }];
        match kernel {
            [3, 3] => &THREE,
            [5, 5] => &FIVE,
            _ => &[],
        }
    }

    /// Rows and columns of a tile of the output.
    pub fn tile(self) -> [usize; 2] {
        [self.rows.outputs(), self.columns.outputs()]
    }

    /// Rows and columns of the filter.
    pub fn kernel(self) -> [usize; 2] {
        [self.rows.taps(), self.columns.taps()]
    }

    /// Rows and columns of the input that a tile is computed from.
    pub fn patch(self) -> [usize; 2] {
        [self.rows.inputs(), self.columns.inputs()]
    }

    /// Whether there are [register transforms](Transform::filter_rows) of its filters.
    pub fn transforms_in_registers(self) -> bool {
        self.kernel() == [3, 3]
    }

    /// Multiplications for each tile, channel and output channel.
    pub fn products(self) -> usize {
        self.rows.inputs() * self.columns.inputs()
    }
}

/// `G g Gᵀ` for a filter of `TAPS` rows and columns.
pub struct FilterTransform<const TAPS: usize> {
    rows: Vec<[f64; TAPS]>,
    columns: Vec<[f64; TAPS]>,
    /// A row of products' factors while they are computed.
    row: [Vec<f64>; TAPS],
}

impl<const TAPS: usize> FilterTransform<TAPS> {
    /// # Panics
    /// If the method is for other filters.
    pub fn new(method: Method) -> Self {
        let rows = |transform: Transform| -> Vec<[f64; TAPS]> {
            transform.filter().iter().map(|row| (*row).try_into().expect("as many taps")).collect()
        };
        let row = std::array::from_fn(|_| Vec::new());
        FilterTransform { rows: rows(method.rows), columns: rows(method.columns), row }
    }

    /// Transforms several filters at once, in `f64`: `taps` holds an array of all filters for each of their elements.
    /// `each` is called with the index and the values of each of [`Method::products`]; `values` is overwritten.
    pub fn apply(
        &mut self,
        taps: &[[Vec<f64>; TAPS]; TAPS],
        values: &mut [f32],
        mut each: impl FnMut(usize, &[f32]),
    ) {
        let filters = taps[0][0].len();
        let values = &mut values[..filters];
        self.row.iter_mut().for_each(|lanes| lanes.resize(filters, 0.0));
        for (row, factors) in self.rows.iter().enumerate() {
            for (x, target) in self.row.iter_mut().enumerate() {
                let column: [&[f64]; TAPS] = std::array::from_fn(|y| &taps[y][x][..filters]);
                target.iter_mut().enumerate().for_each(|(at, value)| *value = dot(factors, &column, at));
            }
            let rows: [&[f64]; TAPS] = std::array::from_fn(|x| &self.row[x][..filters]);
            for (column, factors) in self.columns.iter().enumerate() {
                values.iter_mut().enumerate().for_each(|(at, value)| *value = dot(factors, &rows, at) as f32);
                each(row * self.columns.len() + column, values);
            }
        }
    }
}

fn dot<const TAPS: usize>(factors: &[f64; TAPS], arrays: &[&[f64]; TAPS], at: usize) -> f64 {
    factors.iter().zip(arrays).map(|(factor, array)| factor * array[at]).sum()
}

impl Transform {
    pub fn outputs(self) -> usize {
        match self {
            Transform::F2 | Transform::F2Of5 => 2,
            Transform::F4 => 4,
        }
    }

    /// Elements of the filter.
    pub fn taps(self) -> usize {
        match self {
            Transform::F2 | Transform::F4 => 3,
            Transform::F2Of5 => 5,
        }
    }

    pub fn inputs(self) -> usize {
        self.outputs() + self.taps() - 1
    }

    /// `G`, a row for each multiplication.
    fn filter(self) -> &'static [&'static [f64]] {
        const FOURTH: f64 = 1.0 / 4.0;
        const SIXTH: f64 = 1.0 / 6.0;
        const PART: f64 = 1.0 / 24.0;
        match self {
            Transform::F2 => &[&[1.0, 0.0, 0.0], &[0.5, 0.5, 0.5], &[0.5, -0.5, 0.5], &[0.0, 0.0, 1.0]],
            Transform::F4 => &[
                &[FOURTH, 0.0, 0.0],
                &[-SIXTH, -SIXTH, -SIXTH],
                &[-SIXTH, SIXTH, -SIXTH],
                &[PART, 2.0 * PART, 4.0 * PART],
                &[PART, -2.0 * PART, 4.0 * PART],
                &[0.0, 0.0, 1.0],
            ],
            Transform::F2Of5 => &[
                &[FOURTH, 0.0, 0.0, 0.0, 0.0],
                &[-SIXTH, -SIXTH, -SIXTH, -SIXTH, -SIXTH],
                &[-SIXTH, SIXTH, -SIXTH, SIXTH, -SIXTH],
                &[PART, 2.0 * PART, 4.0 * PART, 8.0 * PART, 16.0 * PART],
                &[PART, -2.0 * PART, 4.0 * PART, -8.0 * PART, 16.0 * PART],
                &[0.0, 0.0, 0.0, 0.0, 1.0],
            ],
        }
    }

    /// What the rows of `G` share as a factor, which [`Transform::filter_row`] leaves out.
    pub(super) fn filter_scales(self) -> Vec<f32> {
        let first = |row: &&[f64]| row.iter().copied().find(|&factor| factor != 0.0).unwrap_or(1.0);
        self.filter().iter().map(|row| first(row) as f32).collect()
    }

    /// One element of `G g` for filters of three elements, but for its [scale](Transform::filter_scales).
    pub(super) fn filter_row(
        self,
        k: &mut Builder,
        row: usize,
        tap: impl Fn(&mut Builder, usize) -> Reg,
    ) -> Reg {
        match row {
            0 => tap(k, 0),
            _ if row == self.inputs() - 1 => tap(k, 2),
            _ => {
                let taps = [0, 1, 2].map(|x| tap(k, x));
                let (even, odd) = filter_parts(k, row.div_ceil(2), taps);
                if row % 2 == 1 { k.add(even, odd) } else { k.sub(even, odd) }
            }
        }
    }

    /// Calls `body` with each element of `G g` for filters of three elements, but for their
    /// [scales](Transform::filter_scales), as soon as it is computed.
    pub(super) fn filter_rows(
        self,
        k: &mut Builder,
        taps: [Reg; 3],
        mut body: impl FnMut(&mut Builder, usize, Reg),
    ) {
        body(k, 0, taps[0]);
        body(k, self.inputs() - 1, taps[2]);
        for point in 1..self.inputs() / 2 {
            let (even, odd) = filter_parts(k, point, taps);
            let value = k.add(even, odd);
            body(k, 2 * point - 1, value);
            let value = k.sub(even, odd);
            body(k, 2 * point, value);
        }
    }

    /// `Bᵀ d`.
    pub(super) fn input(self, k: &mut Builder, d: &[Reg]) -> Vec<Reg> {
        match self {
            Transform::F2 => {
                vec![k.sub(d[0], d[2]), k.add(d[1], d[2]), k.sub(d[2], d[1]), k.sub(d[1], d[3])]
            }
            Transform::F4 | Transform::F2Of5 => {
                let [two, four, minus_four, minus_five] =
                    [2.0, 4.0, -4.0, -5.0].map(|value| k.constant(value));
                let a = k.fma(minus_four, d[2], d[4]);
                let b = k.fma(minus_four, d[1], d[3]);
                let c = k.sub(d[4], d[2]);
                let e = k.sub(d[3], d[1]);
                let first = k.fma(minus_five, d[2], d[4]);
                let last = k.fma(minus_five, d[3], d[5]);
                let minus_two = k.constant(-2.0);
                vec![
                    k.fma(four, d[0], first),
                    k.add(a, b),
                    k.sub(a, b),
                    k.fma(two, e, c),
                    k.fma(minus_two, e, c),
                    k.fma(four, d[1], last),
                ]
            }
        }
    }

    /// `Aᵀ m`.
    pub(super) fn output(self, k: &mut Builder, m: &[Reg]) -> Vec<Reg> {
        match self {
            Transform::F2 => {
                let [sum, difference] = [k.add(m[1], m[2]), k.sub(m[1], m[2])];
                vec![k.add(m[0], sum), k.sub(difference, m[3])]
            }
            Transform::F4 | Transform::F2Of5 => {
                let two = k.constant(2.0);
                let p = k.add(m[1], m[2]);
                let q = k.sub(m[1], m[2]);
                let r = k.add(m[3], m[4]);
                let s = k.sub(m[3], m[4]);
                let first = k.add(m[0], p);
                let last = k.add(q, m[5]);
                let first = k.add(first, r);
                if self == Transform::F2Of5 {
                    return vec![first, k.fma(two, s, last)];
                }
                let [four, eight] = [4.0, 8.0].map(|value| k.constant(value));
                vec![first, k.fma(two, s, q), k.fma(four, r, p), k.fma(eight, s, last)]
            }
        }
    }
}

/// The even and the odd part of a filter's polynomial at 1 or 2: their sum is its value there, their difference that at
/// the opposite point.
fn filter_parts(k: &mut Builder, point: usize, [first, second, third]: [Reg; 3]) -> (Reg, Reg) {
    if point == 1 {
        return (k.add(first, third), second);
    }
    let four = k.constant(4.0);
    (k.fma(four, third, first), k.add(second, second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::vector::{Access, interpret};

    /// One dimension at a time, `Aᵀ (G g ⊙ Bᵀ d)` is the filter `g` slid over `d`.
    #[test]
    fn transforms_multiply_out_to_a_filter() {
        let (d, g) = ([1.0, -2.0, 3.5, 0.25, -4.0, 5.0], [0.5, -1.5, 2.0, 0.75, -3.0]);
        for transform in [Transform::F2, Transform::F4, Transform::F2Of5] {
            let taps = transform.taps();
            let mut k = Builder::new("filter", 1);
            let x = k.buffer("x", Access::Read, transform.inputs());
            let y = k.buffer("y", Access::Write, transform.outputs());
            let inputs: Vec<Reg> = (0..transform.inputs()).map(|i| k.load(x.plus(i))).collect();
            let products: Vec<Reg> = transform
                .input(&mut k, &inputs)
                .into_iter()
                .zip(transform.filter())
                .map(|(value, row)| {
                    let factor = k.constant((0..taps).map(|x| row[x] * g[x]).sum::<f64>() as f32);
                    k.mul(value, factor)
                })
                .collect();
            for (i, value) in transform.output(&mut k, &products).into_iter().enumerate() {
                k.store(value, y.plus(i));
            }
            let mut buffers = [d[..transform.inputs()].to_vec(), vec![0.0; transform.outputs()]];
            interpret(&k.finish(), &mut buffers);
            for (i, value) in buffers[1].iter().enumerate() {
                let expected: f64 = (0..taps).map(|x| f64::from(d[i + x]) * g[x]).sum();
                assert!(
                    (f64::from(*value) - expected).abs() < 1e-5,
                    "{transform:?}: {value}, not {expected}"
                );
            }
        }
    }
}
