//! Convolutions and dense layers on a GPU: which kernel, which tile, which weights.

use super::operators::launch_map;
use super::tiles::{self, Product};
use super::{FilterTiles, GpuLowerError, GpuPackSource, Lowering, Place, Value};
use crate::codegen::ptx::{Element, Target};
use crate::graph::NodeId;
use crate::kernels::View;
use crate::kernels::gpu::depthwise::Depthwise;
use crate::kernels::gpu::gemm::{DepthwiseFront, Gemm, Tile};
use crate::kernels::gpu::gemv::{Gemv, MAX_IMAGES};
use crate::kernels::gpu::grouped::Grouped;
use crate::kernels::gpu::map::MapFunction;
use crate::kernels::gpu::{Array, GpuEpilogue, GpuKernel, GpuStep};
use crate::lower::PackSource;
use crate::ops::{Conv, ConvChain, ConvStage, Epilogue, Window};
use crate::tensor::Shape;

type Lowered = Result<(), GpuLowerError>;

/// A convolution and where its weights come from.
pub struct Convolution<'a> {
    pub conv: Conv,
    pub weight: NodeId,
    pub bias: Option<NodeId>,
    pub epilogue: &'a Epilogue,
    /// Of the epilogue.
    pub operands: &'a [NodeId],
}

/// The epilogue with the bias before it, and the places of all operands.
fn with_bias(
    l: &mut Lowering,
    bias: Option<NodeId>,
    epilogue: &Epilogue,
    operands: &[NodeId],
) -> (GpuEpilogue, Vec<Value>) {
    let (mut steps, mut values) = l.epilogue(epilogue, operands);
    if let Some(bias) = bias {
        steps.0.insert(0, GpuStep::Bias);
        values.insert(0, l.plain(bias));
    }
    (steps, values)
}

/// Lowers a convolution of `x` that writes `y`.
pub fn convolution(l: &mut Lowering, id: NodeId, c: &Convolution, mut x: Value, y: Value) -> Lowered {
    space_out(&mut x.array.view);
    let [o, i, kh, kw] = l.graph.shape(c.weight).dims()[..] else { unreachable!("inferred") };
    let known = |node: &NodeId| l.constants.contains(*node);
    if !known(&c.weight) || !c.bias.iter().all(known) {
        return l.unsupported(id, "its weights are computed when the model runs");
    }
    let (conv, kernel) = (c.conv, [kh, kw]);
    let (mut epilogue, extra) = with_bias(l, c.bias, c.epilogue, c.operands);
    let multiply_adds = (y.array.view.elements() * i * kh * kw) as u64;
    let [n, channels, h, w] = x.array.view.dims[..] else { unreachable!("rank 4") };
    if i == 1 && conv.groups == o && conv.groups == channels {
        let weight = l.pack(
            GpuPackSource::Common(PackSource::Depthwise { weight: c.weight }),
            Array::f32(View::row_major(l.graph.shape(c.weight))),
        );
        let kernel = Depthwise {
            x: x.array.clone(),
            y: y.array.clone(),
            kernel,
            window: conv.window,
            pixels: depthwise_pixels(&y.array, l.options.target),
            epilogue,
        };
        let values: Vec<Value> = [x, weight].into_iter().chain(extra).chain([y]).collect();
        l.step(id, GpuKernel::Depthwise(kernel), &values, multiply_adds);
        return Ok(());
    }
    if conv.groups > 1 && i * o / conv.groups < SMALL_GROUP {
        let view = Array::f32(View::row_major(l.graph.shape(c.weight)));
        let weight = l.pack(GpuPackSource::Grouped { weight: c.weight }, view);
        let (window, groups) = (conv.window, conv.groups);
        let (xs, ys) = (x.array.clone(), y.array.clone());
        let kernel = Grouped { x: xs, y: ys, kernel, window, groups, epilogue };
        let values: Vec<Value> = [x, weight].into_iter().chain(extra).chain([y]).collect();
        l.step(id, GpuKernel::Grouped(kernel), &values, multiply_adds);
        return Ok(());
    }
    let pointwise = kernel == [1, 1] && conv.window == Window::default() && conv.groups == 1;
    if pointwise && h * w == 1 && n <= MAX_IMAGES {
        let flat = |value: &Value| Value { array: flat(&value.array), ..*value };
        for array in epilogue.arrays_mut() {
            *array = self::flat(array);
        }
        return gemv(l, id, c.weight, flat(&x), flat(&y), epilogue, extra);
    }
    let part = Part { kernel, window: conv.window, groups: conv.groups, front: None };
    product(l, id, c.weight, part, vec![x], epilogue, extra, y, multiply_adds);
    Ok(())
}

