//! The machine code of small kernels, as text: checks the encodings where the machine lacks an instruction set.

use std::path::Path;

use kiln::codegen::vector::{Access, Binary, Builder, Kernel, Unary, verify};
use kiln::codegen::x64::{Width, disassemble, emit};

/// Compares with `tests/listings/NAME.txt`, or writes it where `KILN_BLESS` is set.
fn check(name: &str, build: impl Fn(Builder) -> Kernel) {
    let mut text = String::new();
    for width in [Width::Avx2, Width::Avx512] {
        let kernel = build(Builder::new(name, width.lanes()));
        verify(&kernel).unwrap_or_else(|error| panic!("{error}"));
        let code = emit(&kernel, width).unwrap_or_else(|error| panic!("{error}"));
        text += &format!("{kernel}\n{width:?}:\n{}\n", disassemble(&code));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/listings").join(format!("{name}.txt"));
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the folder can be made");
        std::fs::write(&path, &text).expect("the listing can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{} differs (KILN_BLESS=1 accepts):\n{text}", path.display());
}

/// Four rows by two vectors of a matrix product, with bias and ReLU.
#[test]
fn matrix_tile() {
    check("matrix_tile", |mut k| {
        let (rows, depth, lanes) = (4, 64, k.lanes());
        let a = k.buffer("a", Access::Read, rows * depth);
        let b = k.buffer("b", Access::Read, 2 * depth * 2 * lanes);
        let bias = k.buffer("bias", Access::Read, 2 * 2 * lanes);
        let c = k.buffer("c", Access::Write, 2 * rows * 2 * lanes);
        let panel = k.grid(0, 2);
        let tile: Vec<_> =
            (0..rows * 2).map(|acc| k.load(bias.along(panel, 2 * lanes).plus(acc % 2 * lanes))).collect();
        k.repeat(depth, |k, step| {
            let b = b.along(panel, depth * 2 * lanes).along(step, 2 * lanes);
            let b = [k.load(b.clone()), k.load(b.plus(lanes))];
            for (row, accs) in tile.chunks(2).enumerate() {
                let a = k.broadcast(a.along(step, 1usize).plus(row * depth));
                k.accumulate(accs[0], a, b[0]);
                k.accumulate(accs[1], a, b[1]);
            }
        });
        let zero = k.constant(0.0);
        for (number, acc) in tile.into_iter().enumerate() {
            let value = k.max(acc, zero);
            k.store(value, c.along(panel, rows * 2 * lanes).plus(number * lanes));
        }
        k.finish()
    });
}

/// Vectors with a rest: partial loads and stores.
#[test]
fn partial_vectors() {
    check("partial_vectors", |mut k| {
        let elements = 3 * k.lanes() + k.lanes() - 1;
        let x = k.buffer("x", Access::Read, elements);
        let y = k.buffer("y", Access::Read, elements);
        let sum = k.buffer("sum", Access::Write, elements);
        k.vectors(elements, |k, step| {
            let a = k.load_lanes(step.at(&x), step.lanes);
            let b = k.load_lanes(step.at(&y), step.lanes);
            let value = k.add(a, b);
            k.store_lanes(value, step.at(&sum), step.lanes);
        });
        k.finish()
    });
}

/// A branch on a grid coordinate and on a loop's index.
#[test]
fn branches() {
    check("branches", |mut k| {
        let lanes = k.lanes();
        let x = k.buffer("x", Access::Read, 40 * lanes);
        let y = k.buffer("y", Access::Write, 40 * lanes);
        let block = k.grid(1, 4);
        k.repeat(10, |k, index| {
            let at =
                |base: &kiln::codegen::vector::Address| base.along(block, 10 * lanes).along(index, lanes);
            let value = k.load(at(&x));
            k.branch(
                block,
                2,
                |k| k.store(value, at(&y)),
                |k| {
                    let one = k.constant(1.0);
                    k.branch(
                        index,
                        7,
                        |k| {
                            let value = k.sub(value, one);
                            k.store(value, at(&y));
                        },
                        |k| {
                            let value = k.div(one, value);
                            k.store(value, at(&y));
                        },
                    );
                },
            );
        });
        k.finish()
    });
}

/// Every unary function, a selection and a reduction.
#[test]
fn functions() {
    check("functions", |mut k| {
        let lanes = k.lanes();
        let x = k.buffer("x", Access::Read, lanes);
        let y = k.buffer("y", Access::Write, 9 * lanes);
        let mut value = k.load(x);
        let zero = k.constant(0.0);
        let functions = [
            Unary::Neg,
            Unary::Abs,
            Unary::Sqrt,
            Unary::Round,
            Unary::Exp2,
            Unary::Exponent,
            Unary::Mantissa,
        ];
        for (number, function) in functions.into_iter().enumerate() {
            value = k.unary(function, value);
            k.store(value, y.plus(number * lanes));
        }
        let positive = k.select(value, zero, value, zero);
        k.store(positive, y.plus(7 * lanes));
        let all = k.reduce(Binary::Add, positive);
        k.store(all, y.plus(8 * lanes));
        k.finish()
    });
}
