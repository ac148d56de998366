//! Local response normalisation, batch normalisation and softmax.

use kiln::kernels::{BatchNormKernel, FusedEpilogue, FusedStep, LrnKernel, SoftmaxKernel, View};
use kiln::ops::{Activation, BatchNorm, Epilogue, EpilogueStep, Lrn, Operator, Softmax, Statistics};
use kiln::tensor::{Shape, Tensor};

use crate::harness::{check, random, scatter, views};

const DIMS: [[usize; 4]; 6] =
    [[1, 96, 5, 5], [2, 19, 4, 3], [1, 3, 1, 17], [1, 1, 3, 3], [3, 21, 1, 1], [1, 5, 40, 9]];

fn check_lrn(lrn: Lrn, x: &Tensor, from: &View, to: &View) {
    let expected = lrn.evaluate(&[x]);
    let kernel = LrnKernel { lrn, x: from.clone(), y: to.clone(), epilogue: FusedEpilogue::default() };
    check(&kernel, &[scatter(x, from)], to, &expected);
}

#[test]
fn local_response_normalisation_in_every_layout() {
    let lrn = Lrn { size: 5, alpha: 0.3, beta: 0.75, bias: 2.0 };
    for dims in DIMS {
        for (i, from) in views(dims).iter().enumerate() {
            check_lrn(lrn, &random(dims, 1), from, &views(dims)[4 - i]);
            check_lrn(lrn, &random(dims, 1), from, &views(dims)[i]);
        }
    }
}

#[test]
fn local_response_normalisation_of_any_size_and_power() {
    let dims = [1, 20, 3, 2];
    for size in [1, 2, 3, 4, 8, 9, 12, 39, 40, 1_000_000] {
        for beta in [0.75, 0.5, 1.0, 0.6, -0.5] {
            let lrn = Lrn { size, alpha: 0.5, beta, bias: 1.0 };
            for from in [View::channels_last(dims, [0; 4]), View::planar(dims, [0; 4])] {
                check_lrn(lrn, &random(dims, 1), &from, &from);
            }
        }
    }
}

#[test]
fn local_response_normalisation_of_other_ranks() {
    let lrn = Lrn { size: 3, alpha: 0.3, beta: 0.75, bias: 1.0 };
    for shape in
        [Shape::from([1, 37]), Shape::from([3, 5]), Shape::from([2, 7, 11]), Shape::from([2, 3, 4, 5, 6])]
    {
        let view = View::row_major(&shape);
        check_lrn(lrn, &random(shape, 1), &view, &view);
    }
}

fn check_softmax(axis: usize, x: &Tensor, from: &View, to: &View) {
    let softmax = Softmax { axis, log: false };
    let mut expected = softmax.evaluate(&[x]);
    let mut kernel =
        SoftmaxKernel { softmax, x: from.clone(), y: to.clone(), epilogue: FusedEpilogue::default() };
    check(&kernel, &[scatter(x, from)], to, &expected);
    // Added in the input's own layout.
    Epilogue(vec![EpilogueStep::Add]).apply(&mut expected, &[x]);
    kernel.epilogue = FusedEpilogue(vec![FusedStep::Add(from.clone())]);
    check(&kernel, &[scatter(x, from), scatter(x, from)], to, &expected);
}

#[test]
fn softmax_along_every_axis_in_every_layout() {
    for dims in DIMS {
        let x = random(dims, 1);
        for axis in 0..4 {
            for (i, from) in views(dims).iter().enumerate() {
                check_softmax(axis, &x, from, &views(dims)[i]);
                check_softmax(axis, &x, from, &views(dims)[(i + 1) % 5]);
            }
        }
    }
}

#[test]
fn softmax_of_classes() {
    for shape in [Shape::from([1]), Shape::from([10]), Shape::from([2, 1000]), Shape::from([64, 1001])] {
        let view = View::row_major(&shape);
        for shift in [0.0, -80.0, 3000.0] {
            // All far from zero: lanes beyond the last class must not count as zeros.
            let x = random(shape.clone(), 1);
            let x = Tensor::new(shape.clone(), x.data().iter().map(|x| 8.0 * x + shift).collect());
            check_softmax(shape.rank() - 1, &x, &view, &view);
        }
    }
}

fn batch_norm() -> BatchNorm {
    BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch }
}

#[test]
fn batch_statistics_in_every_layout_with_an_epilogue() {
    let steps = Epilogue(vec![EpilogueStep::Add, EpilogueStep::Activation(Activation::Relu)]);
    for dims in DIMS {
        let (x, addend) = (random(dims, 1), random(dims, 2));
        let (scale, shift) = (random([dims[1]], 3), random([dims[1]], 4));
        let mut expected = batch_norm().evaluate(&[&x, &scale, &shift]);
        steps.apply(&mut expected, &[&addend]);
        for (i, from) in views(dims).into_iter().enumerate() {
            let [other, to] = [i, 4 - i].map(|i| views(dims).swap_remove(i));
            let steps = vec![FusedStep::Add(other.clone()), FusedStep::Activation(Activation::Relu)];
            let inputs =
                [scatter(&x, &from), scale.data().to_vec(), shift.data().to_vec(), scatter(&addend, &other)];
            let epilogue = FusedEpilogue(steps);
            let kernel = BatchNormKernel { epsilon: 1e-5, x: from, y: to.clone(), epilogue };
            check(&kernel, &inputs, &to, &expected);
        }
    }
}

#[test]
fn batch_statistics_stay_accurate_far_from_zero() {
    let dims = [2, 9, 70, 80];
    let x = Tensor::new(dims, random(dims, 1).data().iter().map(|x| x * 0.5 + 20.0).collect());
    let (scale, shift) = (random([9], 3), random([9], 4));
    let expected = batch_norm().evaluate(&[&x, &scale, &shift]);
    for view in [View::channels_last(dims, [0; 4]), View::planar(dims, [0; 4])] {
        let epilogue = FusedEpilogue::default();
        let kernel = BatchNormKernel { epsilon: 1e-5, x: view.clone(), y: view.clone(), epilogue };
        let inputs = [scatter(&x, &view), scale.data().to_vec(), shift.data().to_vec()];
        check(&kernel, &inputs, &view, &expected);
    }
}

#[test]
fn batch_statistics_of_other_ranks() {
    for shape in [Shape::from([7, 5]), Shape::from([1, 40]), Shape::from([3, 2, 9])] {
        let x = random(shape.clone(), 1);
        let channels = shape.dims()[1];
        let (scale, shift) = (random([channels], 3), random([channels], 4));
        let expected = batch_norm().evaluate(&[&x, &scale, &shift]);
        let view = View::row_major(&shape);
        let epilogue = FusedEpilogue::default();
        let kernel = BatchNormKernel { epsilon: 1e-5, x: view.clone(), y: view.clone(), epilogue };
        check(&kernel, &[x.into_data(), scale.into_data(), shift.into_data()], &view, &expected);
    }
}
