//! Pooling, over windows and over whole images.

use kiln::kernels::{FusedEpilogue, FusedStep, GlobalPoolKernel, PoolKernel, View};
use kiln::ops::{
    Activation, Epilogue, EpilogueStep, GlobalPool, GlobalReduce, Operator, Pool, PoolKind, Window,
};
use kiln::tensor::Shape;

use crate::harness::{check, random, scatter, views};

const KINDS: [PoolKind; 3] = [
    PoolKind::Max,
    PoolKind::Average { count_include_pad: false },
    PoolKind::Average { count_include_pad: true },
];

fn pool(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 4]) -> Pool {
    let window = Window { stride, padding, dilation: [1, 1] };
    Pool { kind: PoolKind::Max, kernel, window, ceil_mode: false }
}

fn check_pool(pool: Pool, dims: [usize; 4], from: &View, to: impl Fn([usize; 4]) -> View) {
    let x = random(dims, 1);
    let expected = pool.evaluate(&[&x]);
    let y = to(expected.shape().dims().try_into().unwrap());
    let kernel = PoolKernel { pool, x: from.clone(), y: y.clone(), epilogue: FusedEpilogue::default() };
    check(&kernel, &[scatter(&x, from)], &y, &expected);
}

#[test]
fn windows_of_every_kind() {
    let dilated = |mut pool: Pool, dilation| {
        pool.window.dilation = dilation;
        pool
    };
    let cases = [
        (pool([3, 3], [2, 2], [1, 1, 1, 1]), [1, 19, 12, 12]),
        (pool([3, 3], [2, 2], [0, 0, 0, 0]), [2, 8, 13, 13]),
        (pool([3, 3], [1, 1], [1, 1, 1, 1]), [1, 16, 7, 9]),
        (pool([2, 2], [2, 2], [0, 0, 0, 0]), [1, 3, 8, 6]),
        (pool([2, 2], [3, 3], [0, 0, 0, 0]), [1, 5, 8, 9]),
        (pool([1, 1], [2, 2], [0, 0, 0, 0]), [1, 5, 7, 7]),
        (pool([3, 2], [1, 3], [2, 1, 0, 1]), [2, 4, 5, 7]),
        (pool([4, 5], [2, 1], [3, 4, 1, 0]), [1, 7, 4, 5]),
        (pool([5, 5], [1, 1], [2, 2, 2, 2]), [1, 6, 6, 6]),
        (pool([13, 9], [1, 1], [6, 4, 6, 4]), [2, 5, 13, 13]),
        (pool([7, 7], [1, 1], [0, 0, 0, 0]), [1, 33, 7, 7]),
        (pool([9, 9], [1, 1], [8, 8, 8, 8]), [1, 2, 1, 1]),
        (dilated(pool([3, 3], [1, 1], [2, 2, 2, 2]), [2, 2]), [1, 9, 8, 8]),
        (dilated(pool([3, 2], [2, 1], [1, 1, 2, 0]), [2, 3]), [1, 3, 9, 8]),
        (dilated(pool([12, 12], [2, 1], [3, 2, 9, 11]), [2, 1]), [1, 3, 20, 14]),
    ];
    for (pool, dims) in cases {
        for kind in KINDS {
            for ceil_mode in [false, true] {
                let pool = Pool { kind, ceil_mode, ..pool };
                check_pool(pool, dims, &View::channels_last(dims, [0; 4]), |dims| {
                    View::channels_last(dims, [0; 4])
                });
            }
        }
    }
}

#[test]
fn windows_in_every_layout() {
    let dims = [2, 11, 8, 9];
    for kind in KINDS {
        for window in [pool([3, 3], [2, 2], [1, 1, 1, 1]), pool([6, 6], [1, 1], [2, 3, 4, 5])] {
            for (i, from) in views(dims).iter().enumerate() {
                let pool = Pool { kind, ..window };
                check_pool(pool, dims, from, |dims| views(dims).swap_remove(4 - i));
                check_pool(pool, dims, from, |dims| views(dims).swap_remove(i));
            }
        }
    }
}

