//! Strided convolution by minimal filtering along rows.

use std::collections::HashMap;
use std::sync::Arc;

use kiln::graph::Graph;
use kiln::kernels::crossed::{Arithmetic, Crossing};
use kiln::kernels::polyphase::{Filtering, PolyphaseKernel, border};
use kiln::kernels::product::{Order, Tile};
use kiln::kernels::{FusedEpilogue, FusedStep, View};
use kiln::lower::PackSource;
use kiln::ops::{Activation, Conv, Init, Op, Operator, Parameter, Window};
use kiln::tensor::{Shape, Tensor};

use crate::harness::{check_packed, random, scatter};

/// A convolution and how it is cut up.
#[derive(Clone, Copy)]
struct Case {
    x: [usize; 4],
    outputs: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    groups: usize,
    tile: Tile,
    rows: usize,
}

const TILE: Tile = Tile { rows: 1, columns: 4, vectors: 1 };

const SEVEN: Case = Case {
    x: [1, 3, 23, 18],
    outputs: 20,
    kernel: [7, 7],
    stride: [2, 2],
    padding: [3; 4],
    groups: 1,
    tile: TILE,
    rows: 1,
};

/// How the input lies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Layout {
    Planar,
    ChannelsLast,
    /// Channels of wider pixels.
    Slice,
}

/// A view of `dims` within one that has a border.
pub fn view(layout: Layout, dims: [usize; 4], [top, left, bottom, right]: [usize; 4]) -> [View; 2] {
    let [n, c, h, w] = dims;
    let padded = [n, c, top + h + bottom, left + w + right];
    let outer = match layout {
        Layout::Planar => View::planar(padded, [0; 4]),
        Layout::ChannelsLast => View::channels_last(padded, [0; 4]),
        Layout::Slice => {
            let wide = View::channels_last([n, c + 5, padded[2], padded[3]], [0; 4]);
            View { dims: padded.to_vec(), offset: 3, ..wide }
        }
    };
    let offset = outer.offset + top * outer.strides[2] + left * outer.strides[3];
    [View { dims: dims.to_vec(), offset, ..outer.clone() }, outer]
}

/// `x` with zeros around it.
pub fn padded(x: &Tensor, view: &View, [top, left, _, _]: [usize; 4]) -> Tensor {
    let [_, c, h, w] = x.shape().dims()[..] else { unreachable!("rank 4") };
    Tensor::from_fn(Shape::new(view.dims.clone()), |at| {
        let (row, column) = (at[2].wrapping_sub(top), at[3].wrapping_sub(left));
        if row < h && column < w { x.data()[((at[0] * c + at[1]) * h + row) * w + column] } else { 0.0 }
    })
}

fn check_case(case: Case, filtering: Filtering, order: Order, layout: Layout, epilogue: bool) {
    // Crossed where channels of one group lie side by side.
    let may_cross = case.groups == 1 && layout != Layout::Planar;
    check_arithmetic(case, filtering, Arithmetic::Straight, order, layout, epilogue);
    for crossing in Crossing::ALL.into_iter().filter(|_| may_cross) {
        check_arithmetic(case, filtering, Arithmetic::Crossed(crossing), order, layout, epilogue);
    }
}

