//! Crossed products of 1×1 convolutions, alone and behind a depthwise one.

use std::collections::HashMap;
use std::sync::Arc;

use kiln::codegen::vector::{Access, interpret};
use kiln::graph::{Graph, NodeId};
use kiln::kernels::chain::ChainKernel;
use kiln::kernels::conv::{Blocking, ConvKernel};
use kiln::kernels::crossed::{Arithmetic, Crossing};
use kiln::kernels::packed::{PackedFilter, WeightType};
use kiln::kernels::product::{Order, Tile};
use kiln::kernels::{Family, FusedEpilogue, FusedStep, View};
use kiln::lower::PackSource;
use kiln::ops::{Conv, Init, Op, Operator, Parameter, Window};
use kiln::tensor::Tensor;

use crate::harness::{check_packed, random, scatter};
use crate::polyphase::{Layout, padded, view};

/// A 1×1 convolution and how it is cut up.
#[derive(Clone, Copy)]
struct Case {
    x: [usize; 4],
    outputs: usize,
    stride: [usize; 2],
    layout: Layout,
    tile: Tile,
    pixels: usize,
    order: Order,
}

const CASE: Case = Case {
    x: [1, 70, 5, 7],
    outputs: 20,
    stride: [1, 1],
    layout: Layout::ChannelsLast,
    tile: Tile { rows: 1, columns: 3, vectors: 1 },
    pixels: 2,
    order: Order::Pixels,
};

fn kernel(case: &Case, crossing: Crossing, x: View, y: View, epilogue: Vec<FusedStep>) -> ConvKernel {
    ConvKernel {
        x,
        y,
        kernel: [1, 1],
        window: Window { stride: case.stride, padding: [0; 4], dilation: [1, 1] },
        groups: 1,
        weight_type: WeightType::F32,
        epilogue: FusedEpilogue(epilogue),
        tile: case.tile,
        arithmetic: Arithmetic::Crossed(crossing),
        blocking: Blocking { pixels: case.pixels, channels: case.tile.vectors * 16 },
        order: case.order,
    }
}

/// The packed weights and bias.
fn packed(weight: &Tensor, bias: &Tensor, packed: PackedFilter) -> [Vec<f32>; 2] {
    let mut graph = Graph::new("weights");
    let mut node = |key: &str, value: &Tensor| -> NodeId {
        let parameter = Parameter {
            key: key.to_owned(),
            shape: value.shape().clone(),
            init: Init::Kaiming { fan_in: 1 },
        };
        graph.add(key, Op::Parameter(parameter), &[]).unwrap()
    };
    let (w, b) = (node("w", weight), node("b", bias));
    let values = HashMap::from([(w, Arc::new(weight.clone())), (b, Arc::new(bias.clone()))]);
    let sources =
        [PackSource::Filter { weight: w, taps: 1, packed }, PackSource::Bias { bias: Some(b), packed }];
    sources.map(|source| {
        let mut target = vec![0.0; source.elements(&graph)];
        source.pack(&values, &mut target);
        target
    })
}

fn convolve(case: &Case, x: &Tensor, w: &Tensor, b: &Tensor) -> Tensor {
    let window = Window { stride: case.stride, padding: [0; 4], dilation: [1, 1] };
    Conv { window, groups: 1 }.evaluate(&[x, w, b])
}

/// Each element times what `factor` says of its index.
fn times(tensor: &Tensor, mut factor: impl FnMut(&[usize]) -> f32) -> Tensor {
    let mut values = tensor.data().iter();
    Tensor::from_fn(tensor.shape().clone(), |at| *values.next().unwrap() * factor(at))
}

fn check(case: Case, x: &Tensor, w: &Tensor, b: &Tensor) {
    let expected = convolve(&case, x, w, b);
    let y = View::channels_last(expected.shape().dims().try_into().unwrap(), [0, 1, 1, 0]);
    let [inner, outer] = view(case.layout, case.x, [1, 2, 0, 0]);
    for crossing in Crossing::ALL {
        let kernel = kernel(&case, crossing, inner.clone(), y.clone(), Vec::new());
        let inputs = |lanes: usize| {
            let [weights, bias] = packed(w, b, kernel.packed_filter(lanes));
            vec![scatter(&padded(x, &outer, [1, 2, 0, 0]), &outer), weights, bias]
        };
        check_packed(&kernel, inputs, &y, &expected);
    }
}

fn check_random(case: Case) {
    let (x, w) = (random(case.x, 1), random([case.outputs, case.x[1], 1, 1], 2));
    check(case, &x, &w, &random([case.outputs], 3));
}

