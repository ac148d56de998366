//! How near the emitters' matrix tiles come to what the core can do at all.
//!
//! For each instruction set: independent multiply-adds without memory accesses, then tiles of a matrix product of
//! several shapes, on one thread. `cargo bench --bench peak`

use std::time::Instant;

use kiln::codegen::jit::JitKernels;
use kiln::codegen::target::InstructionSet;
use kiln::codegen::vector::{Access, Builder, Inst, Kernel, Reg, Stmt};

fn main() {
    for isa in InstructionSet::ALL.into_iter().filter(|isa| isa.is_available()) {
        let peak = gflops(isa, &multiply_adds(isa));
        println!("{isa}: {peak:.1} GFLOP/s without memory");
        let tiles: &[(usize, usize)] = match isa {
            InstructionSet::Avx512 => &[(14, 2), (12, 2), (8, 3), (28, 1), (6, 4), (7, 2)],
            _ => &[(6, 2), (4, 3), (12, 1), (5, 2), (4, 2)],
        };
        for &(rows, vectors) in tiles {
            for depth in [256, 512] {
                let kernel = matrix_tile(isa, rows, vectors, depth);
                let reached = gflops(isa, &kernel);
                println!(
                    "  {rows:2} x {vectors} vectors, depth {depth}: {reached:.1} = {:.0} %",
                    100.0 * reached / peak
                );
            }
        }
    }
}

const STEPS: usize = 4096;

/// As many independent accumulators as hide the latency.
fn multiply_adds(isa: InstructionSet) -> Kernel {
    let lanes = isa.lanes();
    let accumulators = 12;
    let mut k = Builder::new("peak", lanes);
    let x = k.buffer("x", Access::Read, lanes);
    let y = k.buffer("y", Access::Write, lanes);
    let (a, b) = (k.load(x.clone()), k.load(x));
    let sums: Vec<Reg> = (0..accumulators).map(|_| k.constant(0.0)).collect();
    k.repeat(STEPS, |k, _| {
        for &sum in &sums {
            k.accumulate(sum, a, b);
        }
    });
    for sum in sums {
        k.store(sum, y.clone());
    }
    k.finish()
}

/// `rows` rows of a matrix, each `depth` long, times a packed panel of `vectors` vectors.
fn matrix_tile(isa: InstructionSet, rows: usize, vectors: usize, depth: usize) -> Kernel {
    const UNROLL: usize = 4;
    let lanes = isa.lanes();
    let mut k = Builder::new("tile", lanes);
    let a = k.buffer("a", Access::Read, rows * depth);
    let b = k.buffer("b", Access::Read, depth * vectors * lanes);
    let c = k.buffer("c", Access::Write, rows * vectors * lanes);
    let sums: Vec<Reg> = (0..rows * vectors).map(|_| k.constant(0.0)).collect();
    k.repeat(depth / UNROLL, |k, step| {
        for inner in 0..UNROLL {
            let b = b.along(step, UNROLL * vectors * lanes).plus(inner * vectors * lanes);
            let b: Vec<Reg> = (0..vectors).map(|vector| k.load(b.plus(vector * lanes))).collect();
            for (row, sums) in sums.chunks(vectors).enumerate() {
                let a = k.broadcast(a.along(step, UNROLL).plus(row * depth + inner));
                for (&sum, &b) in sums.iter().zip(&b) {
                    k.accumulate(sum, a, b);
                }
            }
        }
    });
    for (number, sum) in sums.into_iter().enumerate() {
        k.store(sum, c.plus(number * lanes));
    }
    k.finish()
}

/// GFLOP/s of the best of many short runs; a multiply-add counts as two.
fn gflops(isa: InstructionSet, kernel: &Kernel) -> f64 {
    let code = JitKernels::compile(std::slice::from_ref(kernel), isa, 1).expect("a valid kernel");
    let function = code.function(0);
    let mut buffers: Vec<Vec<f32>> = kernel.buffers.iter().map(|buffer| vec![0.5; buffer.elements]).collect();
    let table: Vec<*mut f32> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
    let flop = 2 * kernel.lanes * multiply_adds_in(&kernel.body, kernel);
    let calls = 2_000_000 / (flop / kernel.lanes) + 1;
    let seconds = (0..200).map(|_| {
        let start = Instant::now();
        for _ in 0..calls {
            // SAFETY: the kernel was verified, and the buffers are as long as it declares.
            unsafe { function(table.as_ptr(), 0, 0, 0) };
        }
        start.elapsed().as_secs_f64()
    });
    (calls * flop) as f64 / seconds.fold(f64::INFINITY, f64::min) / 1e9
}

fn multiply_adds_in(body: &[Stmt], kernel: &Kernel) -> usize {
    let count = |stmt: &Stmt| match stmt {
        Stmt::Inst(inst) => usize::from(matches!(inst, Inst::Fma { .. })),
        Stmt::Loop { index, body } => kernel.extents[index.0] * multiply_adds_in(body, kernel),
        Stmt::If { .. } => 0,
    };
    body.iter().map(count).sum()
}
