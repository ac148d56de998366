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

/// Each operation on two values that have other uses, and on one from memory; near and far, and between lines.
#[test]
fn arithmetic() {
    check("arithmetic", |mut k| {
        let lanes = k.lanes();
        let x = k.buffer("x", Access::Read, 300 * lanes);
        let y = k.buffer("y", Access::Write, 40 * lanes);
        let operations = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min];
        let [a, b, c] = [0, 1, 2].map(|vector| k.load(x.plus(vector * lanes)));
        let mut results = Vec::new();
        for (number, op) in operations.into_iter().enumerate() {
            let both = k.binary(op, a, b);
            let elsewhere = k.load(x.plus([3 * lanes, 3 * lanes + 5, 200 * lanes][number % 3]));
            results.push(k.binary(op, both, elsewhere));
        }
        // Multiply-adds that overwrite the sum, a factor, or neither; with each operand from memory.
        k.accumulate(c, a, b);
        for (number, from) in [0, 1, 2].into_iter().cycle().take(6).enumerate() {
            let at = x.plus(20 * lanes + number);
            let memory = if number < 3 { k.load(at) } else { k.broadcast(at) };
            let mut operands = [a, b, c];
            operands[from] = memory;
            let [a, b, c] = operands;
            results.push(k.fma(a, b, c));
        }
        let product = k.fma(a, b, c);
        let factor = k.binary(Binary::Add, a, b);
        results.push(k.fma(factor, product, c));
        let factor = k.binary(Binary::Sub, a, b);
        results.push(k.fma(b, factor, c));
        let factor = k.binary(Binary::Mul, a, b);
        let memory = k.load(x.plus(30 * lanes));
        results.push(k.fma(factor, memory, c));
        for (number, result) in results.into_iter().enumerate() {
            k.store(result, y.plus(number * lanes));
        }
        for (number, value) in [a, b, c, product].into_iter().enumerate() {
            k.store(value, y.plus((20 + number) * lanes));
        }
        k.finish()
    });
}

/// Each way into and out of registers: whole vectors, each number of lanes, halves, single elements, prefetches.
#[test]
fn movement() {
    check("movement", |mut k| {
        let lanes = k.lanes();
        let x = k.buffer("x", Access::Read, 300 * lanes);
        let y = k.buffer("y", Access::Write, 40 * lanes);
        k.prefetch(x.plus(64 * lanes));
        for count in 1..=lanes {
            let value = k.load_lanes(x.plus(count), count);
            k.store_lanes(value, y.plus(count * lanes), count);
        }
        let halves = k.load_half(x.plus(3 * lanes / 2));
        let element = k.broadcast(x.plus(7usize));
        let copy = k.unary(Unary::Copy, halves);
        k.assign(halves, element);
        for (number, value) in [halves, element, copy].into_iter().enumerate() {
            k.store(value, y.plus((20 + number) * lanes));
        }
        k.finish()
    });
}

/// Reductions by each operation, and a choice between values from memory.
#[test]
fn reductions() {
    check("reductions", |mut k| {
        let lanes = k.lanes();
        let x = k.buffer("x", Access::Read, 4 * lanes);
        let y = k.buffer("y", Access::Write, 4 * lanes);
        let [a, b] = [0, 1].map(|vector| k.load(x.plus(vector * lanes)));
        for (number, op) in [Binary::Add, Binary::Mul, Binary::Max, Binary::Min].into_iter().enumerate() {
            let all = k.reduce(op, a);
            let half = k.constant(0.5);
            let chosen = k.select(all, half, b, all);
            k.store(chosen, y.plus(number * lanes));
        }
        k.finish()
    });
}

/// A tile that takes the upper registers too, each as source and target, and one more value than registers.
#[test]
fn many_registers() {
    check("many_registers", |mut k| {
        let lanes = k.lanes();
        let count = if lanes == 16 { 33 } else { 17 };
        let x = k.buffer("x", Access::Read, 2 * lanes);
        let y = k.buffer("y", Access::Write, count * lanes);
        let values: Vec<_> = (0..count).map(|number| k.broadcast(x.plus(number % lanes))).collect();
        for pair in values.windows(2) {
            k.accumulate(pair[1], pair[0], pair[0]);
        }
        for (number, value) in values.into_iter().enumerate() {
            k.store(value, y.plus(number * lanes));
        }
        k.finish()
    });
}

/// The listings show every vector instruction that the emitter names, in the code of its width: none is encoded on
/// machines alone that have it.
#[test]
fn every_vector_instruction_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root.join(folder)).expect("the folder is there");
        entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).expect("text")).collect()
    };
    let mut listed = [String::new(), String::new()];
    for listing in texts("tests/listings") {
        let (_, code) = listing.split_once("\nAvx2:\n").expect("a listing has code for both widths");
        let (narrow, wide) = code.split_once("\nAvx512:\n").unwrap_or_else(|| panic!("{code}"));
        // The kernel's own text is repeated before the wide code; it has no mnemonics.
        listed[0] += narrow;
        listed[1] += wide;
    }
    let mut checked = 0;
    for source in texts("src/codegen/x64") {
        for name in source.split("Code::").skip(1) {
            let (listed, name) = match (name.strip_prefix("VEX_"), name.strip_prefix("EVEX_")) {
                // Moves to mask registers are AVX-512's, in the older encoding.
                (Some(name), _) if name.starts_with('K') => (&listed[1], name),
                (Some(name), _) => (&listed[0], name),
                (_, Some(name)) => (&listed[1], name),
                _ => continue,
            };
            let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
            let mnemonic = name[..end].to_lowercase();
            let is_listed = listed.lines().any(|line| {
                let found = line.split_whitespace().next().unwrap_or_default();
                // Comparisons are shown with their predicate: vcmpgt_oqps for vcmpps.
                found == mnemonic || mnemonic == "vcmpps" && found.starts_with("vcmp")
            });
            assert!(is_listed, "no listing shows {mnemonic}");
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} instructions were found");
}