#[test]
fn large_images_are_divided_by_rows() {
    let dims = [2, 24, 40, 40];
    for from in [View::channels_last(dims, [1; 4]), View::planar(dims, [0; 4])] {
        check_pool(pool([3, 3], [2, 2], [1, 1, 0, 0]), dims, &from, |dims| View::channels_last(dims, [1; 4]));
        check_pool(pool([9, 9], [1, 1], [4, 4, 4, 4]), dims, &from, |dims| View::channels_last(dims, [0; 4]));
    }
}

#[test]
fn windows_and_images_with_an_epilogue() {
    let dims = [2, 13, 6, 6];
    let steps = Epilogue(vec![
        EpilogueStep::ScaleShift,
        EpilogueStep::Add,
        EpilogueStep::Activation(Activation::Relu),
    ]);
    let x = random(dims, 1);
    let (scale, shift) = (random([13], 2), random([13], 3));
    let fused = |addend: &View| {
        FusedEpilogue(vec![
            FusedStep::ScaleShift { channels: 13 },
            FusedStep::Add(addend.clone()),
            FusedStep::Activation(Activation::Relu),
        ])
    };
    for from in views(dims) {
        for op in [
            Box::new(pool([3, 3], [1, 2], [1, 1, 1, 1])) as Box<dyn Operator>,
            Box::new(GlobalPool { reduce: GlobalReduce::Average }),
        ] {
            let mut expected = op.evaluate(&[&x]);
            let output: [usize; 4] = expected.shape().dims().try_into().unwrap();
            let addend = random(output, 4);
            steps.apply(&mut expected, &[&scale, &shift, &addend]);
            for (y, other) in views(output).into_iter().zip(views(output).into_iter().rev()) {
                let inputs = [
                    scatter(&x, &from),
                    scale.data().to_vec(),
                    shift.data().to_vec(),
                    scatter(&addend, &other),
                ];
                let (x, epilogue) = (from.clone(), fused(&other));
                if op.name() == "pool" {
                    let pool = pool([3, 3], [1, 2], [1, 1, 1, 1]);
                    check(&PoolKernel { pool, x, y: y.clone(), epilogue }, &inputs, &y, &expected);
                } else {
                    let pool = GlobalPool { reduce: GlobalReduce::Average };
                    check(&GlobalPoolKernel { pool, x, y: y.clone(), epilogue }, &inputs, &y, &expected);
                }
            }
        }
    }
}

#[test]
fn whole_images() {
    let cases = [
        [1, 1, 1, 1],
        [2, 19, 7, 7],
        [1, 200, 3, 5],
        [1, 3, 70, 90],
        [3, 8, 1, 130],
        [1, 5, 9, 2],
        [1, 2, 1, 67],
    ];
    for dims in cases {
        let x = random(dims, 1);
        for reduce in [GlobalReduce::Average, GlobalReduce::Max] {
            let pool = GlobalPool { reduce };
            let expected = pool.evaluate(&[&x]);
            let y = View::row_major(&Shape::from([dims[0], dims[1], 1, 1]));
            for from in views(dims) {
                let kernel = GlobalPoolKernel {
                    pool,
                    x: from.clone(),
                    y: y.clone(),
                    epilogue: FusedEpilogue::default(),
                };
                check(&kernel, &[scatter(&x, &from)], &y, &expected);
            }
        }
    }
}

#[test]
fn a_mean_stays_accurate_over_a_large_image() {
    let dims = [1, 3, 300, 310];
    let x = kiln::tensor::Tensor::new(dims, random(dims, 1).data().iter().map(|x| x + 100.0).collect());
    let pool = GlobalPool { reduce: GlobalReduce::Average };
    let expected = pool.evaluate(&[&x]);
    let y = View::row_major(expected.shape());
    for from in [View::channels_last(dims, [0; 4]), View::planar(dims, [0; 4])] {
        let kernel =
            GlobalPoolKernel { pool, x: from.clone(), y: y.clone(), epilogue: FusedEpilogue::default() };
        check(&kernel, &[scatter(&x, &from)], &y, &expected);
    }
}
