//! Element-wise kernels, copies and fills.

use kiln::kernels::{ElementFunction, Elementwise, Family, Fill, FusedEpilogue, FusedStep, View};
use kiln::ops::{Activation, Binary, BinaryFunction, Operator, ScaleShift, Unary, UnaryFunction};
use kiln::tensor::{Shape, Tensor};

use crate::harness::{check, random, scatter, views};

const DIMS: [[usize; 4]; 6] =
    [[1, 1, 1, 1], [1, 3, 5, 7], [2, 16, 3, 3], [2, 21, 4, 1], [1, 64, 1, 1], [3, 2, 1, 19]];

fn elementwise(function: ElementFunction, inputs: Vec<View>, output: View) -> Elementwise {
    Elementwise { function, inputs, output, epilogue: FusedEpilogue::default() }
}

#[test]
fn copies_convert_between_any_two_layouts() {
    for dims in DIMS {
        let x = random(dims, 1);
        for from in views(dims) {
            for to in views(dims) {
                let copy = elementwise(ElementFunction::Copy, vec![from.clone()], to.clone());
                check(&copy, &[scatter(&x, &from)], &to, &x);
            }
        }
    }
}

#[test]
fn a_copy_through_permuted_strides_is_a_transpose() {
    let x = random([3, 4, 5, 6, 2], 1);
    let view = View::row_major(x.shape());
    let permutation = [4, 2, 0, 3, 1];
    let expected = kiln::ops::Transpose { permutation: permutation.to_vec() }.evaluate(&[&x]);
    let from = View {
        dims: expected.shape().dims().to_vec(),
        strides: permutation.map(|axis| view.strides[axis]).to_vec(),
        offset: 0,
    };
    let to = View::row_major(expected.shape());
    let copy = elementwise(ElementFunction::Copy, vec![from], to.clone());
    check(&copy, &[x.into_data()], &to, &expected);
}

#[test]
fn arrays_of_any_rank() {
    for shape in [Shape::default(), Shape::from([37]), Shape::from([3, 11]), Shape::from([2, 3, 2, 2, 5])] {
        let x = random(shape.clone(), 2);
        let expected = Unary { function: UnaryFunction::Neg }.evaluate(&[&x]);
        let view = View::row_major(&shape);
        let negate =
            elementwise(ElementFunction::Unary(UnaryFunction::Neg), vec![view.clone()], view.clone());
        check(&negate, &[x.into_data()], &view, &expected);
    }
}

#[test]
fn large_arrays_are_divided_over_the_grid() {
    for (dims, axes) in
        [([1, 64, 41, 43], 1), ([2, 3, 131, 97], 1), ([1, 1, 1, 100_003], 1), ([2, 40, 90, 11], 2)]
    {
        let x = random(dims, 1);
        let expected = Activation::Relu.evaluate(&[&x]);
        for from in views(dims) {
            let to = View::channels_last(dims, [axes - 1; 4]);
            let relu =
                elementwise(ElementFunction::Activation(Activation::Relu), vec![from.clone()], to.clone());
            assert!(relu.build(8).grid().iter().product::<usize>() > 1, "{}", relu.name());
            check(&relu, &[scatter(&x, &from)], &to, &expected);
        }
    }
}

#[test]
fn unary_functions_and_activations() {
    let dims = [2, 5, 3, 7];
    let view = View::channels_last(dims, [0; 4]);
    let run = |function, x: &Tensor, expected: Tensor| {
        let kernel = elementwise(function, vec![view.clone()], view.clone());
        check(&kernel, &[scatter(x, &view)], &view, &expected);
    };
    let signed = random(dims, 3);
    let positive = Tensor::new(dims, signed.data().iter().map(|x| x.abs() + 1e-3).collect());
    for function in [UnaryFunction::Sqrt, UnaryFunction::Rsqrt, UnaryFunction::Exp] {
        run(ElementFunction::Unary(function), &positive, Unary { function }.evaluate(&[&positive]));
    }
    for function in [UnaryFunction::Neg, UnaryFunction::Abs] {
        run(ElementFunction::Unary(function), &signed, Unary { function }.evaluate(&[&signed]));
    }
    let wide = Tensor::new(dims, signed.data().iter().map(|x| x * 5.0).collect());
    for activation in [
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Clip { min: -0.5, max: 0.75 },
        Activation::Sigmoid,
        Activation::Silu,
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::HardSwish,
        Activation::Tanh,
    ] {
        run(ElementFunction::Activation(activation), &wide, activation.evaluate(&[&wide]));
    }
}

