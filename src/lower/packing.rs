//! Filters into the panels that kernels read. Panels are written row by row, since they are larger than what is read.

use std::ops::Range;

use half::f16;

use super::balancing::balance;
use crate::kernels::packed::{PackedFilter, WeightType};
use crate::kernels::polyphase::PhaseFilters;
use crate::kernels::winograd::{FilterTransform, Method};

/// The panels of a filter `[group][o][c][tap]` in `[group][panel][tap][c][panel_width]`: for each the elements of the
/// filter that it holds, and where in the packed array it lies.
pub fn panels(packed: &PackedFilter) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + use<> {
    let PackedFilter { groups, outputs, reduction, panel_width, .. } = *packed;
    let size = packed.row_elements() * reduction;
    let firsts = move |group| (0..outputs).step_by(panel_width).map(move |first| (group, first));
    (0..groups).flat_map(firsts).enumerate().map(move |(panel, (group, first))| {
        let end = (first + panel_width).min(outputs);
        let filters = (group * outputs + first) * reduction..(group * outputs + end) * reduction;
        (filters, panel * size..(panel + 1) * size)
    })
}

/// Packs the filters of one of the [`panels`]. Channels beyond the outputs become zero.
pub fn pack_panel(filters: &[f32], taps: usize, packed: &PackedFilter, target: &mut [f32]) {
    match packed.weight_type {
        WeightType::F32 => pack_floats(filters, taps, packed, target),
        WeightType::F16 => {
            let mut whole = vec![0.0; packed.panel_width * packed.reduction];
            pack_floats(filters, taps, packed, &mut whole);
            pack_halves(&whole, target);
        }
    }
}

fn pack_floats(filters: &[f32], taps: usize, packed: &PackedFilter, panel: &mut [f32]) {
    let PackedFilter { reduction, panel_width: width, .. } = *packed;
    let channels = reduction / taps;
    // Rows come together here and are written one after the other, since the panel is far from the caches.
    let mut block = vec![0.0; CHANNELS_AT_ONCE * width];
    for (tap, rows) in panel.chunks_exact_mut(channels * width).enumerate() {
        for first in (0..channels).step_by(CHANNELS_AT_ONCE) {
            let together = first..channels.min(first + CHANNELS_AT_ONCE);
            for (output, filter) in filters.chunks_exact(reduction).enumerate() {
                let lanes = block[output..].iter_mut().step_by(width);
                if taps == 1 {
                    lanes.zip(&filter[together.clone()]).for_each(|(lane, &weight)| *lane = weight);
                } else {
                    lanes
                        .zip(together.clone())
                        .for_each(|(lane, channel)| *lane = filter[channel * taps + tap]);
                }
            }
            for (row, channel) in block.chunks_exact(width).zip(together) {
                rows[packed.arithmetic.row_of(channel, channels) * width..][..width].copy_from_slice(row);
            }
        }
    }
}

/// The channels of a cache line.
const CHANNELS_AT_ONCE: usize = 16;

/// What crossed products need behind the packed panels, which are brought to scale.
pub fn finish_filter(taps: usize, packed: &PackedFilter, target: &mut [f32]) {
    balance(packed, packed.reduction / taps, 1, target);
}

/// `[group][o][c][kh][kw]` to `[group][product][panel][c][panel_width]`, each filter `g` as `G g Gᵀ`, and what crossed
/// products need behind it.
pub fn pack_winograd(weight: &[f32], method: Method, packed: &PackedFilter, target: &mut [f32]) {
    match method.kernel() {
        [3, 3] => pack_winograd_groups::<3>(weight, method, packed, target),
        [5, 5] => pack_winograd_groups::<5>(weight, method, packed, target),
        kernel => unreachable!("there are no methods for {kernel:?}"),
    }
}

fn pack_winograd_groups<const TAPS: usize>(
    weight: &[f32],
    method: Method,
    packed: &PackedFilter,
    target: &mut [f32],
) {
    let mut transform = FilterTransform::<TAPS>::new(method);
    let filters: &[[[f32; TAPS]; TAPS]] = weight.as_chunks().0.as_chunks().0;
    let groups = filters.chunks_exact(packed.outputs * packed.reduction);
    let size = packed.panel_elements() / packed.groups * method.products();
    for (filters, target) in groups.zip(target.chunks_exact_mut(size)) {
        pack_winograd_group(filters, &mut transform, packed, target);
    }
    balance(packed, packed.reduction, 1, target);
}

