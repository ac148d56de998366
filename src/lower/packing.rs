//! Filters into the panels that kernels read. Panels are written row by row, since they are larger than what is read.

use half::f16;

use crate::kernels::packed::PackedFilter;
use crate::kernels::polyphase::PhaseFilters;
use crate::kernels::winograd::{FilterTransform, Method};

/// `[group][o][c][tap]` to `[group][panel][tap][c][panel_width]`, and what crossed products need behind it. Channels beyond
/// the outputs are left as they are.
pub fn pack_filter(weight: &[f32], taps: usize, packed: &PackedFilter, target: &mut [f32]) {
    let PackedFilter { outputs, reduction, panel_width, .. } = *packed;
    let channels = reduction / taps;
    let (target, terms) = target.split_at_mut(packed.groups * packed.panels() * reduction * panel_width);
    let mut terms = TermsWriter::new(packed, channels, terms);
    let groups = weight.chunks_exact(outputs * reduction);
    let targets = target.chunks_exact_mut(packed.panels() * reduction * panel_width);
    for (group, (weight, target)) in groups.zip(targets).enumerate() {
        let panels = target.chunks_exact_mut(reduction * panel_width);
        for (number, (filters, panel)) in weight.chunks(panel_width * reduction).zip(panels).enumerate() {
            for (tap, rows) in panel.chunks_exact_mut(channels * panel_width).enumerate() {
                for channel in 0..channels {
                    let row = packed.row_of(channel, channels) * panel_width;
                    let column = filters[channel * taps + tap..].iter().step_by(reduction);
                    for (target, &value) in rows[row..][..panel_width].iter_mut().zip(column) {
                        *target = value;
                    }
                }
            }
            terms.take(group * packed.panels() + number, panel);
        }
    }
}

/// What crossed products keep behind panels, or nothing.
struct TermsWriter<'a> {
    width: usize,
    /// Channels of which pairs are taken crosswise.
    run: usize,
    sums: &'a mut [f32],
    backs: &'a mut [f32],
}

impl<'a> TermsWriter<'a> {
    fn new(packed: &PackedFilter, run: usize, target: &'a mut [f32]) -> Self {
        let (sums, backs) = target.split_at_mut(target.len() / 2);
        TermsWriter { width: packed.panel_width, run, sums, backs }
    }

    /// Brings a panel to scale and notes its output channels' terms.
    fn take(&mut self, number: usize, panel: &mut [f32]) {
        if self.sums.is_empty() {
            return;
        }
        let width = self.width;
        let place = number * width..(number + 1) * width;
        let mut scales = vec![0.0f32; width];
        for row in panel.chunks_exact(width) {
            scales.iter_mut().zip(row).for_each(|(greatest, weight)| *greatest = greatest.max(weight.abs()));
        }
        for (scale, back) in scales.iter_mut().zip(&mut self.backs[place.clone()]) {
            (*scale, *back) = self::scale(*scale);
        }
        for row in panel.chunks_exact_mut(width) {
            row.iter_mut().zip(&scales).for_each(|(weight, scale)| *weight *= scale);
        }
        let mut sums = vec![0.0f64; width];
        for run in panel.chunks_exact(self.run * width) {
            for rows in run.chunks_exact(4 * width) {
                for ((sum, &a), &b) in sums.iter_mut().zip(rows).zip(&rows[width..]) {
                    *sum += f64::from(a) * f64::from(b);
                }
            }
        }
        self.sums[place].iter_mut().zip(sums).for_each(|(target, sum)| *target = sum as f32);
    }
}

/// The power of two that brings the largest weight of an output channel into `[1, 2)`, and its inverse: zero where all
/// weights are as good as zero.
fn scale(greatest: f32) -> (f32, f32) {
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
    let (target, terms) = target.split_at_mut(packed.panel_elements());
    let mut terms = TermsWriter::new(packed, packed.reduction, terms);
    let size = packed.panel_elements() / packed.groups * products;
    for (number, (filters, target)) in groups.zip(target.chunks_exact_mut(size)).enumerate() {
        pack_winograd_group(filters, &transform, products, packed, target, (number * products, &mut terms));
    }
}

fn pack_winograd_group<const TAPS: usize>(
    filters: &[[[f32; TAPS]; TAPS]],
    transform: &FilterTransform<TAPS>,
    products: usize,
    packed: &PackedFilter,
    target: &mut [f32],
    (first, terms): (usize, &mut TermsWriter),
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
        for product in 0..products {
            let start = product * group + panel * channels * panel_width;
            let panel_number = (first + product) * packed.panels() + panel;
            terms.take(panel_number, &mut target[start..][..channels * panel_width]);
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
        let (panels, terms) = target.split_at_mut(packed.panel_elements());
        let mut terms = TermsWriter::new(&packed, run / width, terms);
        for (number, panel) in panels.chunks_exact_mut(packed.reduction * panel_width).enumerate() {
            terms.take(number, panel);
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
