//! The transforms of Winograd's minimal filtering F(m, 3) along one axis: `m` outputs of a filter of three from `m + 2`
//! inputs with `m + 2` multiplications.

use serde::{Deserialize, Serialize};

use crate::codegen::vector::{Builder, Reg};

/// F(m, 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// F(2, 3), with interpolation points 0, ±1.
    F2,
    /// F(4, 3), with interpolation points 0, ±1, ±2.
    F4,
}

/// Inputs of F(4, 3).
const MOST_INPUTS: usize = 6;

/// Products of F(4×4, 3×3).
const MOST_PRODUCTS: usize = MOST_INPUTS * MOST_INPUTS;

/// A method for both axes: `F(rows × columns, 3×3)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    pub rows: Transform,
    pub columns: Transform,
}

impl Method {
    /// From the one with the fewest multiplications to the one with the smallest weights.
    pub const ALL: [Method; 3] = [
        Method { rows: Transform::F4, columns: Transform::F4 },
        Method { rows: Transform::F4, columns: Transform::F2 },
        Method { rows: Transform::F2, columns: Transform::F2 },
    ];

    /// Rows and columns of a tile of the output.
    pub fn tile(self) -> [usize; 2] {
        [self.rows.outputs(), self.columns.outputs()]
    }

    /// Rows and columns of the input that a tile is computed from.
    pub fn patch(self) -> [usize; 2] {
        [self.rows.inputs(), self.columns.inputs()]
    }

    /// Multiplications for each tile, channel and output channel.
    pub fn products(self) -> usize {
        self.rows.inputs() * self.columns.inputs()
    }

    /// `G g Gᵀ` of a 3×3 filter, row by row, computed in `f64`: the first [`Method::products`] elements.
    pub fn transform_filter(self, filter: &[f32; 9]) -> [f32; MOST_PRODUCTS] {
        let filter: [f64; 9] = std::array::from_fn(|at| f64::from(filter[at]));
        let mut columns = [[0.0; 3]; MOST_INPUTS];
        for (row, factors) in columns.iter_mut().zip(self.rows.filter()) {
            for (x, value) in row.iter_mut().enumerate() {
                *value = factors[0] * filter[x] + factors[1] * filter[3 + x] + factors[2] * filter[6 + x];
            }
        }
        let mut products = [0.0; MOST_PRODUCTS];
        let width = self.columns.inputs();
        for (target, row) in products.chunks_exact_mut(width).zip(&columns[..self.rows.inputs()]) {
            for (target, factors) in target.iter_mut().zip(self.columns.filter()) {
                *target = (factors[0] * row[0] + factors[1] * row[1] + factors[2] * row[2]) as f32;
            }
        }
        products
    }
}

impl Transform {
    pub fn outputs(self) -> usize {
        match self {
            Transform::F2 => 2,
            Transform::F4 => 4,
        }
    }

    pub fn inputs(self) -> usize {
        self.outputs() + 2
    }

    /// `G`, a row for each multiplication.
    fn filter(self) -> &'static [[f64; 3]] {
        match self {
            Transform::F2 => &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
            Transform::F4 => &[
                [1.0 / 4.0, 0.0, 0.0],
                [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
                [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
                [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
                [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
                [0.0, 0.0, 1.0],
            ],
        }
    }

    /// `Bᵀ d`.
    pub(super) fn input(self, k: &mut Builder, d: &[Reg]) -> Vec<Reg> {
        match self {
            Transform::F2 => {
                vec![k.sub(d[0], d[2]), k.add(d[1], d[2]), k.sub(d[2], d[1]), k.sub(d[1], d[3])]
            }
            Transform::F4 => {
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
            Transform::F4 => {
                let [two, four, eight] = [2.0, 4.0, 8.0].map(|value| k.constant(value));
                let p = k.add(m[1], m[2]);
                let q = k.sub(m[1], m[2]);
                let r = k.add(m[3], m[4]);
                let s = k.sub(m[3], m[4]);
                let first = k.add(m[0], p);
                let last = k.add(q, m[5]);
                vec![k.add(first, r), k.fma(two, s, q), k.fma(four, r, p), k.fma(eight, s, last)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::vector::{Access, interpret};

    /// One dimension at a time, `Aᵀ (G g ⊙ Bᵀ d)` is the filter `g` slid over `d`.
    #[test]
    fn transforms_multiply_out_to_a_filter() {
        let (d, g) = ([1.0, -2.0, 3.5, 0.25, -4.0, 5.0], [0.5, -1.5, 2.0]);
        for transform in [Transform::F2, Transform::F4] {
            let mut k = Builder::new("filter", 1);
            let x = k.buffer("x", Access::Read, transform.inputs());
            let y = k.buffer("y", Access::Write, transform.outputs());
            let inputs: Vec<Reg> = (0..transform.inputs()).map(|i| k.load(x.plus(i))).collect();
            let products: Vec<Reg> = transform
                .input(&mut k, &inputs)
                .into_iter()
                .zip(transform.filter())
                .map(|(value, row)| {
                    let factor = k.constant((0..3).map(|x| row[x] * g[x]).sum::<f64>() as f32);
                    k.mul(value, factor)
                })
                .collect();
            for (i, value) in transform.output(&mut k, &products).into_iter().enumerate() {
                k.store(value, y.plus(i));
            }
            let mut buffers = [d[..transform.inputs()].to_vec(), vec![0.0; transform.outputs()]];
            interpret(&k.finish(), &mut buffers);
            for (i, value) in buffers[1].iter().enumerate() {
                let expected: f64 = (0..3).map(|x| f64::from(d[i + x]) * g[x]).sum();
                assert!(
                    (f64::from(*value) - expected).abs() < 1e-5,
                    "{transform:?}: {value}, not {expected}"
                );
            }
        }
    }
}