/// Products of groups with fewer weights per tap than this are computed element by element.
const SMALL_GROUP: usize = 64;

/// `[n, c, 1, 1]` as `[n, c]`.
fn flat(array: &Array) -> Array {
    let View { dims, strides, offset } = &array.view;
    let view = View { dims: dims[..2].to_vec(), strides: strides[..2].to_vec(), offset: *offset };
    Array { view, ..*array }
}

/// Several pixels a thread where that leaves enough threads to fill the device.
fn depthwise_pixels(y: &Array, target: Target) -> usize {
    let threads = y.view.elements() / 4;
    let enough = (target.multiprocessors() * 512) as usize;
    let width = y.view.dims[3];
    [4, 2].into_iter().find(|pixels| threads / pixels >= enough && width >= *pixels).unwrap_or(1)
}

/// A dense layer.
pub fn dense(l: &mut Lowering, id: NodeId, own: &[NodeId], extra: &[NodeId]) -> Lowered {
    let (weight, bias) = (own[1], own.get(2).copied());
    if !l.constants.contains(weight) || bias.is_some_and(|bias| !l.constants.contains(bias)) {
        return l.unsupported(id, "its weights are computed when the model runs");
    }
    let (x, y) = (l.value(own[0]), l.allocate(id));
    let epilogue = &l.graph.node(id).epilogue;
    let (mut epilogue, extra) = with_bias(l, bias, epilogue, extra);
    if x.array.view.dims[0] <= MAX_IMAGES {
        return gemv(l, id, weight, x, y, epilogue, extra);
    }
    // `[n, i]` is an image of one pixel.
    let image = |array: &Array| {
        let View { dims, strides, offset } = &array.view;
        let view = View {
            dims: vec![dims[0], dims[1], 1, 1],
            strides: vec![strides[0], strides[1], 0, 0],
            offset: *offset,
        };
        Array { view, ..*array }
    };
    for array in epilogue.arrays_mut() {
        *array = image(array);
    }
    let multiply_adds = (y.array.view.elements() * x.array.view.dims[1]) as u64;
    let (x, y) = (Value { array: image(&x.array), ..x }, Value { array: image(&y.array), ..y });
    let part = Part { kernel: [1, 1], window: Window::default(), groups: 1, front: None };
    product(l, id, weight, part, vec![x], epilogue, extra, y, multiply_adds);
    Ok(())
}

/// A dense layer of few images; `x` and `y` are `[n, i]` and `[n, o]`.
fn gemv(
    l: &mut Lowering,
    id: NodeId,
    weight: NodeId,
    x: Value,
    y: Value,
    epilogue: GpuEpilogue,
    extra: Vec<Value>,
) -> Lowered {
    let element = l.options.precision.element();
    let (outputs, features) = (y.array.view.dims[1], x.array.view.dims[1]);
    let view = View::row_major(&Shape::from([outputs, features]));
    let source = match element {
        Element::F32 => GpuPackSource::Common(PackSource::Plain { node: weight }),
        Element::F16 => GpuPackSource::Half { node: weight },
    };
    let weight = l.pack(source, Array { view, element });
    let multiply_adds = (y.array.view.elements() * features) as u64;
    let kernel = Gemv { x: x.array.clone(), y: y.array.clone(), weight: element, epilogue };
    let values: Vec<Value> = [x, weight].into_iter().chain(extra).chain([y]).collect();
    l.step(id, GpuKernel::Gemv(kernel), &values, multiply_adds);
    Ok(())
}

/// What a matrix product does beside multiplying.
struct Part {
    kernel: [usize; 2],
    window: Window,
    groups: usize,
    front: Option<DepthwiseFront>,
}

