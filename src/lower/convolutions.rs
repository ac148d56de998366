//! What convolutions, fused pairs and dense layers become: matrix products and depthwise kernels, with tiles and blocks.

use super::crossed;
use super::operators::{ELEMENT, bindings};
use super::tiles::{self, Product};
use super::tuning;
use super::{Binding, Lowering, PackSource, Value, Work, run_time_weights};
use crate::graph::NodeId;
use crate::kernels::chain::ChainKernel;
use crate::kernels::conv::ConvKernel;
use crate::kernels::crossed::Arithmetic;
use crate::kernels::depthwise::DepthwiseKernel;
use crate::kernels::packed::{PackedFilter, WeightType};
use crate::kernels::{FusedEpilogue, FusedStep, KernelSpec, View};
use crate::ops::{Conv, ConvChain, Op, Window};

pub fn convolution(l: &mut Lowering, id: NodeId, conv: Conv, own: &[NodeId], extra: &[NodeId]) {
    let [o, i, kh, kw] = l.graph.shape(own[1]).dims()[..] else { unreachable!("inferred") };
    let x = l.value(own[0]);
    let (epilogue, extra) = l.epilogue(&l.graph.node(id).epilogue, extra);
    let y = l.allocate(id);
    if i == 1 && conv.groups == o && x.view.strides[1] == 1 {
        return depthwise(l, id, conv.window, [kh, kw], own, x, y, epilogue, extra);
    }
    let source = Filter { weight: own[1], bias: own.get(2).copied(), kernel: [kh, kw] };
    if let Some(plan) = l.layout.winograd(id) {
        return super::winograd::lower(l, id, plan, &source, conv, x, y, epilogue, &extra);
    }
    if let Some(plan) = l.layout.polyphase(id) {
        return super::polyphase::lower(l, id, plan, &source, conv, x, y, epilogue, &extra);
    }
    product(l, id, source, conv.window, conv.groups, x, y, epilogue, extra);
}

/// Where the weights of a convolution come from.
pub(super) struct Filter {
    pub weight: NodeId,
    pub bias: Option<NodeId>,
    pub kernel: [usize; 2],
}

/// The matrix product of one group: `outputs` channels of `[rows, columns]` pixels from `channels` each.
pub(super) fn implicit_product(
    [rows, columns]: [usize; 2],
    outputs: usize,
    channels: usize,
    kernel: [usize; 2],
    window: &Window,
) -> Product {
    Product {
        rows,
        columns,
        outputs,
        reduction: kernel[0] * kernel[1] * channels,
        input_per_pixel: channels * window.stride[0] * window.stride[1],
        arithmetic: Arithmetic::Straight,
    }
}

