//! Minimal filtering along one axis for strided filters.
//!
//! A filter of stride `s` is the sum of its `s` phases: phase `p` slides taps `p, p + s, …` with stride 1 over inputs
//! `p, p + s, …`. Each phase goes by F(m, r) of its own taps (Winograd, 1980, by Toom and Cook's interpolation). The
//! phases share their interpolation points, and what an output takes of a product depends on the point alone: so
//! products at the same point are summed over phases as they are over channels, before they are transformed.

use crate::codegen::vector::{Builder, Reg};

/// `outputs` neighbouring outputs of a filter of `taps` elements that moves by `stride`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Filtering {
    pub outputs: usize,
    pub taps: usize,
    pub stride: usize,
}

/// Points of each sign.
const PAIRS: [f64; 3] = [1.0, 2.0, 0.5];

/// Those of each sign, zero and infinity.
const MOST_PRODUCTS: usize = 2 * PAIRS.len() + 2;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Point {
    Finite(f64),
    Infinity,
}

/// The first `count` of the points for `products` ones: as many of each sign as leave zero, then zero, then infinity. With
/// one point less they are still symmetric.
fn points(products: usize, count: usize) -> Vec<Point> {
    let pairs = PAIRS.iter().take(products.saturating_sub(1) / 2);
    let finite = pairs.flat_map(|&point| [point, -point]).chain([0.0]).map(Point::Finite);
    finite.chain([Point::Infinity]).take(count).collect()
}

impl Filtering {
    /// Those for a filter, from the one with the fewest outputs: all that multiply less than filtering directly does.
    pub fn all(taps: usize, stride: usize) -> impl Iterator<Item = Filtering> {
        let of = move |outputs| Filtering { outputs, taps, stride };
        (2..=MOST_PRODUCTS).map(of).filter(move |filtering| {
            filtering.products() <= MOST_PRODUCTS && filtering.multiplications() < filtering.outputs * taps
        })
    }

    /// Phases with taps.
    pub fn phases(self) -> usize {
        self.stride.min(self.taps)
    }

    /// Taps of the longest phase, the first.
    fn most_taps(self) -> usize {
        self.taps.div_ceil(self.stride)
    }

    /// Interpolation points.
    pub fn products(self) -> usize {
        self.outputs + self.most_taps() - 1
    }

    /// Phases that have a product at a point: all but for the last point, which those of fewer taps do without.
    pub fn phases_at(self, product: usize) -> usize {
        let shorter = product + 1 == self.products() && self.taps > self.stride;
        match self.taps % self.stride {
            longest if shorter && longest > 0 => longest,
            _ => self.phases(),
        }
    }

    /// Points at which a phase has products: the first ones.
    pub fn products_of(self, phase: usize) -> usize {
        self.outputs + self.taps_of(phase) - 1
    }

    pub fn taps_of(self, phase: usize) -> usize {
        (self.taps - phase).div_ceil(self.stride)
    }

    /// For all outputs, of one channel.
    pub fn multiplications(self) -> usize {
        (0..self.products()).map(|product| self.phases_at(product)).sum()
    }

    /// Inputs that the outputs are computed from.
    pub fn inputs(self) -> usize {
        (self.outputs - 1) * self.stride + self.taps
    }

    fn points(self, count: usize) -> Vec<Point> {
        points(self.products(), count)
    }

    /// `G` of a phase, a row for each of its products.
    pub fn filter(self, phase: usize) -> Vec<Vec<f64>> {
        let (points, taps) = (self.points(self.products_of(phase)), self.taps_of(phase));
        let rows = input_rows(&points).into_iter().zip(&points).map(|(row, point)| match *point {
            Point::Finite(x) => {
                let value: f64 = row.iter().rev().fold(0.0, |sum, factor| sum * x + factor);
                (0..taps).map(|tap| x.powi(tap as i32) / value).collect()
            }
            Point::Infinity => (0..taps).map(|tap| f64::from(u8::from(tap + 1 == taps))).collect(),
        });
        rows.collect()
    }

    /// `Bᵀ d` of a phase that has as many products as `d` has elements.
    pub(super) fn input(self, k: &mut Builder, d: &[Reg]) -> Vec<Reg> {
        let points = self.points(d.len());
        let pairs = (self.products() - 1) / 2;
        let rows = input_rows(&points);
        let mut transformed = Vec::with_capacity(d.len());
        let terms = |row: &[f64]| -> Vec<(f64, Reg)> { row.iter().copied().zip(d.iter().copied()).collect() };
        for row in rows.iter().take(2 * pairs).step_by(2) {
            let half = |first| terms(row).into_iter().skip(first).step_by(2);
            let (even, odd) = (combine(k, half(0)), combine(k, half(1)));
            transformed.extend([k.add(even, odd), k.sub(even, odd)]);
        }
        transformed.extend(rows.iter().skip(2 * pairs).map(|row| combine(k, terms(row).into_iter())));
        transformed
    }

