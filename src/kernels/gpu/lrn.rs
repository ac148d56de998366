//! Local response normalisation.

use super::pool::for_each_tap;
use super::{Array, GpuEpilogue, GpuFamily, Launch, arrays_name, linear_thread, math};
use crate::codegen::ptx::{Builder, Class, Comparison, Entry, Target, Value};
use crate::ops;

/// One thread for each element. Arguments: x, the epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Lrn {
    pub lrn: ops::Lrn,
    pub x: Array,
    pub y: Array,
    pub epilogue: GpuEpilogue,
}

impl Lrn {
    /// The output's axes in the order of its memory, outermost first, so that neighbouring threads write neighbours.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.y.view.dims.len()).collect();
        order.sort_by_key(|&axis| std::cmp::Reverse(self.y.view.strides[axis]));
        order
    }
}

impl GpuFamily for Lrn {
    fn name(&self) -> String {
        let ops::Lrn { size, alpha, beta, bias } = self.lrn;
        let places = arrays_name(&self.y.view.dims, &[&self.x, &self.y]);
        format!("lrn_{places}_size{size}alpha{alpha:?}beta{beta:?}bias{bias:?}{}", self.epilogue.suffix())
    }

    fn launch(&self) -> Launch {
        Launch::linear(self.y.view.elements())
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let mut b = Builder::new(entry, self.launch().threads as u32);
        let x = b.pointer();
        let epilogue = self.epilogue.declare(&mut b);
        let y = b.pointer();
        let dims = &self.y.view.dims;
        let at = linear_thread(&mut b, self.y.view.elements());
        let order = self.order();
        let extents: Vec<usize> = order.iter().map(|&axis| dims[axis]).collect();
        let ordered = b.coordinates(at, &extents);
        let mut coordinates = vec![Value::Int(0); dims.len()];
        for (&axis, value) in order.iter().zip(ordered) {
            coordinates[axis] = value;
        }
        let sum = b.variable(Class::F32, 0.0);
        // More than twice the channels never reach any.
        let size = self.lrn.size.min(2 * dims[1] + 1);
        let before = (self.lrn.size - 1) / 2;
        let skipped = before.saturating_sub(dims[1]);
        for_each_tap(&mut b, [1, size], |b, [_, tap]| {
            let first = b.add(coordinates[1], skipped as i64 - before as i64);
            let channel = b.add(first, tap);
            let within = b.compare(Comparison::Lt, channel, dims[1]);
            let mut neighbour = coordinates.clone();
            neighbour[1] = channel;
            let value = self.x.load(b, x, &neighbour, 1, 1, Some(within))[0];
            b.accumulate(sum, value, value);
        });
        let scale = b.fma(sum, self.lrn.alpha / self.lrn.size as f32, self.lrn.bias);
        let factor = math::power(&mut b, scale, -self.lrn.beta);
        let value = self.x.load(&mut b, x, &coordinates, 1, 1, None)[0];
        let result = b.fmul(value, factor);
        let results = epilogue.apply(&mut b, vec![result], &coordinates, 1, [None; 2]);
        self.y.store(&mut b, y, &coordinates, 1, &results, None);
        b.finish()
    }
}
