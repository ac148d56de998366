//! Outputs along one axis as weighted sums of inputs along it: resizing, reversing, padding by what is there.

use super::nest::{Nest, moved, steps};
use super::view::{dims_name, layout_suffix};
use super::{Family, View};
use crate::codegen::vector::{Access, Address, Affine, Builder, Kernel};
use crate::ops::{Sample, Sampling};

/// `x` to `y`, which differ along the sampling's axis alone. Buffers: x, y.
#[derive(Clone, PartialEq, Debug)]
pub struct SamplingKernel {
    pub sampling: Sampling,
    pub x: View,
    pub y: View,
}

/// Outputs that repeat: `period` of them, `count` times, each time reading `shift` positions further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Progression {
    first: usize,
    period: usize,
    count: usize,
    shift: i64,
}

/// The longest period that is looked for.
const LONGEST_PERIOD: usize = 8;

/// By how many positions `later` reads further than `sample`, where that is all in which they differ.
fn shift(sample: &Sample, later: &Sample) -> Option<i64> {
    let distance = |(a, b): (&(usize, f64), &(usize, f64))| b.0 as i64 - a.0 as i64;
    let mut distances = sample.taps.iter().zip(&later.taps).map(distance);
    let weights = |sample: &Sample| sample.taps.iter().map(|tap| tap.1.to_bits()).collect::<Vec<_>>();
    let alike = weights(sample) == weights(later) && sample.constant.to_bits() == later.constant.to_bits();
    let first = distances.next().unwrap_or(0);
    (alike && distances.all(|distance| distance == first)).then_some(first)
}

/// Divides samples into progressions, at each place the one that repeats most often.
fn progressions(samples: &[Sample]) -> Vec<Progression> {
    let mut found = Vec::new();
    let mut first = 0;
    while first < samples.len() {
        let best = (1..=LONGEST_PERIOD.min(samples.len() - first))
            .map(|period| longest(samples, first, period))
            .max_by_key(|p| (p.count, LONGEST_PERIOD - p.period))
            .expect("a period of one is always there");
        first += best.count * best.period;
        found.push(best);
    }
    found
}

/// The longest progression of this period from `first` on.
fn longest(samples: &[Sample], first: usize, period: usize) -> Progression {
    let mut progression = Progression { first, period, count: 1, shift: 0 };
    let block = |number: usize| samples.get(first + number * period..first + (number + 1) * period);
    while let (Some(last), Some(next)) = (block(progression.count - 1), block(progression.count)) {
        let mut shifts = last.iter().zip(next).map(|(a, b)| shift(a, b));
        let Some(Some(step)) = shifts.next() else { break };
        let fits = progression.count == 1 || progression.shift == step;
        if !fits || !shifts.all(|other| other == Some(step)) {
            break;
        }
        progression.shift = step;
        progression.count += 1;
    }
    progression
}

/// A kernel while it is built.
struct Parts<'a> {
    kernel: &'a SamplingKernel,
    x: Address,
    y: Address,
}

impl Parts<'_> {
    /// All outputs along the axis for `lanes` lines side by side.
    fn lines(&self, k: &mut Builder, at: &[Affine], progressions: &[Progression], lanes: usize) {
        for &Progression { first, period, count, shift } in progressions {
            let samples = &self.kernel.sampling.samples[first..][..period];
            let outputs = |k: &mut Builder, number: &Affine| {
                for (step, sample) in samples.iter().enumerate() {
                    let output = number.times(period).plus(first + step);
                    self.output(k, at, sample, &output, &number.times(shift), lanes);
                }
            };
            if count == 1 {
                outputs(k, &Affine::default());
            } else {
                k.repeat(count, |k, index| outputs(k, &index.into()));
            }
        }
    }

    fn output(
        &self,
        k: &mut Builder,
        at: &[Affine],
        sample: &Sample,
        output: &Affine,
        moved_by: &Affine,
        lanes: usize,
    ) {
        let SamplingKernel { sampling: Sampling { axis, .. }, x, y } = self.kernel;
        let mut sum = None;
        for &(position, weight) in &sample.taps {
            let from = x.at(&self.x, &moved(at, *axis, moved_by.plus(position)));
            let value = k.load_lanes(from, lanes);
            sum = Some(match sum {
                None if weight == 1.0 => value,
                None => {
                    let weight = k.constant(weight as f32);
                    k.mul(value, weight)
                }
                Some(sum) => {
                    let weight = k.constant(weight as f32);
                    k.fma(value, weight, sum)
                }
            });
        }
        let value = match sum {
            Some(sum) if sample.constant == 0.0 => sum,
            Some(sum) => {
                let constant = k.constant(sample.constant as f32);
                k.add(sum, constant)
            }
            None => k.constant(sample.constant as f32),
        };
        k.store_lanes(value, y.at(&self.y, &moved(at, *axis, output.clone())), lanes);
    }
}

impl SamplingKernel {
    /// Tells samplings of equal extents apart: FNV-1a of all positions and weights.
    fn digest(&self) -> u64 {
        let numbers = self.sampling.samples.iter().flat_map(|sample| {
            let taps = sample.taps.iter().flat_map(|tap| [tap.0 as u64, tap.1.to_bits()]);
            [sample.taps.len() as u64, sample.constant.to_bits()].into_iter().chain(taps)
        });
        numbers
            .flat_map(u64::to_le_bytes)
            .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
    }
}

impl Family for SamplingKernel {
    fn name(&self) -> String {
        let Sampling { axis, samples } = &self.sampling;
        let (dims, layout) = (dims_name(&self.x.dims), layout_suffix([&self.x, &self.y]));
        format!("sample_{dims}_axis{axis}_to{}_{:016x}{layout}", samples.len(), self.digest())
    }

    fn build(&self, lanes: usize) -> Kernel {
        let (x, y, axis) = (&self.x, &self.y, self.sampling.axis);
        let rank = x.dims.len();
        let mut k = Builder::new(self.name(), lanes);
        let parts = Parts {
            kernel: self,
            x: k.buffer("x", Access::Read, x.end()),
            y: k.buffer("y", Access::Write, y.end()),
        };
        let progressions = progressions(&self.sampling.samples);
        let others = (0..rank).filter(|&other| other != axis);
        let nest = Nest::new(others, &y.dims, &[y.strides.clone(), x.strides.clone()]);
        let run = nest.run();
        // A nest without axes to walk along runs once along the last one, which may be the axis itself.
        let alone = run.extent == 1;
        let vector = !alone && x.strides[run.axis] == 1 && y.strides[run.axis] == 1;
        let lanes = if vector { lanes } else { 1 };
        nest.emit(&mut k, 2 * self.sampling.samples.len(), lanes, &|k, at, run| {
            steps(k, &at[run.axis], run.extent, lanes, 1, |k, start, lanes| {
                let at =
                    if alone { at[..rank].to_vec() } else { moved(&at[..rank], run.axis, start.clone()) };
                parts.lines(k, &at, &progressions, lanes);
            });
        });
        k.finish()
    }
}