/// A convolution or dense layer as an implicit matrix product.
#[expect(clippy::too_many_arguments, reason = "the parts of one kernel")]
fn product(
    l: &mut Lowering,
    id: NodeId,
    filter: Filter,
    window: Window,
    groups: usize,
    mut x: Value,
    mut y: Value,
    mut epilogue: FusedEpilogue,
    extra: Vec<Value>,
) {
    let activation_bytes = l.bytes(&[&x, &y]) + l.bytes(&extra.iter().collect::<Vec<_>>());
    if filter.kernel == [1, 1] && window == Window::default() && groups == 1 {
        join_pixels(&mut x.view, &mut y.view, &mut epilogue);
    }
    let [images, _, rows, columns] = y.view.dims[..] else { unreachable!("rank 4") };
    let outputs = y.view.dims[1] / groups;
    let shape = implicit_product([rows, columns], outputs, x.view.dims[1] / groups, filter.kernel, &window);
    let tile = tiles::choose_tile(&shape, l.target);
    let copies = if groups > 1 { groups } else { images };
    let blocking = tiles::choose_blocking(&shape, tile, l.target, copies, l.threads);
    let mut kernel = ConvKernel {
        x: x.view.clone(),
        y: y.view.clone(),
        kernel: filter.kernel,
        window,
        groups,
        weight_type: match tiles::weights_bind(&shape) && l.layout.is_constant(filter.weight) {
            true => l.weight_type,
            false => WeightType::F32,
        },
        epilogue,
        tile,
        arithmetic: Arithmetic::Straight,
        blocking,
        order: tiles::choose_order(&shape),
    };
    let may_cross = kernel.may_cross() && l.layout.is_constant(filter.weight) && !tiles::weights_bind(&shape);
    if let Some(crossing) = l.crossing.filter(|_| may_cross) {
        let arithmetic = crossed::choose_arithmetic(l, crossing, &shape, || tuning::conv_problem(&kernel));
        if arithmetic.is_crossed() {
            let shape = Product { arithmetic, ..shape };
            let tile = tiles::choose_tile(&shape, l.target);
            let blocking = crossed::choose_blocking(&shape, tile, l.target, copies, l.threads);
            kernel = ConvKernel { tile, arithmetic, blocking, ..kernel };
        }
    }
    let kernel = l.tuning.conv(kernel, l.target, l.threads);
    let packed = kernel.packed_filter(l.lanes());
    let (weights, bias) = pack_filter(l, id, &filter, packed);
    let work = Work {
        multiply_adds: kernel.multiply_adds(),
        activation_bytes,
        weight_bytes: (packed.elements() + packed.bias_elements()) as u64 * ELEMENT,
    };
    // A grid point's pixels.
    let scratch = kernel.arithmetic.is_crossed().then_some(Binding::Scratch);
    let bindings = [x.binding, weights, bias]
        .into_iter()
        .chain(bindings(&extra))
        .chain([y.binding])
        .chain(scratch)
        .collect();
    l.step(id, KernelSpec::Conv(kernel), bindings, work);
}

fn pack_filter(l: &mut Lowering, layer: NodeId, filter: &Filter, packed: PackedFilter) -> (Binding, Binding) {
    let taps = filter.kernel[0] * filter.kernel[1];
    let weights = match l.layout.is_constant(filter.weight) {
        true => l.pack(PackSource::Filter { weight: filter.weight, taps, packed }),
        false => run_time_weights::filter(l, layer, filter, packed),
    };
    let bias = match filter.bias {
        Some(bias) if !l.layout.is_constant(bias) => run_time_weights::bias(l, layer, bias, packed),
        bias => l.pack(PackSource::Bias { bias, packed }),
    };
    (weights, bias)
}