fn check_arithmetic(
    case: Case,
    filtering: Filtering,
    arithmetic: Arithmetic,
    order: Order,
    layout: Layout,
    epilogue: bool,
) {
    let Case { x: dims, outputs, kernel, stride, padding, groups, tile, rows } = case;
    let window = Window { stride, padding, dilation: [1, 1] };
    let weight_shape = Shape::from([outputs, dims[1] / groups, kernel[0], kernel[1]]);
    let (x, w, b) = (random(dims, 1), random(weight_shape.clone(), 2), random([outputs], 3));
    let convolved = Conv { window, groups }.evaluate(&[&x, &w, &b]);
    let y_dims: [usize; 4] = convolved.shape().dims().try_into().unwrap();
    let y = View::channels_last(y_dims, [0, 1, 1, 0]);
    let addend = random(y_dims, 4);
    let expected = match epilogue {
        true => Tensor::from_fn(convolved.shape().clone(), |at| {
            let strides = convolved.shape().strides();
            let index = at.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>();
            (convolved.data()[index] + addend.data()[index]).max(0.0)
        }),
        false => convolved,
    };
    let steps = vec![FusedStep::Add(y.clone()), FusedStep::Activation(Activation::Relu)];
    let around = border(filtering, padding, dims[2], y_dims[2]);
    let [inner, outer] = view(layout, dims, around);
    let kernel = PolyphaseKernel {
        x: inner,
        y: y.clone(),
        filtering,
        width: kernel[1],
        window,
        groups,
        epilogue: FusedEpilogue(if epilogue { steps } else { Vec::new() }),
        arithmetic,
        tile,
        order,
        rows,
        channels: tile.vectors * 16,
    };
    let mut graph = Graph::new("weight");
    let parameter = Parameter { key: "w".to_owned(), shape: weight_shape, init: Init::Kaiming { fan_in: 1 } };
    let node = graph.add("w", Op::Parameter(parameter), &[]).unwrap();
    let inputs = |lanes: usize| {
        let source = PackSource::Polyphase { weight: node, filters: kernel.filters(lanes) };
        let mut weights = vec![0.0; source.elements(&graph)];
        source.pack(&HashMap::from([(node, Arc::new(w.clone()))]), &mut weights);
        let mut inputs = vec![scatter(&padded(&x, &outer, around), &outer), weights, b.data().to_vec()];
        inputs.extend(epilogue.then(|| scatter(&addend, &y)));
        inputs
    };
    check_packed(&kernel, inputs, &y, &expected);
}

/// Each way of filtering, in each order, on planes and on channels.
fn check_all(case: Case) {
    for filtering in Filtering::all(case.kernel[0], case.stride[0]) {
        for order in [Order::Pixels, Order::Panels] {
            for layout in [Layout::Planar, Layout::ChannelsLast] {
                check_case(case, filtering, order, layout, false);
            }
        }
    }
}

#[test]
fn taps_and_strides() {
    check_all(SEVEN);
    for (kernel, stride) in [
        ([3, 3], [2, 2]),
        ([4, 1], [2, 3]),
        ([5, 2], [2, 1]),
        ([8, 1], [3, 2]),
        ([5, 3], [3, 3]),
        ([11, 2], [4, 4]),
        ([9, 2], [2, 2]),
    ] {
        check_all(Case { kernel, stride, padding: [0; 4], outputs: 9, ..SEVEN });
    }
    assert_eq!(Filtering::all(3, 3).count(), 0, "a tap for each phase");
}

#[test]
fn padding_on_some_sides_and_tiny_images() {
    for padding in [[0, 1, 2, 0], [2, 0, 0, 2], [1, 2, 2, 1], [2; 4]] {
        for [h, w] in [[1, 1], [2, 9], [9, 2], [8, 11], [17, 5]] {
            let case = Case { x: [1, 5, h, w], outputs: 3, kernel: [3, 3], padding, ..SEVEN };
            let extent = |axis: usize, extent: usize| extent + padding[axis] + padding[axis + 2];
            if extent(0, h) >= 3 && extent(1, w) >= 3 {
                check_all(case);
            }
        }
    }
}

#[test]
fn groups_images_and_blocks() {
    let grouped = Case {
        x: [2, 6, 19, 12],
        outputs: 38,
        kernel: [5, 3],
        padding: [2, 1, 1, 0],
        groups: 2,
        tile: Tile { rows: 2, columns: 3, vectors: 1 },
        rows: 2,
        ..SEVEN
    };
    check_all(grouped);
    check_all(Case { rows: 5, tile: TILE, ..grouped });
    check_all(Case { x: [1, 1, 30, 9], outputs: 40, groups: 1, ..grouped });
    check_all(Case { x: [1, 3, 17, 9], outputs: 6, groups: 3, rows: 1, ..grouped });
}

#[test]
fn epilogues_and_slices() {
    for order in [Order::Pixels, Order::Panels] {
        for layout in [Layout::Planar, Layout::ChannelsLast, Layout::Slice] {
            for filtering in Filtering::all(3, 2) {
                let case = Case { x: [2, 19, 11, 9], kernel: [3, 3], padding: [1; 4], ..SEVEN };
                check_case(case, filtering, order, layout, true);
            }
        }
    }
}