fn pack_winograd_group<const TAPS: usize>(
    filters: &[[[f32; TAPS]; TAPS]],
    transform: &mut FilterTransform<TAPS>,
    packed: &PackedFilter,
    target: &mut [f32],
) {
    let PackedFilter { reduction: channels, panel_width, .. } = *packed;
    let group = packed.panels() * panel_width * channels;
    // The filters of a panel for one channel: an array of all lanes for each of their elements.
    let mut taps: [[Vec<f64>; TAPS]; TAPS] = std::array::from_fn(|_| std::array::from_fn(|_| Vec::new()));
    let mut lanes = vec![0.0; panel_width];
    for (panel, filters) in filters.chunks(panel_width * channels).enumerate() {
        for channel in 0..channels {
            taps.as_flattened_mut().iter_mut().for_each(Vec::clear);
            for filter in filters[channel..].iter().step_by(channels) {
                let elements = taps.as_flattened_mut().iter_mut().zip(filter.as_flattened());
                elements.for_each(|(lanes, &element)| lanes.push(f64::from(element)));
            }
            let row = packed.arithmetic.row_of(channel, channels);
            let first = (panel * channels + row) * panel_width;
            transform.apply(&taps, &mut lanes, |product, values| {
                target[product * group + first..][..values.len()].copy_from_slice(values);
            });
        }
    }
}

/// `[group][o][c][kh][kw]` to `[product][group][panel][phase][kw][c][panel_width]`, the taps `g` of each phase as `G g`, and
/// what crossed products need behind each product.
pub fn pack_phases(weight: &[f32], filters: &PhaseFilters, target: &mut [f32]) {
    let PhaseFilters { filtering, width, packed } = *filters;
    let PackedFilter { outputs, panel_width, .. } = packed;
    let run = packed.reduction / filtering.phases();
    let filter = filtering.taps * run;
    for phase in 0..filtering.phases() {
        let transform = filtering.filter(phase);
        // An array of all lanes of a panel for each tap of the phase, and one for what becomes of them.
        let mut taps = vec![Vec::new(); filtering.taps_of(phase)];
        let mut sums = Vec::new();
        for (group, weight) in weight.chunks_exact(outputs * filter).enumerate() {
            for (panel, weight) in weight.chunks(panel_width * filter).enumerate() {
                for step in 0..run {
                    let channels = run / width;
                    let (column, channel) = (step / channels, step % channels);
                    for (tap, lanes) in taps.iter_mut().enumerate() {
                        let at = (channel * filtering.taps + phase + tap * filtering.stride) * width + column;
                        lanes.clear();
                        lanes.extend(weight.chunks_exact(filter).map(|filter| f64::from(filter[at])));
                    }
                    for (product, factors) in transform.iter().enumerate() {
                        let at = filters.at(product);
                        let row =
                            packed.arithmetic.row_of(channel, channels) + column * channels + phase * run;
                        let row = (group * packed.panels() + panel) * at.reduction + row;
                        let first = product * packed.elements() + row * panel_width;
                        sums.clear();
                        sums.resize(weight.len() / filter, 0.0);
                        for (factor, lanes) in factors.iter().zip(&taps) {
                            sums.iter_mut().zip(lanes).for_each(|(sum, tap)| *sum += factor * tap);
                        }
                        let row = target[first..].iter_mut().zip(&sums);
                        row.for_each(|(target, &sum)| *target = sum as f32);
                    }
                }
            }
        }
    }
    for product in 0..filtering.products() {
        let packed = filters.at(product);
        let target = &mut target[product * filters.packed.elements()..][..packed.elements()];
        balance(&packed, run / width, width, target);
    }
}

/// Two `f16` values to an element, the first in its lower half.
fn pack_halves(values: &[f32], target: &mut [f32]) {
    for (target, pair) in target.iter_mut().zip(values.chunks_exact(2)) {
        let [low, high] = [pair[0], pair[1]].map(|value| u32::from(f16::from_f32(value).to_bits()));
        *target = f32::from_bits(high << 16 | low);
    }
}
