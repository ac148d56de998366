//! Filters into the panels that kernels read. Panels are written row by row, since they are larger than what is read.

use half::f16;

use crate::kernels::crossed::quarter;
use crate::kernels::polyphase::PhaseFilters;
use crate::kernels::product::PackedFilter;
use crate::kernels::winograd::{FilterTransform, Method};

/// `[group][o][c][tap]` to `[group][panel][tap][c][panel_width]`. Channels beyond the outputs are left as they are.
pub fn pack_filter(weight: &[f32], taps: usize, packed: &PackedFilter, target: &mut [f32]) {
    let PackedFilter { outputs, reduction, panel_width, .. } = *packed;
    let channels = reduction / taps;
    let groups = weight.chunks_exact(outputs * reduction);
    let targets = target.chunks_exact_mut(packed.panels() * reduction * panel_width);
    for (weight, target) in groups.zip(targets) {
        let panels = target.chunks_exact_mut(reduction * panel_width);
        for (filters, panel) in weight.chunks(panel_width * reduction).zip(panels) {
            for (at, row) in panel.chunks_exact_mut(panel_width).enumerate() {
                let (tap, channel) = (at / channels, at % channels);
                let column = filters[channel * taps + tap..].iter().step_by(reduction);
                for (target, &value) in row.iter_mut().zip(column) {
                    *target = value;
                }
            }
        }
    }
}

/// `[o][c]` to `[panel][c][panel_width]`, each output channel at the scale that [`scale`] says.
pub fn pack_crossed(weight: &[f32], packed: &PackedFilter, target: &mut [f32]) {
    let PackedFilter { reduction, panel_width, .. } = *packed;
    pack_filter(weight, 1, packed, target);
    let panels = target.chunks_exact_mut(reduction * panel_width);
    for (filters, panel) in weight.chunks(panel_width * reduction).zip(panels) {
        let mut scales = vec![1.0; panel_width];
        for (scale, filter) in scales.iter_mut().zip(filters.chunks_exact(reduction)) {
            *scale = self::scale(filter).0;
        }
        for row in panel.chunks_exact_mut(panel_width) {
            row.iter_mut().zip(&scales).for_each(|(weight, scale)| *weight *= scale);
        }
    }
}

/// For each output channel of `[o][c]` the sum of products of weights that are taken crosswise, at [`scale`], then what
/// undoes the scale: two arrays `[panel][panel_width]`.
pub fn pack_crossed_terms(weight: &[f32], packed: &PackedFilter, target: &mut [f32]) {
    let (sums, backs) = target.split_at_mut(packed.bias_elements());
    let quarter = quarter(packed.reduction);
    let filters = weight.chunks_exact(packed.reduction);
    for (filter, (sum, back)) in filters.zip(sums.iter_mut().zip(backs)) {
        let (scale, undone) = scale(filter);
        let pairs = filter[..quarter].iter().zip(&filter[quarter..]);
        let products = pairs.map(|(&a, &b)| f64::from(a * scale) * f64::from(b * scale));
        (*sum, *back) = (products.sum::<f64>() as f32, undone);
    }
}

/// The power of two that brings the largest weight of a filter into `[1, 2)`, and its inverse: zero where all weights
/// are as good as zero.
fn scale(filter: &[f32]) -> (f32, f32) {
    let greatest = filter.iter().fold(0.0f32, |greatest, weight| greatest.max(weight.abs()));
    if greatest < f32::MIN_POSITIVE {
        return (1.0, 0.0);
    }
    // The exponent alone, within what has a normal inverse.
    let exponent = (greatest.to_bits() >> MANTISSA_BITS).min(MOST_EXPONENT);
    let back = f32::from_bits(exponent << MANTISSA_BITS);
    (1.0 / back, back)
}

const MANTISSA_BITS: u32 = 23;

/// The exponent's bits of `2^126`.
const MOST_EXPONENT: u32 = 253;

/// `[group][o][c][kh][kw]` to `[group][product][panel][c][panel_width]`, each filter `g` as `G g Gᵀ`.
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
    let size = packed.elements() / packed.groups * method.products();
    for (filters, target) in groups.zip(target.chunks_exact_mut(size)) {
        pack_winograd_group(filters, &transform, method.products(), packed, target);
    }
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
            let first = (panel * channels + channel) * panel_width;
            for (product, row) in rows.chunks_exact(panel_width).enumerate() {
                target[product * group + first..][..panel_width].copy_from_slice(row);
            }
        }
        rows.fill(0.0);
    }
}

/// `[group][o][c][kh][kw]` to `[product][group][panel][phase][kw][c][panel_width]`, the taps `g` of each phase as `G g`.
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
                    let (column, channel) = (step / (run / width), step % (run / width));
                    for (product, factors) in transform.iter().enumerate() {
                        let at = filters.at(product);
                        let row = (group * packed.panels() + panel) * at.reduction + phase * run + step;
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
}

/// Two `f16` values to an element, the first in its lower half.
pub fn pack_halves(values: &[f32], target: &mut [f32]) {
    for (target, pair) in target.iter_mut().zip(values.chunks_exact(2)) {
        let [low, high] = [pair[0], pair[1]].map(|value| u32::from(f16::from_f32(value).to_bits()));
        *target = f32::from_bits(high << 16 | low);
    }
}