/// Makes one row of all pixels of all images, where each of the views has them at even distances: a 1×1
/// convolution does not care where rows end.
fn join_pixels(x: &mut View, y: &mut View, epilogue: &mut FusedEpilogue) {
    let operands = epilogue.0.iter().filter_map(|step| match step {
        FusedStep::Add(view) | FusedStep::Mul(view) => Some(view),
        FusedStep::Activation(_) | FusedStep::ScaleShift { .. } => None,
    });
    let joined: Option<Vec<View>> = [&*x, &*y].into_iter().chain(operands).map(View::joined_pixels).collect();
    let Some(joined) = joined else { return };
    let mut joined = joined.into_iter();
    let mut next = || joined.next().expect("one for each view");
    *x = next();
    *y = next();
    for step in &mut epilogue.0 {
        if let FusedStep::Add(view) | FusedStep::Mul(view) = step {
            *view = next();
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one kernel")]
fn depthwise(
    l: &mut Lowering,
    id: NodeId,
    window: Window,
    kernel: [usize; 2],
    own: &[NodeId],
    x: Value,
    y: Value,
    epilogue: FusedEpilogue,
    extra: Vec<Value>,
) {
    let [_, channels, height, width] = y.view.dims[..] else { unreachable!("rank 4") };
    let kernel = DepthwiseKernel {
        x: x.view.clone(),
        y: y.view.clone(),
        kernel,
        window,
        epilogue,
        columns: tiles::depthwise_columns(width, kernel[1], l.target),
        rows: tiles::rows_of(tiles::STREAMED_ELEMENTS, 2 * channels * width, height),
    };
    let kernel = l.tuning.depthwise(kernel, l.target, l.threads);
    let (weights, bias) = pack_depthwise(l, id, own[1], own.get(2).copied());
    let work = Work {
        multiply_adds: kernel.multiply_adds(),
        activation_bytes: l.bytes(&[&x, &y]) + l.bytes(&extra.iter().collect::<Vec<_>>()),
        weight_bytes: (channels * (kernel.kernel[0] * kernel.kernel[1] + 1)) as u64 * ELEMENT,
    };
    let bindings =
        [x.binding, weights, bias].into_iter().chain(bindings(&extra)).chain([y.binding]).collect();
    l.step(id, KernelSpec::Depthwise(kernel), bindings, work);
}

fn pack_depthwise(
    l: &mut Lowering,
    layer: NodeId,
    weight: NodeId,
    bias: Option<NodeId>,
) -> (Binding, Binding) {
    let channels = l.graph.shape(weight).dims()[0];
    let weights = match l.layout.is_constant(weight) {
        true => l.pack(PackSource::Depthwise { weight }),
        false => run_time_weights::depthwise(l, layer, weight),
    };
    let bias = match bias {
        Some(bias) if !l.layout.is_constant(bias) => run_time_weights::plain(l, layer, bias),
        bias => l.pack_bias(bias, channels),
    };
    (weights, bias)
}

pub fn conv_chain(l: &mut Lowering, id: NodeId, chain: &ConvChain, own: &[NodeId]) {
    let [first, second] = &chain.stages[..] else { unreachable!("chains have two stages") };
    let mut operands = own[1..].iter().copied();
    let mut stage = |stage: &crate::ops::ConvStage| {
        let weight = operands.next().expect("inferred");
        let bias = stage.has_bias.then(|| operands.next().expect("inferred"));
        let extra: Vec<NodeId> = operands.by_ref().take(stage.epilogue.operands()).collect();
        (weight, bias, extra)
    };
    let (depthwise_weight, depthwise_bias, depthwise_extra) = stage(first);
    let (pointwise_weight, pointwise_bias, pointwise_extra) = stage(second);
    let x = l.value(own[0]);
    let (depthwise_epilogue, depthwise_extra) = l.epilogue(&first.epilogue, &depthwise_extra);
    let (pointwise_epilogue, pointwise_extra) = l.epilogue(&second.epilogue, &pointwise_extra);
    let y = l.allocate(id);
    let [_, _, kh, kw] = l.graph.shape(depthwise_weight).dims()[..] else { unreachable!("inferred") };
    let [images, outputs, height, width] = y.view.dims[..] else { unreachable!("rank 4") };
    let channels = x.view.dims[1];
    let whole = implicit_product([height, width], outputs, channels, [1, 1], &Window::default());
    let mut kernel = ChainKernel {
        x: x.view.clone(),
        y: y.view.clone(),
        kernel: [kh, kw],
        window: first.conv.window,
        depthwise_epilogue,
        pointwise_epilogue,
        columns: tiles::depthwise_columns(width, kw, l.target),
        tile: tiles::choose_tile(&whole, l.target),
        arithmetic: Arithmetic::Straight,
        order: tiles::choose_order(&whole),
        rows: height,
        channels: outputs,
    };
    if let Some(crossing) = l.crossing.filter(|_| l.layout.is_constant(pointwise_weight)) {
        kernel.arithmetic =
            crossed::choose_arithmetic(l, crossing, &whole, || tuning::chain_problem(&kernel));
    }
    let whole = Product { arithmetic: kernel.arithmetic, ..whole };
    let rows = tiles::chain_rows(&whole, width, height);
    let shape = Product { rows, ..whole };
    let tile = tiles::choose_tile(if tiles::exceeds_cache(&whole) { &whole } else { &shape }, l.target);
    let (rows, channels_of_point, tile) =
        tiles::chain_blocks(&whole, tile, rows, images, l.target, l.threads);
    let kernel = ChainKernel { rows, channels: channels_of_point, tile, ..kernel };
    let filter = Filter { weight: pointwise_weight, bias: pointwise_bias, kernel: [1, 1] };
    let Some(kernel) = l.tuning.chain(kernel.clone(), l.target, l.threads) else {
        let own: Vec<NodeId> = [own[0], depthwise_weight].into_iter().chain(depthwise_bias).collect();
        return separate(l, id, kernel, &own, filter, [x, y], [depthwise_extra, pointwise_extra]);
    };
    let packed = kernel.packed_filter(l.lanes());
    let depthwise = pack_depthwise(l, id, depthwise_weight, depthwise_bias);
    let pointwise = pack_filter(l, id, &filter, packed);
    let extra: Vec<Value> = depthwise_extra.into_iter().chain(pointwise_extra).collect();
    let work = Work {
        multiply_adds: kernel.multiply_adds(),
        activation_bytes: l.bytes(&[&x, &y]) + l.bytes(&extra.iter().collect::<Vec<_>>()),
        weight_bytes: (packed.elements() + packed.bias_elements() + channels * (kh * kw + 1)) as u64
            * ELEMENT,
    };
    let bindings = [x.binding, depthwise.0, depthwise.1, pointwise.0, pointwise.1]
        .into_iter()
        .chain(bindings(&extra))
        .chain([y.binding, Binding::Scratch])
        .collect();
    l.step(id, KernelSpec::Chain(kernel), bindings, work);
}

/// A pair as two kernels, with a map in the arena between them. `own`: the input, the depthwise weight and bias.
fn separate(
    l: &mut Lowering,
    id: NodeId,
    pair: ChainKernel,
    own: &[NodeId],
    filter: Filter,
    [x, y]: [Value; 2],
    [depthwise_extra, pointwise_extra]: [Vec<Value>; 2],
) {
    let [n, _, height, width] = y.view.dims[..] else { unreachable!("rank 4") };
    let view = View::channels_last([n, x.view.dims[1], height, width], [0; 4]).spread();
    let between = Value { binding: l.buffer(n * view.strides[0], None), view };
    let ChainKernel { kernel, window, depthwise_epilogue, pointwise_epilogue, .. } = pair;
    depthwise(l, id, window, kernel, own, x, between.clone(), depthwise_epilogue, depthwise_extra);
    product(l, id, filter, Window::default(), 1, between, y, pointwise_epilogue, pointwise_extra);
}

pub fn dense(l: &mut Lowering, id: NodeId, own: &[NodeId], extra: &[NodeId]) {
    let graph = l.graph;
    let epilogue = &graph.node(id).epilogue;
    let (mut epilogue, extra) = l.epilogue(epilogue, extra);
    // A flattened image is multiplied where it lies: a convolution whose kernel is the whole image.
    let flattened = matches!(graph.node(own[0]).op, Op::Reshape(_))
        .then(|| graph.operands(own[0])[0])
        .filter(|&image| graph.shape(image).nchw().is_some_and(|(n, ..)| n == graph.shape(id).dims()[0]))
        .filter(|&image| !l.layout.is_constant(image));
    let (x, kernel) = match flattened {
        Some(image) => {
            let x = l.value(image);
            let kernel = [x.view.dims[2], x.view.dims[3]];
            (x, kernel)
        }
        None => {
            let x = l.value(own[0]);
            (Value { view: as_pixels(&x.view), ..x }, [1, 1])
        }
    };
    let y = l.allocate(id);
    let y = Value { view: as_pixels(&y.view), ..y };
    for step in &mut epilogue.0 {
        if let FusedStep::Add(view) | FusedStep::Mul(view) = step {
            *view = as_pixels(view);
        }
    }
    let filter = Filter { weight: own[1], bias: own.get(2).copied(), kernel };
    product(l, id, filter, Window::default(), 1, x, y, epilogue, extra);
}

/// `[n, c]` as `[n, c, 1, 1]`.
fn as_pixels(view: &View) -> View {
    let mut view = view.clone();
    view.dims.extend([1, 1]);
    view.strides.extend([0, 0]);
    view
}
