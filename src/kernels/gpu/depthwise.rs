//! Depthwise convolution.

use super::pool::{for_each_tap, stays_inside, tap_position};
use super::{Array, GpuEpilogue, GpuFamily, Launch, PerThread, arrays_name};
use crate::codegen::ptx::{Builder, Class, Comparison, Element, Entry, Space, Target, Value};
use crate::ops::Window;

/// One filter for each channel. A thread computes up to four channels of a row of pixels, and reads each input pixel
/// of a kernel's row once. Arguments: x, weight `[kh][kw][c]`, the epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Depthwise {
    pub x: Array,
    pub y: Array,
    pub kernel: [usize; 2],
    pub window: Window,
    /// Output pixels of a thread, side by side.
    pub pixels: usize,
    pub epilogue: GpuEpilogue,
}

impl Depthwise {
    fn lanes(&self) -> usize {
        lanes(&[&self.x, &self.y], &self.epilogue)
    }

    fn extents(&self) -> [usize; 4] {
        let [n, c, h, w] = self.y.view.dims[..] else { unreachable!("rank 4") };
        [n, h, w.div_ceil(self.pixels), c / self.lanes()]
    }
}

/// How many neighbouring channels a thread can work on.
fn lanes(arrays: &[&Array], epilogue: &GpuEpilogue) -> usize {
    let fits = |lanes: &usize| {
        arrays.iter().all(|array| array.is_vector(1, *lanes)) && epilogue.is_vector(1, *lanes)
    };
    [4, 2].into_iter().find(fits).unwrap_or(1)
}

/// What names say of a window: `ih224iw224kh3kw3sh2sw2dh1dw1pt0pl0pb1pr1`.
pub(super) fn window_name(x: &Array, [kh, kw]: [usize; 2], window: &Window) -> String {
    let [_, _, h, w] = x.view.dims[..] else { unreachable!("rank 4") };
    let Window { stride: [sh, sw], padding: [top, left, bottom, right], dilation: [dh, dw] } = window;
    format!("ih{h}iw{w}kh{kh}kw{kw}sh{sh}sw{sw}dh{dh}dw{dw}pt{top}pl{left}pb{bottom}pr{right}")
}

impl GpuFamily for Depthwise {
    fn name(&self) -> String {
        let places = arrays_name(&self.y.view.dims, &[&self.x, &self.y]);
        let window = window_name(&self.x, self.kernel, &self.window);
        format!("depthwise_{places}_{window}{}_p{}", self.epilogue.suffix(), self.pixels)
    }

    fn launch(&self) -> Launch {
        Launch::linear(self.extents().iter().product())
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let PerThread { mut b, x, weight, epilogue, y, place } =
            PerThread::new(entry, self.extents(), &self.epilogue);
        let [image, oy, strip, block] = place;
        let (lanes, pixels, kernel, window) = (self.lanes(), self.pixels, self.kernel, &self.window);
        let channel = b.mul(block, lanes);
        let first = b.mul(strip, pixels);
        let [_, c, ih, iw] = self.x.view.dims[..] else { unreachable!("rank 4") };
        let [_, _, oh, ow] = self.y.view.dims[..] else { unreachable!("rank 4") };
        let inside = stays_inside(window, kernel, [ih, iw], [oh, ow.next_multiple_of(pixels)]);
        let sums: Vec<Vec<Value>> =
            (0..pixels).map(|_| (0..lanes).map(|_| b.variable(Class::F32, 0.0)).collect()).collect();
        let weights = b.offset(weight, channel, Element::F32.bytes());
        let load_weights = |b: &mut Builder, tap: Value| {
            let elements = b.mul(tap, c);
            let pointer = b.materialise(weights);
            let at = b.offset(pointer, elements, Element::F32.bytes());
            b.load(Space::Constant, Element::F32, lanes, at, None)
        };
        let load = |b: &mut Builder, row: Value, column: Value| {
            let guard = (!inside).then(|| {
                let row_inside = b.compare(Comparison::Lt, row, ih);
                let column_inside = b.compare(Comparison::Lt, column, iw);
                b.both(Some(row_inside), Some(column_inside)).expect("two conditions")
            });
            self.x.load(b, x, &[image, channel, row, column], 1, lanes, guard)
        };
        let [kh, kw] = kernel;
        if kh * kw <= 25 && window.dilation[1] == 1 {
            // Columns that the pixels share are read once.
            let reach = (pixels - 1) * window.stride[1] + kw;
            for ky in 0..kh {
                let row = tap_position(&mut b, window, 0, oy, ky.into());
                let factors: Vec<Vec<Value>> =
                    (0..kw).map(|kx| load_weights(&mut b, (ky * kw + kx).into())).collect();
                let origin = tap_position(&mut b, window, 1, first, Value::Int(0));
                for column in 0..reach {
                    let used =
                        |pixel: usize| column.checked_sub(pixel * window.stride[1]).filter(|kx| *kx < kw);
                    if (0..pixels).all(|pixel| used(pixel).is_none()) {
                        continue;
                    }
                    let at = b.add(origin, column);
                    let values = load(&mut b, row, at);
                    for (pixel, sums) in sums.iter().enumerate() {
                        let Some(kx) = used(pixel) else { continue };
                        for (lane, &sum) in sums.iter().enumerate() {
                            b.accumulate(sum, values[lane], factors[kx][lane]);
                        }
                    }
                }
            }
        } else {
            for_each_tap(&mut b, kernel, |b, [ky, kx]| {
                let tap = b.mad(ky, kw, kx);
                let factors = load_weights(b, tap);
                let row = tap_position(b, window, 0, oy, ky);
                for (pixel, sums) in sums.iter().enumerate() {
                    let at = b.add(first, pixel);
                    let column = tap_position(b, window, 1, at, kx);
                    let values = load(b, row, column);
                    for lane in 0..lanes {
                        b.accumulate(sums[lane], values[lane], factors[lane]);
                    }
                }
            });
        }
        for (pixel, sums) in sums.into_iter().enumerate() {
            let column = b.add(first, pixel);
            let guard =
                (!ow.is_multiple_of(pixels) && pixel > 0).then(|| b.compare(Comparison::Lt, column, ow));
            let coordinates = [image, channel, oy, column];
            let results = epilogue.apply(&mut b, sums, &coordinates, 1, [guard, None]);
            self.y.store(&mut b, y, &coordinates, 1, &results, guard);
        }
        b.finish()
    }
}
