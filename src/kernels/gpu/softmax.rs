//! Softmax along one axis, and its logarithm.

use super::{Array, GpuEpilogue, GpuFamily, Launch, arrays_name, math};
use crate::codegen::ptx::{Builder, Class, Comparison, Entry, Target, Value};
use crate::ops::{Softmax, UnaryFunction};

/// A warp for each line along the axis. Arguments: x, the epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct SoftmaxLines {
    pub softmax: Softmax,
    pub x: Array,
    pub y: Array,
    pub epilogue: GpuEpilogue,
}

/// What is done with the element at these coordinates, where the condition holds.
type Visit<'a> = dyn FnMut(&mut Builder, &[Value], Option<Value>) + 'a;

/// Lanes of a warp.
const LANES: usize = 32;
/// Warps of a block.
const WARPS: usize = 4;

impl SoftmaxLines {
    fn lines(&self) -> usize {
        self.y.view.elements() / self.y.view.dims[self.softmax.axis]
    }
}

impl GpuFamily for SoftmaxLines {
    fn name(&self) -> String {
        let places = arrays_name(&self.y.view.dims, &[&self.x, &self.y]);
        let Softmax { axis, log } = self.softmax;
        let kind = if log { "logsoftmax" } else { "softmax" };
        format!("{kind}{axis}_{places}{}", self.epilogue.suffix())
    }

    fn launch(&self) -> Launch {
        let warps = WARPS.min(self.lines());
        Launch { grid: [self.lines().div_ceil(warps), 1, 1], threads: LANES * warps }
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let Launch { threads, .. } = self.launch();
        let dims = &self.y.view.dims;
        let mut b = Builder::new(entry, threads as u32);
        let x = b.pointer();
        let epilogue = self.epilogue.declare(&mut b);
        let y = b.pointer();
        let (thread, block) = (b.thread(), b.block(0));
        let (warp, lane) = b.div_rem(thread, LANES);
        let line = b.mad(block, threads / LANES, warp);
        if !self.lines().is_multiple_of(threads / LANES) {
            let beyond = b.compare(Comparison::Ge, line, self.lines());
            b.return_if(beyond);
        }
        let others: Vec<usize> = (0..dims.len()).filter(|&axis| axis != self.softmax.axis).collect();
        let extents: Vec<usize> = others.iter().map(|&axis| dims[axis]).collect();
        let mut origin = vec![Value::Int(0); dims.len()];
        for (&axis, value) in others.iter().zip(b.coordinates(line, &extents)) {
            origin[axis] = value;
        }
        let length = dims[self.softmax.axis];
        let each = |b: &mut Builder, visit: &mut Visit| {
            b.repeat(length.div_ceil(LANES), |b, round| {
                let mut coordinates = origin.clone();
                coordinates[self.softmax.axis] = b.mad(round, LANES, lane);
                let within = (!length.is_multiple_of(LANES))
                    .then(|| b.compare(Comparison::Lt, coordinates[self.softmax.axis], length));
                visit(b, &coordinates, within);
            });
        };
        let max = b.variable(Class::F32, f32::NEG_INFINITY);
        each(&mut b, &mut |b, coordinates, guard| {
            let value = self.x.load(b, x, coordinates, self.softmax.axis, 1, guard)[0];
            b.guarded(guard, |b| b.accumulate_max(max, value));
        });
        let max = across_warp(&mut b, max, Builder::fmax);
        let power = |b: &mut Builder, coordinates: &[Value], guard: Option<Value>| {
            let value = self.x.load(b, x, coordinates, self.softmax.axis, 1, guard)[0];
            let below = b.fsub(value, max);
            math::exp(b, below)
        };
        let sum = b.variable(Class::F32, 0.0);
        each(&mut b, &mut |b, coordinates, guard| {
            let power = power(b, coordinates, guard);
            b.guarded(guard, |b| b.accumulate_sum(sum, power));
        });
        let sum = across_warp(&mut b, sum, Builder::fadd);
        let log_sum = self.softmax.log.then(|| math::unary(&mut b, UnaryFunction::Log, sum));
        each(&mut b, &mut |b, coordinates, guard| {
            let value = match log_sum {
                None => {
                    let power = power(b, coordinates, guard);
                    b.fdiv(power, sum)
                }
                Some(log_sum) => {
                    let value = self.x.load(b, x, coordinates, self.softmax.axis, 1, guard)[0];
                    let below = b.fsub(value, max);
                    b.fsub(below, log_sum)
                }
            };
            let values = epilogue.apply(b, vec![value], coordinates, self.softmax.axis, [guard; 2]);
            self.y.store(b, y, coordinates, self.softmax.axis, &values, guard);
        });
        b.finish()
    }
}

/// Joins the values of all lanes of a warp; every lane gets the same result.
pub(super) fn across_warp(
    b: &mut Builder,
    value: Value,
    join: fn(&mut Builder, Value, Value) -> Value,
) -> Value {
    [16, 8, 4, 2, 1].into_iter().fold(value, |value, mask| {
        let other = b.shuffle_xor(value, mask);
        join(b, value, other)
    })
}
