//! Which convolutions are computed by Winograd's method, and their kernels.

use super::convolutions::{Filter, implicit_product};
use super::operators::{ELEMENT, bindings};
use super::tiles::{self, WinogradPlan};
use super::tuning::Way;
use super::{LowerOptions, Lowering, PackSource, Value, Work};
use crate::graph::{Graph, NodeId};
use crate::kernels::winograd::{self, Method, WinogradKernel};
use crate::kernels::{FusedEpilogue, KernelSpec};
use crate::ops::{Conv, Op};

/// The plan for a node, if it is a convolution for which Winograd's method is defined and pays.
pub fn plan(graph: &Graph, id: NodeId, options: LowerOptions) -> Option<WinogradPlan> {
    let Op::Conv(conv) = graph.node(id).op else { return None };
    let operands = graph.operands(id);
    let [_, _, height, width] = graph.shape(operands[1]).dims()[..] else { return None };
    let kernel = [height, width];
    let Conv { window, groups } = conv;
    if window.stride != [1, 1] || window.dilation != [1, 1] || Method::all(kernel).is_empty() {
        return None;
    }
    match options.tuning.way(graph, id, kernel, conv, options) {
        Some(Way::Direct) => return None,
        Some(Way::Winograd(plan)) => return Some(plan),
        Some(Way::Polyphase(_)) | None => {}
    }
    let (x, y) = (graph.shape(operands[0]).dims(), graph.shape(id).dims());
    let product = implicit_product([y[2], y[3]], y[1] / groups, x[1] / groups, kernel, &window);
    tiles::choose_winograd(&product, kernel, options)
}

/// The border that a Winograd convolution wants around what it reads.
pub fn border(graph: &Graph, id: NodeId, method: Method, padding: [usize; 4]) -> [usize; 4] {
    let x = graph.shape(graph.operands(id)[0]).dims();
    let y = graph.shape(id).dims();
    winograd::border(method, padding, [x[2], x[3]], [y[2], y[3]])
}

/// Lowers a convolution as planned.
#[expect(clippy::too_many_arguments, reason = "the parts of one kernel")]
pub fn lower(
    l: &mut Lowering,
    id: NodeId,
    plan: WinogradPlan,
    filter: &Filter,
    conv: Conv,
    x: Value,
    y: Value,
    epilogue: FusedEpilogue,
    extra: &[Value],
) {
    let Conv { window, groups } = conv;
    let [channels, outputs] = [&x, &y].map(|value| value.view.dims[1] / groups);
    let kernel = WinogradKernel {
        x: x.view.clone(),
        y: y.view.clone(),
        window,
        groups,
        epilogue,
        method: plan.method,
        filters: plan.filters,
        arithmetic: plan.arithmetic,
        tile: plan.tile,
        order: tiles::choose_order(&implicit_product([1, plan.rows], outputs, channels, [1, 1], &window)),
        rows: plan.rows,
        channels: plan.channels,
    };
    let packed = kernel.packed_filter(l.lanes());
    let weights = l.pack(PackSource::winograd(filter.weight, &kernel, l.lanes()));
    let bias = l.pack_bias(filter.bias, y.view.dims[1]);
    let work = Work {
        multiply_adds: kernel.multiply_adds(),
        activation_bytes: l.bytes(&[&x, &y]) + l.bytes(&extra.iter().collect::<Vec<_>>()),
        weight_bytes: (packed.elements() + y.view.dims[1]) as u64 * ELEMENT,
    };
    let bindings = [x.binding, weights, bias]
        .into_iter()
        .chain(bindings(extra))
        .chain([y.binding, super::Binding::Scratch])
        .collect();
    l.step(id, KernelSpec::Winograd(kernel), bindings, work);
}
