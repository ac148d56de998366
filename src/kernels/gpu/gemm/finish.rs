//! From sums in registers to the result in memory.

use std::collections::BTreeMap;

use super::Gemm;
use super::multiply::Sums;
use crate::codegen::ptx::{Builder, Comparison, Value};
use crate::kernels::View;
use crate::kernels::gpu::Array;
use crate::kernels::gpu::epilogue::BoundEpilogue;

/// Applies the epilogue and stores; `[first_pixel, panel, group, split]` say which tile it is.
pub fn store(
    gemm: &Gemm,
    b: &mut Builder,
    epilogue: &BoundEpilogue,
    y: Value,
    sums: &Sums,
    [first_pixel, panel, group, split]: [Value; 4],
) {
    let first_output = b.mul(panel, gemm.tile.outputs);
    let own_output = b.add(first_output, sums.first[1]);
    let own_pixel = b.add(first_pixel, sums.first[0]);
    let first_channel = b.mul(group, gemm.outputs());
    let target = target(gemm);
    let lanes = lanes(gemm, &target, sums.groups[0].values.len());
    let mut pixels = Places::new(own_pixel, gemm.pixels(), gemm.tile.pixels);
    let mut outputs = Places::new(own_output, gemm.outputs(), gemm.tile.outputs);
    for group in &sums.groups {
        let (pixel, pixel_exists) = pixels.at(b, group.row);
        for (part, values) in group.values.chunks(lanes).enumerate() {
            let (output, output_exists) = outputs.at(b, group.column + part * lanes);
            let guard = b.both(pixel_exists, output_exists);
            let channel = b.add(first_channel, output);
            // `y`'s first axis counts splits, the epilogue's images, of which there is one.
            let coordinates = [Value::Int(0), channel, Value::Int(0), pixel];
            let values = epilogue.apply(b, values.to_vec(), &coordinates, 1, [guard, output_exists]);
            let place = [split, channel, Value::Int(0), pixel];
            target.store(b, y, &place, 1, &values, guard);
        }
    }
}

/// A thread's rows or columns of the tile, each worked out once.
struct Places {
    first: Value,
    count: usize,
    is_ragged: bool,
    known: BTreeMap<usize, (Value, Option<Value>)>,
}

impl Places {
    /// From `first` on, of `count` in all, which tiles of `tile` cover.
    fn new(first: Value, count: usize, tile: usize) -> Self {
        Places { first, count, is_ragged: !count.is_multiple_of(tile), known: BTreeMap::new() }
    }

    /// The place `offset` behind the first, and the condition under which there is one.
    fn at(&mut self, b: &mut Builder, offset: usize) -> (Value, Option<Value>) {
        *self.known.entry(offset).or_insert_with(|| {
            let at = b.add(self.first, offset);
            (at, self.is_ragged.then(|| b.compare(Comparison::Lt, at, self.count)))
        })
    }
}

/// Where results go: `[split, o, 1, pixel]`.
fn target(gemm: &Gemm) -> Array {
    let (pixels, outputs) = (gemm.pixels(), gemm.y.view.dims[1]);
    if gemm.splits > 1 {
        let dims = vec![gemm.splits, outputs, 1, pixels];
        return Array::f32(View { dims, strides: vec![pixels * outputs, 1, 0, outputs], offset: 0 });
    }
    let view = gemm.y.view.joined_pixels().expect("pixels at even distances");
    Array { view, element: gemm.y.element }
}

/// How many neighbouring outputs are stored at once.
fn lanes(gemm: &Gemm, target: &Array, most: usize) -> usize {
    let fits = |lanes: &usize| {
        gemm.outputs().is_multiple_of(*lanes)
            && target.is_vector(1, *lanes)
            && gemm.epilogue.is_vector(1, *lanes)
    };
    [4, 2].into_iter().filter(|&lanes| lanes <= most).find(fits).unwrap_or(1)
}
