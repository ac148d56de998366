//! Max and average pooling.

use super::depthwise::window_name;
use super::{Array, GpuEpilogue, GpuFamily, Launch, arrays_name, linear_thread};
use crate::codegen::ptx::{Builder, Class, Comparison, Entry, Target, Value};
use crate::ops::{Pool, PoolKind, Window};

/// One thread for up to four channels of a pixel. Arguments: x, the epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Pooling {
    pub pool: Pool,
    pub x: Array,
    pub y: Array,
    pub epilogue: GpuEpilogue,
}

/// Windows of up to this many taps are written without loops.
const UNROLLED_TAPS: usize = 25;

/// Calls `tap` for each position in a kernel of these extents, in loops where there are many.
pub(super) fn for_each_tap(
    b: &mut Builder,
    [kh, kw]: [usize; 2],
    mut tap: impl FnMut(&mut Builder, [Value; 2]),
) {
    if kh * kw <= UNROLLED_TAPS {
        for at in 0..kh * kw {
            tap(b, [(at / kw).into(), (at % kw).into()]);
        }
    } else {
        b.repeat(kh, |b, ky| b.repeat(kw, |b, kx| tap(b, [ky, kx])));
    }
}

/// Whether every tap of every output lies inside the image.
pub(super) fn stays_inside(
    window: &Window,
    kernel: [usize; 2],
    input: [usize; 2],
    output: [usize; 2],
) -> bool {
    window.padding[..2] == [0, 0]
        && (0..2).all(|axis| {
            let last = (output[axis] - 1) * window.stride[axis] + (kernel[axis] - 1) * window.dilation[axis];
            last < input[axis]
        })
}

/// Where a tap reads along one axis: `at · stride + tap · dilation - padding`.
pub(super) fn tap_position(b: &mut Builder, window: &Window, axis: usize, at: Value, tap: Value) -> Value {
    let start = b.mad(at, window.stride[axis], -(window.padding[axis] as i64));
    b.mad(tap, window.dilation[axis], start)
}

impl Pooling {
    fn lanes(&self) -> usize {
        let fits = |lanes: &usize| {
            [&self.x, &self.y].iter().all(|array| array.is_vector(1, *lanes))
                && self.epilogue.is_vector(1, *lanes)
        };
        [4, 2].into_iter().find(fits).unwrap_or(1)
    }

    fn extents(&self) -> [usize; 4] {
        let [n, c, h, w] = self.y.view.dims[..] else { unreachable!("rank 4") };
        [n, h, w, c / self.lanes()]
    }
}

impl GpuFamily for Pooling {
    fn name(&self) -> String {
        let Pool { kind, kernel, window, .. } = &self.pool;
        let kind = match kind {
            PoolKind::Max => "maxpool",
            PoolKind::Average { count_include_pad: true } => "avgpoolpad",
            PoolKind::Average { count_include_pad: false } => "avgpool",
        };
        let places = arrays_name(&self.y.view.dims, &[&self.x, &self.y]);
        let window = window_name(&self.x, *kernel, window);
        format!("{kind}_{places}_{window}{}", self.epilogue.suffix())
    }

    fn launch(&self) -> Launch {
        Launch::linear(self.extents().iter().product())
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let Launch { threads, .. } = self.launch();
        let mut b = Builder::new(entry, threads as u32);
        let x = b.pointer();
        let epilogue = self.epilogue.declare(&mut b);
        let y = b.pointer();
        let at = linear_thread(&mut b, self.extents().iter().product());
        let lanes = self.lanes();
        let [image, oy, ox, block] = b.coordinates(at, &self.extents())[..] else {
            unreachable!("four extents")
        };
        let channel = b.mul(block, lanes);
        let [_, _, ih, iw] = self.x.view.dims[..] else { unreachable!("rank 4") };
        let [_, _, oh, ow] = self.y.view.dims[..] else { unreachable!("rank 4") };
        let (window, kernel) = (&self.pool.window, self.pool.kernel);
        let inside = stays_inside(window, kernel, [ih, iw], [oh, ow]);
        let is_max = self.pool.kind == PoolKind::Max;
        let start = if is_max { f32::NEG_INFINITY } else { 0.0 };
        let sums: Vec<Value> = (0..lanes).map(|_| b.variable(Class::F32, start)).collect();
        // Taps that count for an average.
        let count = (!is_max && !inside).then(|| b.variable(Class::F32, 0.0));
        let counts_padding = self.pool.kind == PoolKind::Average { count_include_pad: true };
        for_each_tap(&mut b, kernel, |b, [ky, kx]| {
            let row = tap_position(b, window, 0, oy, ky);
            let column = tap_position(b, window, 1, ox, kx);
            let guard = (!inside).then(|| {
                let row_inside = b.compare(Comparison::Lt, row, ih);
                let column_inside = b.compare(Comparison::Lt, column, iw);
                b.both(Some(row_inside), Some(column_inside)).expect("two conditions")
            });
            let values = self.x.load(b, x, &[image, channel, row, column], 1, lanes, guard);
            if let Some(count) = count {
                // A tap in the padding that the operator declares counts, one that `ceil_mode` adds beyond does not.
                let counted = match counts_padding {
                    true => {
                        let row_counts = b.compare(Comparison::SignedLt, row, ih + window.padding[2]);
                        let column_counts = b.compare(Comparison::SignedLt, column, iw + window.padding[3]);
                        b.both(Some(row_counts), Some(column_counts))
                    }
                    false => guard,
                };
                b.guarded(counted, |b| b.accumulate_sum(count, 1.0));
            }
            for (&sum, value) in sums.iter().zip(values) {
                match is_max {
                    true => b.guarded(guard, |b| b.accumulate_max(sum, value)),
                    false => b.accumulate_sum(sum, value),
                }
            }
        });
        let results = match (is_max, count) {
            (true, _) => sums,
            (false, Some(count)) => sums.into_iter().map(|sum| b.fdiv(sum, count)).collect(),
            (false, None) => {
                let taps = (kernel[0] * kernel[1]) as f32;
                sums.into_iter().map(|sum| b.fdiv(sum, taps)).collect()
            }
        };
        let coordinates = [image, channel, oy, ox];
        let results = epilogue.apply(&mut b, results, &coordinates, 1, [None; 2]);
        self.y.store(&mut b, y, &coordinates, 1, &results, None);
        b.finish()
    }
}
