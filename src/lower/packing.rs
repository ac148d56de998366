//! Filters into the panels that kernels read. Panels are written row by row, since they are larger than what is read.

use half::f16;

use super::balancing::balance;
use crate::kernels::packed::PackedFilter;
use crate::kernels::polyphase::PhaseFilters;
use crate::kernels::winograd::{FilterTransform, Method};

/// `[group][o][c][tap]` to `[group][panel][tap][c][panel_width]`, and what crossed products need behind it. Channels beyond
/// the outputs are left as they are.
pub fn pack_filter(weight: &[f32], taps: usize, packed: &PackedFilter, target: &mut [f32]) {
    let PackedFilter { outputs, reduction, panel_width, .. } = *packed;
    let channels = reduction / taps;
    let groups = weight.chunks_exact(outputs * reduction);
    let targets = target.chunks_exact_mut(packed.panels() * reduction * panel_width);
    for (weight, target) in groups.zip(targets) {
        let panels = target.chunks_exact_mut(reduction * panel_width);
        for (filters, panel) in weight.chunks(panel_width * reduction).zip(panels) {
            for (tap, rows) in panel.chunks_exact_mut(channels * panel_width).enumerate() {
                for channel in 0..channels {
                    let row = packed.row_of(channel, channels) * panel_width;
                    let column = filters[channel * taps + tap..].iter().step_by(reduction);
                    for (target, &value) in rows[row..][..panel_width].iter_mut().zip(column) {
                        *target = value;
                    }
                }
            }
        }
    }
    balance(packed, channels, 1, target);
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
    let transform = FilterTransform::<TAPS>::new(method);
    let filters: &[[[f32; TAPS]; TAPS]] = weight.as_chunks().0.as_chunks().0;
    let groups = filters.chunks_exact(packed.outputs * packed.reduction);
    let products = method.products();
    let size = packed.panel_elements() / packed.groups * products;
    for (filters, target) in groups.zip(target.chunks_exact_mut(size)) {
        pack_winograd_group(filters, &transform, products, packed, target);
    }
    balance(packed, packed.reduction, 1, target);
}

fn pack_winograd_group<const TAPS: usize>(
    filters: &[[[f32; TAPS]; TAPS]],
    transform: &FilterTransform<TAPS>,
    products: usize,
    packed: &PackedFilter,
    target: &mut [f32],
) {
    let PackedFilter { reduction: channels, panel_width, .. } = *packed;
    let group = packed.panels() * panel_width * channels;
    // The filters of a panel for one channel, by product.
    let mut rows = vec![0.0; products * panel_width];
    for (panel, filters) in filters.chunks(panel_width * channels).enumerate() {
        for channel in 0..channels {
            for (lane, filter) in filters[channel..].iter().step_by(channels).enumerate() {
                let transformed = transform.apply(filter);
                for (product, &value) in transformed[..products].iter().enumerate() {
                    rows[product * panel_width + lane] = value;
                }
            }
            let row = packed.row_of(channel, channels);
            let first = (panel * channels + row) * panel_width;
            for (product, row) in rows.chunks_exact(panel_width).enumerate() {
                target[product * group + first..][..panel_width].copy_from_slice(row);
            }
        }
        rows.fill(0.0);
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
        for (group, weight) in weight.chunks_exact(outputs * filter).enumerate() {
            for (panel, weight) in weight.chunks(panel_width * filter).enumerate() {
                for step in 0..run {
                    let channels = run / width;
                    let (column, channel) = (step / channels, step % channels);
                    for (product, factors) in transform.iter().enumerate() {
                        let at = filters.at(product);
                        let row = packed.row_of(channel, channels) + column * channels + phase * run;
                        let row = (group * packed.panels() + panel) * at.reduction + row;
                        let first = product * packed.elements() + row * panel_width;
                        let row = target[first..][..panel_width].iter_mut();
                        for (target, filter) in row.zip(weight.chunks_exact(filter)) {
                            let tap = |tap: usize| {
                                let row = phase + tap * filtering.stride;
                                f64::from(filter[(channel * filtering.taps + row) * width + column])
                            };
                            let sum: f64 =
                                factors.iter().enumerate().map(|(i, factor)| factor * tap(i)).sum();
                            *target = sum as f32;
                        }
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
pub fn pack_halves(values: &[f32], target: &mut [f32]) {
    for (target, pair) in target.iter_mut().zip(values.chunks_exact(2)) {
        let [low, high] = [pair[0], pair[1]].map(|value| u32::from(f16::from_f32(value).to_bits()));
        *target = f32::from_bits(high << 16 | low);
    }
}
