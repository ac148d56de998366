//! Dense layers of few images: every weight is read once, so memory's bandwidth decides.

use super::softmax::across_warp;
use super::{Array, GpuEpilogue, GpuFamily, Launch, arrays_name};
use crate::codegen::ptx::{Builder, Class, Comparison, Element, Entry, Space, Target, Value};

/// `y [n, o] = x [n, i] · weightᵀ [o, i]`, then the epilogue. A warp computes one output of all images, its lanes
/// reading neighbouring weights. Arguments: x, weight, the epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Gemv {
    /// `[n, i]`
    pub x: Array,
    /// `[n, o]`
    pub y: Array,
    /// How the weights are stored, row by row.
    pub weight: Element,
    pub epilogue: GpuEpilogue,
}

/// Images that a kernel takes at most.
pub const MAX_IMAGES: usize = 4;

const LANES: usize = 32;
const WARPS: usize = 4;
/// Vectors of weights that a lane has under way at a time.
const UNROLL: usize = 4;

impl Gemv {
    fn outputs(&self) -> usize {
        self.y.view.dims[1]
    }

    /// Neighbouring features that a lane reads at once.
    fn width(&self) -> usize {
        let features = self.x.view.dims[1];
        [4, 2]
            .into_iter()
            .find(|&width| features.is_multiple_of(width) && self.x.is_vector(1, width))
            .unwrap_or(1)
    }
}

impl GpuFamily for Gemv {
    fn name(&self) -> String {
        let [n, i] = self.x.view.dims[..] else { unreachable!("rank 2") };
        let weight = if self.weight == Element::F32 { "" } else { "_wf16" };
        let places = arrays_name(&[n, self.outputs()], &[&self.x, &self.y]);
        format!("gemv_i{i}_{places}{weight}{}", self.epilogue.suffix())
    }

    fn launch(&self) -> Launch {
        Launch { grid: [self.outputs().div_ceil(WARPS), 1, 1], threads: LANES * WARPS }
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let [images, features] = self.x.view.dims[..] else { unreachable!("rank 2") };
        let mut b = Builder::new(entry, self.launch().threads as u32);
        let (x, weight) = (b.pointer(), b.pointer());
        let epilogue = self.epilogue.declare(&mut b);
        let y = b.pointer();
        let (thread, block) = (b.thread(), b.block(0));
        let (warp, lane) = b.div_rem(thread, LANES);
        let output = b.mad(block, WARPS, warp);
        if !self.outputs().is_multiple_of(WARPS) {
            let beyond = b.compare(Comparison::Ge, output, self.outputs());
            b.return_if(beyond);
        }
        let width = self.width();
        let first = b.mul(lane, width);
        let start = b.mad(output, features, first);
        let weights = b.offset(weight, start, self.weight.bytes());
        let inputs: Vec<_> =
            (0..images).map(|image| self.x.at(&mut b, x, &[Value::Int(image as i64), first])).collect();
        let stride = self.x.view.strides[1];
        // One for each vector under way, so that none waits for another's sum.
        let sums: Vec<Vec<Value>> =
            (0..images).map(|_| (0..UNROLL).map(|_| b.variable(Class::F32, 0.0)).collect()).collect();
        let step = LANES * width;
        // One round of all lanes, `at` features on from where the pointers stand.
        let round = |b: &mut Builder, weights: Value, inputs: &[Value], at: usize, guard: Option<Value>| {
            let address = crate::codegen::ptx::Address::from(weights).plus(at * self.weight.bytes());
            let factors = b.load(Space::Constant, self.weight, width, address, guard);
            for (&input, sums) in inputs.iter().zip(&sums) {
                let sum = sums[at / step % UNROLL];
                let address =
                    crate::codegen::ptx::Address::from(input).plus(at * stride * self.x.element.bytes());
                let values = b.load(Space::Constant, self.x.element, width, address, guard);
                for (&factor, value) in factors.iter().zip(values) {
                    b.accumulate(sum, factor, value);
                }
            }
        };
        let weights = b.materialise(weights);
        let inputs: Vec<Value> = inputs.into_iter().map(|address| b.materialise(address)).collect();
        let rounds = features / (step * UNROLL);
        b.repeat(rounds, |b, _| {
            for at in 0..UNROLL {
                round(b, weights, &inputs, at * step, None);
            }
            b.step_pointer(weights, step * UNROLL * self.weight.bytes());
            for &input in &inputs {
                b.step_pointer(input, step * UNROLL * stride * self.x.element.bytes());
            }
        });
        let rest = features - rounds * step * UNROLL;
        for at in 0..rest.div_ceil(step) {
            let left = rest - at * step;
            let guard = (left < step).then(|| b.compare(Comparison::Lt, first, left));
            round(&mut b, weights, &inputs, at * step, guard);
        }
        let is_first = b.compare(Comparison::Eq, lane, 0);
        for (image, sums) in sums.iter().enumerate() {
            let own = sums[1..].iter().fold(sums[0], |total, &sum| b.fadd(total, sum));
            let total = across_warp(&mut b, own, Builder::fadd);
            let coordinates = [Value::Int(image as i64), output];
            // All lanes have the output's address, so all may load; one stores.
            let results = epilogue.apply(&mut b, vec![total], &coordinates, 1, [None; 2]);
            self.y.store(&mut b, y, &coordinates, 1, &results, Some(is_first));
        }
        b.finish()
    }
}