/// `tensor` repeated to `dims`, and the view of its own elements that repeats them.
fn broadcast(shape: [usize; 4], dims: [usize; 4], view: View) -> View {
    let strides = (0..4).map(|axis| if shape[axis] == 1 { 0 } else { view.strides[axis] }).collect();
    View { dims: dims.to_vec(), strides, offset: view.offset }
}

#[test]
fn binary_functions_broadcast() {
    let dims = [2, 19, 4, 6];
    let functions = [
        BinaryFunction::Add,
        BinaryFunction::Sub,
        BinaryFunction::Mul,
        BinaryFunction::Div,
        BinaryFunction::Max,
        BinaryFunction::Min,
    ];
    for function in functions {
        for shape in [dims, [1, 19, 1, 1], [2, 19, 1, 1], [1, 1, 4, 6], [1, 1, 1, 1], [2, 1, 4, 1]] {
            let a = random(dims, 1);
            let b = Tensor::new(shape, random(shape, 2).data().iter().map(|x| x + 3.0).collect());
            let expected = Binary { function }.evaluate(&[&a, &b]);
            for (view, output) in views(dims).into_iter().zip(views(dims).into_iter().rev()) {
                let own = View::channels_last(shape, [0; 4]);
                let inputs = vec![view.clone(), broadcast(shape, dims, own.clone())];
                let kernel = elementwise(ElementFunction::Binary(function), inputs, output.clone());
                check(&kernel, &[scatter(&a, &view), scatter(&b, &own)], &output, &expected);
            }
        }
    }
}

#[test]
fn scale_shift_and_an_epilogue_in_any_layout() {
    for dims in DIMS {
        let x = random(dims, 1);
        let (scale, shift) = (random([dims[1]], 2), random([dims[1]], 3));
        let (addend, factor) = (random(dims, 4), random(dims, 5));
        let expected = ScaleShift {}.evaluate(&[&x, &scale, &shift]);
        let mut expected = expected;
        let epilogue = kiln::ops::Epilogue(vec![
            kiln::ops::EpilogueStep::Add,
            kiln::ops::EpilogueStep::ScaleShift,
            kiln::ops::EpilogueStep::Mul,
            kiln::ops::EpilogueStep::Activation(Activation::Relu),
        ]);
        epilogue.apply(&mut expected, &[&addend, &scale, &shift, &factor]);
        let per_channel = View::row_major(scale.shape()).along_axis_1(4).broadcast_to(x.shape());
        for (i, output) in views(dims).into_iter().enumerate() {
            let from = views(dims)[(i + 2) % 5].clone();
            let [add, mul] = [i, i + 1].map(|i| views(dims)[i % 5].clone());
            let kernel = Elementwise {
                function: ElementFunction::ScaleShift,
                inputs: vec![from.clone(), per_channel.clone(), per_channel.clone()],
                output: output.clone(),
                epilogue: FusedEpilogue(vec![
                    FusedStep::Add(add.clone()),
                    FusedStep::ScaleShift { channels: dims[1] },
                    FusedStep::Mul(mul.clone()),
                    FusedStep::Activation(Activation::Relu),
                ]),
            };
            let inputs = [
                scatter(&x, &from),
                scale.data().to_vec(),
                shift.data().to_vec(),
                scatter(&addend, &add),
                scale.data().to_vec(),
                shift.data().to_vec(),
                scatter(&factor, &mul),
            ];
            check(&kernel, &inputs, &output, &expected);
        }
    }
}

#[test]
fn fills_touch_nothing_else() {
    for dims in DIMS.into_iter().chain([[1, 40, 50, 60]]) {
        for output in views(dims) {
            let fill = Fill { output: output.clone(), value: 0.25 };
            check(&fill, &[], &output, &Tensor::full(dims, 0.25));
        }
    }
}

#[test]
fn names_tell_layouts_and_parameters_apart() {
    let dims = [2, 3, 4, 5];
    let mut names: Vec<String> = Vec::new();
    for view in views(dims) {
        for activation in [
            Activation::Relu,
            Activation::Clip { min: 0.0, max: 1.0 },
            Activation::Clip { min: 0.0, max: 2.0 },
        ] {
            for output in views(dims) {
                let function = ElementFunction::Activation(activation);
                names.push(elementwise(function, vec![view.clone()], output).name());
            }
            let epilogue =
                FusedEpilogue(vec![FusedStep::Add(view.clone()), FusedStep::Activation(activation)]);
            let output = View::channels_last(dims, [0; 4]);
            let inputs = vec![output.clone()];
            names.push(Elementwise { function: ElementFunction::Copy, inputs, output, epilogue }.name());
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{names:#?}");
}
