//! Convolution in groups too small for matrix tiles.

use super::depthwise::window_name;
use super::pool::{stays_inside, tap_position};
use super::{Array, GpuEpilogue, GpuFamily, Launch, PerThread, arrays_name};
use crate::codegen::ptx::{Class, Comparison, Element, Entry, Space, Target};
use crate::ops::Window;

/// A thread computes one channel of a pixel. Arguments: x, weight `[kh][kw][c / groups][o]`, the epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Grouped {
    pub x: Array,
    pub y: Array,
    pub kernel: [usize; 2],
    pub window: Window,
    pub groups: usize,
    pub epilogue: GpuEpilogue,
}

impl Grouped {
    fn extents(&self) -> [usize; 4] {
        let [n, c, h, w] = self.y.view.dims[..] else { unreachable!("rank 4") };
        [n, h, w, c]
    }
}

impl GpuFamily for Grouped {
    fn name(&self) -> String {
        let places = arrays_name(&self.y.view.dims, &[&self.x, &self.y]);
        let window = window_name(&self.x, self.kernel, &self.window);
        let channels = self.x.view.dims[1];
        format!("grouped_g{}ic{channels}_{places}_{window}{}", self.groups, self.epilogue.suffix())
    }

    fn launch(&self) -> Launch {
        Launch::linear(self.extents().iter().product())
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let PerThread { mut b, x, weight, epilogue, y, place } =
            PerThread::new(entry, self.extents(), &self.epilogue);
        let [image, oy, ox, output] = place;
        let [_, c, ih, iw] = self.x.view.dims[..] else { unreachable!("rank 4") };
        let [_, o, oh, ow] = self.y.view.dims[..] else { unreachable!("rank 4") };
        let (channels, window, [kh, kw]) = (c / self.groups, &self.window, self.kernel);
        let inside = stays_inside(window, self.kernel, [ih, iw], [oh, ow]);
        let group = b.div(output, o / self.groups);
        let first = b.mul(group, channels);
        let weights = b.offset(weight, output, Element::F32.bytes());
        let weights = b.materialise(weights);
        let sum = b.variable(Class::F32, 0.0);
        b.repeat(kh, |b, ky| {
            let row = tap_position(b, window, 0, oy, ky);
            b.repeat(kw, |b, kx| {
                let column = tap_position(b, window, 1, ox, kx);
                let tap = b.mad(ky, kw, kx);
                let guard = (!inside).then(|| {
                    let row_inside = b.compare(Comparison::Lt, row, ih);
                    let column_inside = b.compare(Comparison::Lt, column, iw);
                    b.both(Some(row_inside), Some(column_inside)).expect("two conditions")
                });
                b.repeat(channels, |b, at| {
                    let channel = b.add(first, at);
                    let value = self.x.load(b, x, &[image, channel, row, column], 1, 1, guard)[0];
                    let line = b.mad(tap, channels, at);
                    let elements = b.mul(line, o);
                    let address = b.offset(weights, elements, Element::F32.bytes());
                    let factor = b.load(Space::Constant, Element::F32, 1, address, None)[0];
                    b.accumulate(sum, value, factor);
                });
            });
        });
        let coordinates = [image, output, oy, ox];
        let results = epilogue.apply(&mut b, vec![sum], &coordinates, 1, [None; 2]);
        self.y.store(&mut b, y, &coordinates, 1, &results, None);
        b.finish()
    }
}