/// A convolution as a matrix product; `inputs` are `x` and the operands of the front.
#[expect(clippy::too_many_arguments, reason = "the parts of one kernel")]
fn product(
    l: &mut Lowering,
    id: NodeId,
    weight: NodeId,
    part: Part,
    inputs: Vec<Value>,
    mut epilogue: GpuEpilogue,
    mut extra: Vec<Value>,
    y: Value,
    multiply_adds: u64,
) {
    join_operands(l, id, &mut epilogue, &mut extra);
    let Part { kernel, window, groups, front } = part;
    let mut gemm = Gemm {
        x: inputs[0].array.clone(),
        y: y.array.clone(),
        kernel,
        window,
        groups,
        front,
        epilogue,
        precision: l.options.precision,
        tile: Tile { pixels: 0, outputs: 0, own_pixels: 0, own_outputs: 0, stages: 0 },
        splits: 1,
    };
    let choice = tiles::choose(&described(&gemm, l.options.target), l.options.target);
    (gemm.tile, gemm.splits) = (choice.tile, choice.splits);
    let packed = FilterTiles { groups, width: gemm.tile.outputs, precision: gemm.precision };
    let element = gemm.precision.element();
    let shape = View::row_major(l.graph.shape(weight));
    let filter = l.pack(GpuPackSource::Filter { weight, packed }, Array { view: shape, element });
    if gemm.splits == 1 {
        let values: Vec<Value> = inputs.into_iter().chain([filter]).chain(extra).chain([y]).collect();
        return l.step(id, GpuKernel::Gemm(gemm), &values, multiply_adds);
    }
    // Each part's sums by themselves, then their sum in a fixed order, so that every run gives the same bits.
    let (pixels, outputs) = (gemm.pixels(), y.array.view.dims[1]);
    let sums = View {
        dims: vec![gemm.splits, outputs, 1, pixels],
        strides: vec![pixels * outputs, 1, 0, outputs],
        offset: 0,
    };
    let parts = l.temporary(sums, Element::F32);
    let epilogue = std::mem::take(&mut gemm.epilogue);
    let splits = gemm.splits;
    let values: Vec<Value> = inputs.into_iter().chain([filter, parts.clone()]).collect();
    l.step(id, GpuKernel::Gemm(gemm), &values, multiply_adds);
    let Place::Arena { buffer, .. } = parts.place else { unreachable!("a temporary") };
    let terms = (0..splits).map(|split| {
        let view = View { dims: vec![1, outputs, 1, pixels], strides: vec![0, 1, 0, outputs], offset: 0 };
        let offset = split * pixels * outputs * Element::F32.bytes();
        Value { array: Array::f32(view), place: Place::Arena { buffer, offset } }
    });
    let terms = terms.collect();
    let view = y.array.view.joined_pixels().expect("pixels at even distances");
    let y = Value { array: Array { view, ..y.array }, ..y };
    launch_map(l, id, MapFunction::Sum, terms, epilogue, extra, y);
}

/// Gives rows and columns, where there is one of them, the distance that they have in channels-last maps: taps in the
/// padding are not read, but copies of several channels ask that their places are aligned, too.
fn space_out(view: &mut View) {
    let ([_, c, h, w], [_, 1, row, column]) = (&view.dims[..], &mut view.strides[..]) else { return };
    if *w == 1 {
        *column = *c;
    }
    if *h == 1 {
        *row = *w * *column;
    }
}

/// Gives maps that an epilogue reads one axis of pixels, copying those that have none.
fn join_operands(l: &mut Lowering, id: NodeId, epilogue: &mut GpuEpilogue, extra: &mut [Value]) {
    let mut at = 0;
    for step in &mut epilogue.0 {
        match step {
            GpuStep::Activation(_) => {}
            GpuStep::Bias => at += 1,
            GpuStep::ScaleShift => at += 2,
            GpuStep::Add(array) | GpuStep::Mul(array) => {
                if array.view.joined_pixels().is_none() {
                    let [n, c, h, w] = array.view.dims[..] else { unreachable!("rank 4") };
                    let copy = l.temporary(View::channels_last([n, c, h, w], [0; 4]), array.element);
                    let from = extra[at].clone();
                    let none = GpuEpilogue::default();
                    launch_map(l, id, MapFunction::Copy, vec![from], none, Vec::new(), copy.clone());
                    *array = copy.array.clone();
                    extra[at] = copy;
                }
                array.view = array.view.joined_pixels().expect("channels-last");
                at += 1;
            }
        }
    }
}

/// What the choice of a tile depends on.
fn described(gemm: &Gemm, target: Target) -> Product {
    let front_taps = gemm.front.as_ref().map_or(0, |front| front.kernel[0] * front.kernel[1]);
    Product {
        pixels: gemm.pixels(),
        outputs: gemm.outputs(),
        steps: gemm.steps(),
        groups: gemm.groups,
        precision: gemm.precision,
        front_taps,
        copies_async: target.has_async_copy() && gemm.copies_chunks() && gemm.front.is_none(),
        may_split: true,
    }
}

