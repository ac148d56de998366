//! Convolution by Winograd's method, with filters transformed beforehand and in registers.

use std::collections::HashMap;
use std::sync::Arc;

use kiln::graph::Graph;
use kiln::kernels::crossed::{Arithmetic, Crossing};
use kiln::kernels::product::{Order, Tile};
use kiln::kernels::winograd::{Filters, Method, WinogradKernel, border};
use kiln::kernels::{FusedEpilogue, View};
use kiln::lower::PackSource;
use kiln::ops::{Conv, Init, Op, Operator, Parameter, Window};
use kiln::tensor::Shape;

use crate::harness::{check_packed, random, scatter};
use crate::polyphase::{Layout, padded, view};

/// A convolution of 3×3 filters and how it is cut up.
#[derive(Clone, Copy)]
struct Case {
    x: [usize; 4],
    outputs: usize,
    padding: [usize; 4],
    groups: usize,
    /// Tiles of the image in a register tile.
    columns: usize,
    /// Rows of tiles of a block.
    rows: usize,
}

const CASE: Case = Case { x: [1, 7, 6, 9], outputs: 20, padding: [1; 4], groups: 1, columns: 2, rows: 2 };

fn check_case(case: Case, method: Method, filters: Filters, arithmetic: Arithmetic) {
    let Case { x: dims, outputs, padding, groups, columns, rows } = case;
    let window = Window { stride: [1, 1], padding, dilation: [1, 1] };
    let weight_shape = Shape::from([outputs, dims[1] / groups, 3, 3]);
    let (x, w, b) = (random(dims, 1), random(weight_shape.clone(), 2), random([outputs], 3));
    let expected = Conv { window, groups }.evaluate(&[&x, &w, &b]);
    let y_dims: [usize; 4] = expected.shape().dims().try_into().unwrap();
    let y = View::channels_last(y_dims, [0, 1, 1, 0]);
    let around = border(method, padding, [dims[2], dims[3]], [y_dims[2], y_dims[3]]);
    let [inner, outer] = view(Layout::ChannelsLast, dims, around);
    let kernel = WinogradKernel {
        x: inner,
        y: y.clone(),
        window,
        groups,
        epilogue: FusedEpilogue(Vec::new()),
        method,
        filters,
        arithmetic,
        tile: Tile { rows: 1, columns, vectors: 1 },
        order: Order::Panels,
        rows,
        channels: 16,
    };
    let mut graph = Graph::new("weight");
    let parameter = Parameter { key: "w".to_owned(), shape: weight_shape, init: Init::Kaiming { fan_in: 1 } };
    let node = graph.add("w", Op::Parameter(parameter), &[]).unwrap();
    let inputs = |lanes: usize| {
        let source = PackSource::winograd(node, &kernel, lanes);
        let mut weights = vec![0.0; source.elements(&graph)];
        source.pack(&HashMap::from([(node, Arc::new(w.clone()))]), &mut weights);
        vec![scatter(&padded(&x, &outer, around), &outer), weights, b.data().to_vec()]
    };
    check_packed(&kernel, inputs, &y, &expected);
}

/// Each method, with filters of both kinds; in registers for few channels at a time, some, all, and more than there are.
fn check_all(case: Case) {
    for &method in Method::all([3, 3]) {
        check_case(case, method, Filters::Packed, Arithmetic::Straight);
        for crossing in Crossing::ALL {
            check_case(case, method, Filters::Packed, Arithmetic::Crossed(crossing));
        }
        let channels = case.x[1] / case.groups;
        for depth in [1, 3, channels.max(2) - 1, channels, channels + 1] {
            check_case(case, method, Filters::InRegisters { depth }, Arithmetic::Straight);
        }
    }
}

#[test]
fn last_tiles_and_panels() {
    check_all(CASE);
    check_all(Case { x: [1, 3, 11, 4], outputs: 5, padding: [0, 1, 2, 0], ..CASE });
    check_all(Case { x: [1, 2, 3, 3], outputs: 33, padding: [0; 4], columns: 1, rows: 1, ..CASE });
}

#[test]
fn groups_and_images() {
    check_all(Case { x: [2, 10, 9, 5], outputs: 36, groups: 2, rows: 1, ..CASE });
}
