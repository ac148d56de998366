//! Measuring the roofs.

use std::time::{Duration, Instant};

use super::topology::{Cache, caches, cpu_name};
use super::{Level, Machine};
use crate::codegen::target::InstructionSet;
use crate::codegen::vector::{Access, Binary, Builder, Kernel, Reg};
use crate::runtime::{CompileError, KernelRunner};

/// How long each figure is measured. The best of many short runs counts: whatever else runs on the machine can only
/// slow them down.
const TIME: Duration = Duration::from_millis(60);

/// Steps of the multiply-add kernel's loop: some 50 µs.
const STEPS: usize = 16 * 1024;

/// The most that is read to measure memory, in bytes.
const MOST_MEMORY: usize = 256 << 20;

/// Measures this machine, which takes some tenths of a second.
///
/// # Errors
/// Where the CPU lacks the instruction set or the system the memory to measure.
pub fn measure(isa: InstructionSet, threads: usize) -> Result<Machine, CompileError> {
    let caches = caches();
    let capacity = |cache: &Cache| cache.bytes * threads.div_ceil(cache.shared_by);
    let mut levels = Vec::new();
    let mut nearer = 0;
    for cache in &caches {
        // Half of the cache, but beyond what nearer ones hold; a cache that is hardly larger is no level of its own.
        let bytes = capacity(cache);
        let read = (bytes / 2).min(4 * nearer.max(bytes / 8));
        if read > nearer {
            let gb_per_s = bandwidth(isa, threads, read)?;
            levels.push(Level { name: format!("L{}", cache.level), bytes: Some(bytes as u64), gb_per_s });
            nearer = bytes;
        }
    }
    let gb_per_s = bandwidth(isa, threads, (4 * nearer).clamp(MOST_MEMORY / 8, MOST_MEMORY))?;
    levels.push(Level { name: "memory".to_owned(), bytes: None, gb_per_s });
    Ok(Machine {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpu: cpu_name(),
        isa,
        threads,
        peak_gflops: peak_gflops(isa, threads)?,
        levels,
    })
}

/// The seconds of the fastest run.
fn best(runner: &mut KernelRunner) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < TIME {
        best = best.min(runner.time(1));
    }
    best
}

fn peak_gflops(isa: InstructionSet, threads: usize) -> Result<f64, CompileError> {
    let accumulators = isa.accumulators();
    let kernel = multiply_adds(isa.lanes(), accumulators, threads);
    let mut runner = KernelRunner::new(kernel, isa, threads)?;
    let operations = 2 * threads * STEPS * accumulators * isa.lanes();
    Ok(operations as f64 / best(&mut runner) / 1e9)
}

/// Multiply-adds on as many independent sums as a tile has, without memory accesses. Each point is one thread's.
fn multiply_adds(lanes: usize, accumulators: usize, points: usize) -> Kernel {
    let mut k = Builder::new("multiply_adds", lanes);
    let x = k.buffer("x", Access::Read, lanes);
    let y = k.buffer("y", Access::Write, points * accumulators * lanes);
    let point = k.grid(0, points);
    let (a, b) = (k.load(x.clone()), k.load(x));
    let sums: Vec<Reg> = (0..accumulators).map(|_| k.constant(0.0)).collect();
    k.repeat(STEPS, |k, _| {
        for &sum in &sums {
            k.accumulate(sum, a, b);
        }
    });
    for (number, sum) in sums.into_iter().enumerate() {
        k.store(sum, y.along(point, accumulators * lanes).plus(number * lanes));
    }
    k.finish()
}

/// GB/s that `threads` read from `bytes`, each from its own part.
fn bandwidth(isa: InstructionSet, threads: usize, bytes: usize) -> Result<f64, CompileError> {
    let lanes = isa.lanes();
    let round = STREAMS * lanes;
    let rounds = (bytes / size_of::<f32>() / threads / round).max(1);
    // Passes over a cache's worth until waking the threads does not count.
    let passes = (LEAST_READ / (threads * rounds * round * size_of::<f32>())).max(1);
    let mut runner = KernelRunner::new(reads(lanes, threads, rounds, passes), isa, threads)?;
    // Memory that was never written is one page of zeros over and over.
    runner.buffer(0).fill(1.0);
    runner.run();
    let read = threads * passes * rounds * round * size_of::<f32>();
    Ok(read as f64 / best(&mut runner) / 1e9)
}

/// Vectors that are read in each round of a loop.
const STREAMS: usize = 8;

/// The fewest bytes that one run reads.
const LEAST_READ: usize = 4 << 20;

/// `passes` over each point's part of a buffer, `rounds` rounds of [`STREAMS`] vectors each.
fn reads(lanes: usize, points: usize, rounds: usize, passes: usize) -> Kernel {
    let round = STREAMS * lanes;
    let mut k = Builder::new("reads", lanes);
    let x = k.buffer("x", Access::Read, points * rounds * round);
    let y = k.buffer("y", Access::Write, points * round);
    let point = k.grid(0, points);
    let sums: Vec<Reg> = (0..STREAMS).map(|_| k.constant(0.0)).collect();
    k.repeat(passes, |k, _| {
        k.repeat(rounds, |k, step| {
            let x = x.along(point, rounds * round).along(step, round);
            for (number, &sum) in sums.iter().enumerate() {
                let value = k.load(x.plus(number * lanes));
                k.combine(Binary::Add, sum, value);
            }
        });
    });
    for (number, sum) in sums.into_iter().enumerate() {
        k.store(sum, y.along(point, round).plus(number * lanes));
    }
    k.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::vector::{interpret, verify};

    #[test]
    fn the_kernels_are_valid_and_do_what_is_counted() {
        let kernel = reads(4, 2, 3, 5);
        verify(&kernel).unwrap();
        let mut buffers: Vec<Vec<f32>> = kernel.buffers.iter().map(|b| vec![1.0; b.elements]).collect();
        interpret(&kernel, &mut buffers);
        // Each sum took one element of each round of each pass.
        assert!(buffers[1].iter().all(|&sum| sum == 15.0), "{:?}", buffers[1]);
        verify(&multiply_adds(8, 12, 2)).unwrap();
    }

    #[test]
    fn a_machine_is_measured() {
        let machine = measure(InstructionSet::Baseline, 1).unwrap();
        assert!(machine.is_sane(), "{machine:?}");
    }
}
