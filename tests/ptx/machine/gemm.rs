//! A whole kernel by hand, a matrix product on tensor cores with two stages of asynchronous copies: it runs right, and
//! whatever is taken from it is noticed.

use crate::emulator::{Access, Argument, Device, Fault, FaultKind, Launch, Module};

const TEXT: &str = include_str!("gemm.ptx");

/// Whole numbers, exact in tf32.
fn matrix(rows: usize, columns: usize, seed: usize) -> Vec<f32> {
    (0..rows * columns).map(|index| ((index * 7 + seed * 3) % 13) as f32 - 6.0).collect()
}

/// The largest difference from the product written out.
fn difference(text: &str, m: usize, n: usize, k: usize) -> Result<f32, Box<Fault>> {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let (a, b) = (matrix(m, k, 1), matrix(n, k, 2));
    let mut device = Device::new();
    let output = device.allocate(4 * m * n);
    let mut pointer = |data: &[f32]| Argument::Pointer {
        buffer: device.floats(data),
        offset: 0,
        bytes: 4 * data.len(),
        access: Access::Read,
    };
    let arguments = [
        pointer(&a),
        pointer(&b),
        Argument::Pointer { buffer: output, offset: 0, bytes: 4 * m * n, access: Access::ReadWrite },
        Argument::Word(m as u32),
        Argument::Word(n as u32),
        Argument::Word(k as u32),
    ];
    let grid = [m.div_ceil(32) as u32, n.div_ceil(8) as u32, 1];
    let launch = Launch {
        kernel: "gemm",
        grid,
        block: [64, 1, 1],
        shared: 0,
        arguments: &arguments,
        max_instructions: 100_000,
    };
    device.launch(&module, &launch)?;
    let c = device.read_floats(output, 0, m * n)?;
    let expected = |row: usize, column: usize| -> f32 {
        (0..k).map(|index| a[row * k + index] * b[column * k + index]).sum()
    };
    let differences = (0..m * n).map(|index| (c[index] - expected(index / n, index % n)).abs());
    Ok(differences.fold(0.0, f32::max))
}

#[test]
fn the_product_is_right_on_odd_shapes() {
    for (m, n, k) in [(1, 1, 4), (32, 8, 8), (33, 9, 12), (49, 13, 20), (64, 16, 32), (100, 5, 44)] {
        assert_eq!(difference(TEXT, m, n, k), Ok(0.0), "{m} × {n} × {k}");
    }
}

/// Every edit of the text that takes a barrier, a wait or a zero-fill from it, or moves a bound or an address by one.
fn mutants() -> Vec<(usize, String, String)> {
    let lines: Vec<&str> = TEXT.lines().collect();
    let mut mutants = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let statement = line.trim();
        let mut edits = Vec::new();
        if ["bar.sync", "cp.async.wait", "cp.async.commit"].iter().any(|start| statement.starts_with(start)) {
            edits.push(String::new());
        }
        if statement.contains("wait_group 1") {
            edits.push(line.replace("wait_group 1", "wait_group 2"));
        }
        if statement.contains("cp.async.cg") {
            let (kept, _) = line.rsplit_once(',').expect("copies have four operands");
            edits.push(format!("{kept};"));
        }
        if statement.starts_with("setp.lt") {
            edits.push(line.replace("setp.lt", "setp.le"));
        }
        if statement.starts_with("ld.shared") || statement.starts_with("@%p2 st.global") {
            edits.push(line.replace(']', "+4]"));
        }
        for edit in edits {
            let mut mutant = lines.clone();
            mutant[index] = &edit;
            mutants.push((index + 1, statement.to_owned(), mutant.join("\n")));
        }
    }
    mutants
}

#[test]
fn every_mutation_is_caught() {
    let mutants = mutants();
    assert!(mutants.len() > 30, "only {} mutants", mutants.len());
    let mut survivors = Vec::new();
    for (line, statement, text) in mutants {
        // Odd extents and even ones, one tile along k and several.
        let shapes = [(33, 9, 28), (31, 6, 20), (32, 8, 4)];
        if shapes.iter().all(|&(m, n, k)| difference(&text, m, n, k) == Ok(0.0)) {
            survivors.push(format!("line {line}: {statement}"));
        }
    }
    // One tile too many adds zeros to the sums.
    let harmless = ["setp.lt.u32 %p4, %kk, %k;"];
    survivors.retain(|survivor| !harmless.iter().any(|harmless| survivor.ends_with(harmless)));
    assert!(survivors.is_empty(), "not caught:\n{}", survivors.join("\n"));
}

#[test]
fn what_each_detector_finds() {
    let with = |statement: &str, other: &str| {
        assert!(TEXT.contains(statement));
        difference(&TEXT.replace(statement, other), 33, 9, 28).unwrap_err().kind
    };
    assert_eq!(with("cp.async.wait_group 1;", ""), FaultKind::NotWaitedFor);
    assert_eq!(with("bar.sync 0;", ""), FaultKind::Race);
    assert_eq!(with("16, %size_a", "16"), FaultKind::OutOfBounds);
}