/// Depthwise, then pointwise: one kernel where chunks of channels can be computed at once, else two.
pub fn chain(l: &mut Lowering, id: NodeId, chain: &ConvChain, own: &[NodeId]) -> Lowered {
    let mut x = l.value(own[0]);
    let mut rest = &own[1..];
    let stages: Vec<(&ConvStage, &[NodeId])> = chain
        .stages
        .iter()
        .map(|stage| {
            let (operands, others) = rest.split_at(stage.operands());
            rest = others;
            (stage, operands)
        })
        .collect();
    let y = l.allocate(id);
    if let [(front, front_operands), (back, back_operands)] = stages[..]
        && fuses(l, &x, front, front_operands, back)
    {
        return fused_pair(l, id, x, (front, front_operands), (back, back_operands), y);
    }
    let count = stages.len();
    for (at, (stage, operands)) in stages.into_iter().enumerate() {
        let weight = operands[0];
        let (bias, epilogue_operands) = split_stage(stage, operands);
        let target = if at + 1 == count {
            y.clone()
        } else {
            let dims = Shape::new(x.array.view.dims.clone());
            let mut shapes = vec![&dims, l.graph.shape(weight)];
            shapes.extend(bias.map(|bias| l.graph.shape(bias)));
            let shape = crate::ops::Operator::infer(&stage.conv, &shapes).expect("the chain was checked");
            let (n, c, h, w) = shape.nchw().expect("rank 4");
            l.temporary(View::channels_last([n, c, h, w], [0; 4]), l.options.precision.element())
        };
        let conv = Convolution {
            conv: stage.conv,
            weight,
            bias,
            epilogue: &stage.epilogue,
            operands: epilogue_operands,
        };
        convolution(l, id, &conv, x, target.clone())?;
        x = target;
    }
    Ok(())
}

fn split_stage<'a>(stage: &ConvStage, operands: &'a [NodeId]) -> (Option<NodeId>, &'a [NodeId]) {
    let own = 1 + usize::from(stage.has_bias);
    (stage.has_bias.then(|| operands[1]), &operands[own..])
}

/// A front's taps are written one by one.
const MAX_FRONT_TAPS: usize = 25;

/// Whether a pair can be computed as one kernel.
fn fuses(l: &Lowering, x: &Value, front: &ConvStage, operands: &[NodeId], back: &ConvStage) -> bool {
    let [o, i, kh, kw] = l.graph.shape(operands[0]).dims()[..] else { return false };
    let channels = x.array.view.dims[1];
    let lanes = 16 / x.array.element.bytes();
    let is_depthwise = i == 1 && front.conv.groups == channels && o == channels;
    let per_channel = operands[1..].iter().all(|operand| l.constants.contains(*operand));
    let is_pointwise = back.conv.groups == 1 && back.conv.window == Window::default();
    is_depthwise
        && kh * kw <= MAX_FRONT_TAPS
        && is_pointwise
        && per_channel
        && l.constants.contains(operands[0])
        && x.array.element == l.options.precision.element()
        && channels.is_multiple_of(lanes)
        && x.array.is_vector(1, lanes)
}

fn fused_pair(
    l: &mut Lowering,
    id: NodeId,
    x: Value,
    (front, front_operands): (&ConvStage, &[NodeId]),
    (back, back_operands): (&ConvStage, &[NodeId]),
    y: Value,
) -> Lowered {
    let (front_weight, weight) = (front_operands[0], back_operands[0]);
    let (front_bias, front_extra) = split_stage(front, front_operands);
    let (bias, extra) = split_stage(back, back_operands);
    let [_, _, kh, kw] = l.graph.shape(front_weight).dims()[..] else { unreachable!("rank 4") };
    let (front_epilogue, front_values) = with_bias(l, front_bias, &front.epilogue, front_extra);
    let front_array = Array::f32(View::row_major(l.graph.shape(front_weight)));
    let source = GpuPackSource::Common(PackSource::Depthwise { weight: front_weight });
    let packed = l.pack(source, front_array);
    let (epilogue, extra) = with_bias(l, bias, &back.epilogue, extra);
    let [n, _, h, w] = y.array.view.dims[..] else { unreachable!("rank 4") };
    let (channels, outputs) = (x.array.view.dims[1], y.array.view.dims[1]);
    let multiply_adds = (n * h * w * channels * (kh * kw + outputs)) as u64;
    let window = front.conv.window;
    let front = DepthwiseFront { kernel: [kh, kw], window, epilogue: front_epilogue };
    let part = Part { kernel: [1, 1], window: Window::default(), groups: 1, front: Some(front) };
    let inputs: Vec<Value> = [x, packed].into_iter().chain(front_values).collect();
    product(l, id, weight, part, inputs, epilogue, extra, y, multiply_adds);
    Ok(())
}
