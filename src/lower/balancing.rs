//! Packed filters of crossed products, brought to scale.
//!
//! A crossed product rounds as a straight one does where input and weights are of one magnitude, channel by channel. So
//! the largest weight of each input channel becomes about one, by a power of two that kernels multiply the channel's
//! elements with: what is left of these is what they contribute, whatever a channel's own magnitude. Then the largest
//! weight of each output channel becomes about one, by a power of two that its sums are multiplied with in the end.

use crate::kernels::crossed::Crossing;
use crate::kernels::packed::PackedFilter;

/// Brings panels to scale and fills what [`PackedFilter`] keeps behind them, if it keeps anything. `run` channels of a tap
/// follow one another in the reduction; each `shared` taps read the same pixels.
pub fn balance(packed: &PackedFilter, run: usize, shared: usize, target: &mut [f32]) {
    let PackedFilter { reduction, panel_width: width, .. } = *packed;
    let Some(crossing) = packed.arithmetic.crossing() else { return };
    let (panels, behind) = target.split_at_mut(packed.panel_elements());
    let (terms, balances) = behind.split_at_mut(2 * packed.bias_elements());
    let (sums, backs) = terms.split_at_mut(packed.bias_elements());
    let group_width = packed.panels() * width;
    let groups = panels.chunks_exact_mut(group_width * reduction).zip(balances.chunks_exact_mut(reduction));
    let terms = sums.chunks_exact_mut(group_width).zip(backs.chunks_exact_mut(group_width));
    for ((panels, balances), (sums, backs)) in groups.zip(terms) {
        let scales = balance_rows(panels, packed, run, shared, balances);
        let terms = sums.chunks_exact_mut(width).zip(backs.chunks_exact_mut(width));
        for (panel, (sums, backs)) in panels.chunks_exact_mut(reduction * width).zip(terms) {
            balance_columns(panel, &scales, backs);
            sum_pairs(panel, crossing, run, sums);
        }
    }
}

/// The scale of each row, that is, of each tap's input channels, of all panels of a group; `balances` gets what the
/// channels' elements are to be multiplied with, in the order of channels.
fn balance_rows(
    panels: &[f32],
    packed: &PackedFilter,
    run: usize,
    shared: usize,
    balances: &mut [f32],
) -> Vec<f32> {
    let PackedFilter { reduction, panel_width: width, arithmetic, .. } = *packed;
    let mut greatest = vec![0; reduction];
    for panel in panels.chunks_exact(reduction * width) {
        for (greatest, row) in greatest.iter_mut().zip(panel.chunks_exact(width)) {
            *greatest = row.iter().fold(*greatest, |greatest, weight| greatest.max(size(*weight)));
        }
    }
    let mut scales = vec![0.0; reduction];
    for block in (0..reduction).step_by(shared * run) {
        for channel in 0..run {
            let row = arithmetic.row_of(channel, run);
            let taps = || (block..).step_by(run).take(shared);
            let greatest = taps().map(|tap| greatest[tap + row]).max().unwrap_or(0);
            for tap in taps() {
                (scales[tap + row], balances[tap + channel]) = scale(greatest);
            }
        }
    }
    scales
}

/// Multiplies rows with their scales, then columns, that is, output channels, with such that `backs` undo.
fn balance_columns(panel: &mut [f32], scales: &[f32], backs: &mut [f32]) {
    let width = backs.len();
    let mut greatest = vec![0; width];
    for (row, scale) in panel.chunks_exact_mut(width).zip(scales) {
        for (weight, greatest) in row.iter_mut().zip(&mut greatest) {
            *weight *= scale;
            *greatest = (*greatest).max(size(*weight));
        }
    }
    let mut scales = vec![0.0; width];
    for ((scale, back), greatest) in scales.iter_mut().zip(backs).zip(greatest) {
        (*scale, *back) = self::scale(greatest);
    }
    for row in panel.chunks_exact_mut(width) {
        row.iter_mut().zip(&scales).for_each(|(weight, scale)| *weight *= scale);
    }
}

/// For each output channel what undoes the products of weights that are taken crosswise.
fn sum_pairs(panel: &[f32], crossing: Crossing, run: usize, target: &mut [f32]) {
    let width = target.len();
    let mut sums = vec![0.0f64; width];
    for run in panel.chunks_exact(run * width) {
        for rows in run.chunks_exact(crossing.parts() * width) {
            for ((sum, &a), &b) in sums.iter_mut().zip(rows).zip(&rows[width..]) {
                *sum += f64::from(a) * f64::from(b);
            }
        }
    }
    target.iter_mut().zip(sums).for_each(|(target, sum)| *target = -sum as f32);
}

/// The bits of an absolute value, which are ordered as the values are; signed, since vectors of any width compare those.
fn size(weight: f32) -> i32 {
    weight.abs().to_bits().cast_signed()
}

/// The power of two that brings a value of this [`size`] into `[1, 2)`, or as near as powers with normal inverses do, and
/// its inverse: zero where the value is as good as zero.
fn scale(size: i32) -> (f32, f32) {
    match size.cast_unsigned() >> MANTISSA_BITS {
        0 => (0.0, 0.0),
        NO_NUMBER => (1.0, 1.0),
        exponent => {
            let back = f32::from_bits(exponent.min(MOST_EXPONENT) << MANTISSA_BITS);
            (1.0 / back, back)
        }
    }
}

const MANTISSA_BITS: u32 = 23;

/// The exponent's bits of `2^126`.
const MOST_EXPONENT: u32 = 253;

/// The exponent's bits of infinities and NaN.
const NO_NUMBER: u32 = 255;