#[test]
fn any_number_of_channels() {
    for channels in [1, 2, 3, 4, 5, 7, 8, 15, 31, 47, 48, 49, 51, 63, 64, 65, 68, 96, 127, 130, 143, 144, 146]
    {
        check_random(Case { x: [1, channels, 3, 5], ..CASE });
    }
}

#[test]
fn last_tiles_and_panels() {
    check_random(CASE);
    check_random(Case { tile: Tile { rows: 2, columns: 2, vectors: 2 }, outputs: 37, pixels: 3, ..CASE });
    check_random(Case {
        x: [1, 66, 1, 23],
        tile: Tile { rows: 1, columns: 4, vectors: 1 },
        pixels: 9,
        ..CASE
    });
    check_random(Case { order: Order::Panels, outputs: 40, pixels: 5, ..CASE });
}

#[test]
fn strides_images_and_slices() {
    check_random(Case { x: [2, 68, 6, 9], stride: [2, 2], ..CASE });
    check_random(Case { x: [2, 65, 5, 4], stride: [1, 3], layout: Layout::Slice, ..CASE });
}

/// Sums of squares come and go, so input and weights of any magnitudes must be brought to one.
#[test]
fn any_magnitudes() {
    let (x, w, b) =
        (random(CASE.x, 1), random([CASE.outputs, CASE.x[1], 1, 1], 2), random([CASE.outputs], 3));
    for (input, weights) in [
        (1e-6, 1.0),
        (1e6, 1.0),
        (1.0, 1e-12),
        (1e-18, 1e12),
        (1e30, 1e-25),
        (1e18, 1e18),
        (1e-37, 1e10),
        (1e38, 1e-20),
        (0.0, 1.0),
        (1.0, 0.0),
        (0.0, 0.0),
    ] {
        let b = times(&b, |_| input * weights);
        check(CASE, &times(&x, |_| input), &times(&w, |_| weights), &b);
    }
}

/// Each pixel and each output channel has a magnitude of its own, and its error is small for it.
#[test]
fn magnitudes_side_by_side() {
    let of_pixel = |row: usize, column: usize| 10f32.powi(4 * ((row * 7 + column) % 9) as i32 - 16);
    let of_output = |output: usize| 10f32.powi(3 * (output % 5) as i32 - 6);
    let x = times(&random(CASE.x, 1), |at| of_pixel(at[2], at[3]));
    let w = times(&random([CASE.outputs, CASE.x[1], 1, 1], 2), |at| of_output(at[0]));
    let b = Tensor::zeros([CASE.outputs]);
    let result = convolve(&CASE, &x, &w, &b);
    let y = View::channels_last(result.shape().dims().try_into().unwrap(), [0; 4]);
    // Back to one magnitude, as the kernel's epilogue does it.
    let factor =
        Tensor::from_fn(result.shape().clone(), |at| 1.0 / of_pixel(at[2], at[3]) / of_output(at[1]));
    let mut factors = factor.data().iter();
    let expected = times(&result, |_| *factors.next().unwrap());
    let [inner, outer] = view(CASE.layout, CASE.x, [0; 4]);
    for crossing in Crossing::ALL {
        let kernel = kernel(&CASE, crossing, inner.clone(), y.clone(), vec![FusedStep::Mul(y.clone())]);
        let inputs = |lanes: usize| {
            let [weights, bias] = packed(&w, &b, kernel.packed_filter(lanes));
            vec![scatter(&padded(&x, &outer, [0; 4]), &outer), weights, bias, scatter(&factor, &y)]
        };
        check_packed(&kernel, inputs, &y, &expected);
    }
}

/// Channels whose magnitudes the weights undo, that weights ignore, or that are zero beside large weights.
#[test]
fn magnitudes_along_the_reduction() {
    let (x, w) = (random(CASE.x, 1), random([CASE.outputs, CASE.x[1], 1, 1], 2));
    let b = random([CASE.outputs], 3);
    let undone = |channel: usize| 10f32.powi(2 * (channel % 7) as i32 - 6);
    check(CASE, &times(&x, |at| undone(at[1])), &times(&w, |at| 1.0 / undone(at[1])), &b);
    for channel in [0, 17, 40, 60, 69] {
        let only = |factor: f32| move |at: &[usize]| if at[1] == channel { factor } else { 1.0 };
        for (input, weights) in [(1e6, 1e-6), (1e-6, 1e6), (1e6, 0.0), (0.0, 1e6), (1e20, 0.0), (1e-20, 1e20)]
        {
            check(CASE, &times(&x, only(input)), &times(&w, only(weights)), &b);
        }
    }
}

