//! Filters that are computed when the model runs: packed by kernels, into the layout in which other weights are
//! packed once.

use super::convolutions::Filter;
use super::{Binding, Lowering, Value};
use crate::graph::NodeId;
use crate::kernels::View;
use crate::kernels::packed::PackedFilter;

/// Where elements lie before and after packing: views of equal dims.
struct Move {
    dims: Vec<usize>,
    from: Vec<usize>,
    from_offset: usize,
    to: Vec<usize>,
    to_offset: usize,
}

/// Copies the elements that `moves` names from a value into a buffer of `elements`.
fn pack(l: &mut Lowering, layer: NodeId, source: &Value, elements: usize, moves: Vec<Move>) -> Binding {
    let binding = l.buffer(elements, None);
    for Move { dims, from, from_offset, to, to_offset } in moves {
        let from = View { dims: dims.clone(), strides: from, offset: source.view.offset + from_offset };
        let to = View { dims, strides: to, offset: to_offset };
        l.copy(layer, &Value { view: from, binding: source.binding }, &Value { view: to, binding });
    }
    binding
}

/// The panels that outputs are packed in, by the number of panels and the outputs in each: the last may be narrower.
fn panels(packed: PackedFilter) -> impl Iterator<Item = (usize, usize, usize)> {
    let PackedFilter { outputs, panel_width, .. } = packed;
    let whole = outputs / panel_width;
    [(0, whole, panel_width), (whole, 1, outputs % panel_width)]
        .into_iter()
        .filter(|&(_, count, width)| count * width > 0)
}

/// `[o, c, kh, kw]`, or `[o, c · kh · kw]`, as panels.
pub fn filter(l: &mut Lowering, layer: NodeId, filter: &Filter, packed: PackedFilter) -> Binding {
    let value = l.value(filter.weight);
    let PackedFilter { groups, outputs, reduction, panel_width, .. } = packed;
    let [kh, kw] = filter.kernel;
    let channels = reduction / (kh * kw);
    let strides = match value.view.strides[..] {
        [output, element] => [output, element * kh * kw, element * kw, element],
        [output, channel, row, column] => [output, channel, row, column],
        _ => unreachable!("filters have two or four axes"),
    };
    let panel = reduction * panel_width;
    let moves = panels(packed).map(|(first, count, width)| Move {
        dims: vec![groups, count, width, channels, kh, kw],
        from: vec![
            outputs * strides[0],
            panel_width * strides[0],
            strides[0],
            strides[1],
            strides[2],
            strides[3],
        ],
        from_offset: first * panel_width * strides[0],
        to: vec![
            packed.panels() * panel,
            panel,
            1,
            panel_width,
            kw * channels * panel_width,
            channels * panel_width,
        ],
        to_offset: first * panel,
    });
    let moves = moves.collect();
    pack(l, layer, &value, packed.elements(), moves)
}

/// `[o]` as panels.
pub fn bias(l: &mut Lowering, layer: NodeId, bias: NodeId, packed: PackedFilter) -> Binding {
    let value = l.value(bias);
    let PackedFilter { groups, outputs, panel_width, .. } = packed;
    let stride = value.view.strides[0];
    let moves = panels(packed).map(|(first, count, width)| Move {
        dims: vec![groups, count, width],
        from: vec![outputs * stride, panel_width * stride, stride],
        from_offset: first * panel_width * stride,
        to: vec![packed.panels() * panel_width, panel_width, 1],
        to_offset: first * panel_width,
    });
    let moves = moves.collect();
    pack(l, layer, &value, packed.bias_elements(), moves)
}

/// `[c, 1, kh, kw]` as `[kh][kw][c]`.
pub fn depthwise(l: &mut Lowering, layer: NodeId, weight: NodeId) -> Binding {
    let value = l.value(weight);
    let [channels, _, kh, kw] = value.view.dims[..] else { unreachable!("inferred") };
    let [channel, _, row, column] = value.view.strides[..] else { unreachable!("inferred") };
    let moves = vec![Move {
        dims: vec![channels, kh, kw],
        from: vec![channel, row, column],
        from_offset: 0,
        to: vec![1, kw * channels, channels],
        to_offset: 0,
    }];
    pack(l, layer, &value, channels * kh * kw, moves)
}

/// `[o]` as it is.
pub fn plain(l: &mut Lowering, layer: NodeId, bias: NodeId) -> Binding {
    let value = l.value(bias);
    let outputs = value.view.dims[0];
    let from = vec![value.view.strides[0]];
    let moves = vec![Move { dims: vec![outputs], from, from_offset: 0, to: vec![1], to_offset: 0 }];
    pack(l, layer, &value, outputs, moves)
}