    /// The first `count` outputs, `Aᵀ m`.
    pub(super) fn output(self, k: &mut Builder, m: &[Reg], count: usize) -> Vec<Reg> {
        let points = self.points(m.len());
        let pairs = (self.products() - 1) / 2;
        let (paired, single) = m.split_at(2 * pairs);
        let halves: Vec<[Reg; 2]> =
            paired.chunks_exact(2).map(|pair| [k.add(pair[0], pair[1]), k.sub(pair[0], pair[1])]).collect();
        let outputs = (0..count).map(|output| {
            let pairs = halves.iter().zip(PAIRS).map(|(half, x)| (x.powi(output as i32), half[output % 2]));
            let single = single.iter().zip(&points[2 * pairs.len()..]).filter(|(_, point)| match point {
                Point::Finite(_) => output == 0,
                Point::Infinity => output + 1 == self.outputs,
            });
            let terms: Vec<(f64, Reg)> = pairs.chain(single.map(|(&reg, _)| (1.0, reg))).collect();
            combine(k, terms.into_iter())
        });
        outputs.collect()
    }
}

/// `Bᵀ`: for each point the polynomial, lowest power first, that is zero at all other finite points. Those of `-x` are
/// those of `x` with the signs of odd powers changed.
fn input_rows(points: &[Point]) -> Vec<Vec<f64>> {
    let row = |own: usize| {
        let mut polynomial = vec![1.0];
        for (other, point) in points.iter().enumerate() {
            if let Point::Finite(x) = *point
                && other != own
            {
                let times_x = [&[0.0], &polynomial[..]].concat();
                polynomial.push(0.0);
                polynomial.iter_mut().zip(times_x).for_each(|(factor, moved)| *factor = moved - x * *factor);
            }
        }
        let is_negative = matches!(points[own], Point::Finite(x) if x < 0.0);
        if is_negative && polynomial.len().is_multiple_of(2) {
            polynomial.iter_mut().for_each(|factor| *factor = -*factor);
        }
        polynomial.resize(points.len(), 0.0);
        polynomial
    };
    (0..points.len()).map(row).collect()
}

/// The sum of registers times factors, some of which are not zero.
fn combine(k: &mut Builder, terms: impl Iterator<Item = (f64, Reg)>) -> Reg {
    let mut terms: Vec<(f64, Reg)> = terms.filter(|term| term.0 != 0.0).collect();
    let first = terms.iter().position(|term| term.0 == 1.0).unwrap_or(0);
    let (factor, first) = terms.remove(first);
    let mut sum = first;
    if factor != 1.0 {
        let factor = k.constant(factor as f32);
        sum = k.mul(first, factor);
    }
    for (factor, value) in terms {
        sum = if factor == 1.0 {
            k.add(sum, value)
        } else if factor == -1.0 {
            k.sub(sum, value)
        } else {
            let factor = k.constant(factor as f32);
            k.fma(value, factor, sum)
        };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::vector::{Access, interpret};

    /// Phase by phase, `Aᵀ Σ (G g ⊙ Bᵀ d)` is the filter `g` moved over `d`.
    #[test]
    fn transforms_multiply_out_to_a_strided_filter() {
        let element = |i: usize| ((i * 37 + 11) % 17) as f64 / 4.0 - 2.0;
        let mut seen = 0;
        for (taps, stride) in [(2, 1), (3, 1), (3, 2), (4, 2), (5, 2), (5, 3), (7, 2), (7, 4), (11, 4)] {
            for filtering in Filtering::all(taps, stride) {
                seen += 1;
                let products = filtering.products();
                let mut k = Builder::new("filter", 1);
                let x = k.buffer("x", Access::Read, filtering.inputs());
                let y = k.buffer("y", Access::Write, filtering.outputs);
                let sums: Vec<Reg> = (0..products).map(|_| k.constant(0.0)).collect();
                for phase in 0..filtering.phases() {
                    let count = filtering.products_of(phase);
                    let inputs: Vec<Reg> = (0..count).map(|i| k.load(x.plus(phase + i * stride))).collect();
                    let transformed = filtering.input(&mut k, &inputs);
                    for (product, row) in filtering.filter(phase).into_iter().enumerate() {
                        assert!(phase < filtering.phases_at(product));
                        let factors = row.iter().enumerate();
                        let factor: f64 = factors.map(|(t, f)| f * element(5 + phase + t * stride)).sum();
                        let factor = k.constant(factor as f32);
                        k.accumulate(sums[product], transformed[product], factor);
                    }
                }
                let outputs = filtering.output(&mut k, &sums, filtering.outputs);
                outputs.into_iter().enumerate().for_each(|(i, value)| k.store(value, y.plus(i)));
                let inputs = (0..filtering.inputs()).map(|i| element(i) as f32).collect();
                let mut buffers = [inputs, vec![0.0; filtering.outputs]];
                interpret(&k.finish(), &mut buffers);
                for (i, value) in buffers[1].iter().enumerate() {
                    let expected: f64 = (0..taps).map(|t| element(i * stride + t) * element(5 + t)).sum();
                    assert!(
                        (f64::from(*value) - expected).abs() < 1e-4,
                        "{filtering:?}: {value}, not {expected}"
                    );
                }
            }
        }
        assert!(seen > 25);
    }

    #[test]
    fn multiplications_are_those_of_all_phases() {
        for (outputs, taps, stride, multiplications) in
            [(4, 7, 2, 13), (4, 11, 4, 23), (4, 3, 2, 9), (5, 3, 2, 11)]
        {
            let filtering = Filtering { outputs, taps, stride };
            assert_eq!(filtering.multiplications(), multiplications);
            let by_phase: usize = (0..filtering.phases()).map(|phase| filtering.products_of(phase)).sum();
            assert_eq!(by_phase, multiplications);
        }
        assert_eq!(Filtering::all(2, 2).count(), 0);
    }
}