/// A pixel that holds no number spoils its own outputs and no others.
#[test]
fn what_is_no_number_stays_in_its_pixel() {
    let (w, b) = (random([CASE.outputs, CASE.x[1], 1, 1], 2), random([CASE.outputs], 3));
    let no_numbers = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for (crossing, no_number) in
        Crossing::ALL.into_iter().flat_map(|crossing| no_numbers.map(|n| (crossing, n)))
    {
        for channel in [0, 20, 40, 60, 69] {
            let run = |value: Option<f32>| {
                let mut x = random(CASE.x, 1);
                if let Some(value) = value {
                    x.data_mut()[(channel * CASE.x[2] + 2) * CASE.x[3] + 3] = value;
                }
                let [inner, _] = view(CASE.layout, CASE.x, [0; 4]);
                let y = View::channels_last([1, CASE.outputs, CASE.x[2], CASE.x[3]], [0; 4]);
                let family = kernel(&CASE, crossing, inner.clone(), y, Vec::new());
                let kernel = family.build(8);
                let [weights, bias] = packed(&w, &b, family.packed_filter(8));
                let mut inputs = [scatter(&x, &inner), weights, bias].into_iter();
                let mut buffer = |access: Access, elements: usize| match access {
                    Access::Read => inputs.next().unwrap(),
                    Access::Write | Access::Scratch => vec![0.0; elements],
                };
                let mut buffers: Vec<Vec<f32>> =
                    kernel.buffers.iter().map(|b| buffer(b.access, b.elements)).collect();
                interpret(&kernel, &mut buffers);
                let written = kernel.buffers.iter().position(|b| b.access == Access::Write);
                buffers.swap_remove(written.expect("a kernel writes"))
            };
            let (clean, spoilt) = (run(None), run(Some(no_number)));
            for (pixel, (clean, spoilt)) in
                clean.chunks(CASE.outputs).zip(spoilt.chunks(CASE.outputs)).enumerate()
            {
                if pixel == 2 * CASE.x[3] + 3 {
                    assert!(spoilt.iter().all(|value| !value.is_finite()), "{no_number} in {channel}");
                } else {
                    assert_eq!(clean, spoilt);
                }
            }
        }
    }
}

#[test]
fn behind_a_depthwise_convolution() {
    let cases = [(70, 40, 2, 40), (64, 33, 1, 32), (3, 5, 4, 5), (129, 20, 3, 20), (96, 16, 2, 16)];
    let all = Crossing::ALL.into_iter().flat_map(|crossing| cases.map(|case| (crossing, case)));
    for (crossing, (channels, outputs, rows, part)) in all {
        let dims = [1, channels, 6, 9];
        let window = Window { stride: [1, 1], padding: [1; 4], dilation: [1, 1] };
        let (x, w1, b1) = (random(dims, 1), random([channels, 1, 3, 3], 2), random([channels], 3));
        let (w2, b2) = (random([outputs, channels, 1, 1], 4), random([outputs], 5));
        let between = Conv { window, groups: channels }.evaluate(&[&x, &w1, &b1]);
        let expected = convolve(&CASE, &between, &w2, &b2);
        let y = View::channels_last([1, outputs, 6, 9], [1, 0, 0, 1]);
        let [inner, outer] = view(Layout::ChannelsLast, dims, [1; 4]);
        let kernel = ChainKernel {
            x: inner,
            y: y.clone(),
            kernel: [3, 3],
            window,
            depthwise_epilogue: FusedEpilogue(Vec::new()),
            pointwise_epilogue: FusedEpilogue(Vec::new()),
            columns: 4,
            tile: Tile { rows: 1, columns: 4, vectors: 1 },
            arithmetic: Arithmetic::Crossed(crossing),
            order: Order::Panels,
            rows,
            channels: part,
        };
        let depthwise: Vec<f32> = (0..9)
            .flat_map(|tap| (0..channels).map(move |channel| (channel, tap)))
            .map(|(channel, tap)| w1.data()[channel * 9 + tap])
            .collect();
        let inputs = |lanes: usize| {
            let [weights, bias] = packed(&w2, &b2, kernel.packed_filter(lanes));
            let x = scatter(&padded(&x, &outer, [1; 4]), &outer);
            vec![x, depthwise.clone(), b1.data().to_vec(), weights, bias]
        };
        check_packed(&kernel, inputs, &y, &expected);
    }
}
