//! `kiln bench` and `kiln profile` on a GPU; times are the device's own.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use super::engine::difference;
use super::failure::Failure;
use super::layers::{median, medians, name};
use super::options::{LoadedModel, LoadedWeights, ModelArgs, WeightArgs};
use super::profile::{gb_per_s, gflops};
use super::text::{bytes, ms, table, time};
use crate::kernels::gpu::GpuFamily;
use crate::runtime::cuda::{CudaExecutable, Device};
use crate::runtime::{CompileOptions, gpu};
use crate::tensor::Tensor;
use crate::weights::random_inputs;

/// What is measured, and for how long.
pub struct Request<'a> {
    pub model: &'a ModelArgs,
    pub weights: &'a WeightArgs,
    pub seconds: Duration,
}

/// The fewest runs that a median is taken over.
const FEWEST_RUNS: usize = 10;

/// The most arenas that take turns.
const MOST_COPIES: usize = 16;

/// How many arenas take turns so that they fill a cache of `l2_bytes` twice.
fn copies(arena_bytes: usize, l2_bytes: usize) -> usize {
    (2 * l2_bytes).div_ceil(arena_bytes.max(1)).clamp(1, MOST_COPIES)
}

/// What every measurement begins with.
struct Prepared {
    device: Device,
    model: LoadedModel,
    weights: LoadedWeights,
    inputs: Vec<Tensor>,
}

impl Request<'_> {
    /// # Errors
    /// Where there is no device, before anything is read.
    fn prepare(&self) -> Result<Prepared, Failure> {
        let device = Device::open()?;
        let model = self.model.load()?;
        let weights = self.weights.load(&model, true)?;
        let inputs = random_inputs(&model.graph, 0);
        Ok(Prepared { device, model, weights, inputs })
    }
}

/// A compiled model on the device, with the answer of its first run.
struct Loaded {
    executable: CudaExecutable,
    answer: Vec<Tensor>,
    /// How many arenas take turns.
    copies: usize,
    compile_seconds: f64,
}

impl Prepared {
    fn load(&self, options: &CompileOptions) -> Result<Loaded, Failure> {
        let start = Instant::now();
        let module = gpu::compile(&self.model.graph, &options.for_gpu(self.device.target()))?;
        let mut executable = CudaExecutable::new(&self.device, &module, &self.weights.weights)?;
        let compile_seconds = start.elapsed().as_secs_f64();
        let copies = copies(executable.plan().arena_bytes, self.device.l2_bytes());
        executable.rotate(copies)?;
        let answer = executable.run(&self.inputs)?;
        Ok(Loaded { executable, answer, copies, compile_seconds })
    }
}

/// Fused against unfused, in turns.
pub fn bench(
    request: &Request,
    options: &CompileOptions,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let prepared = request.prepare()?;
    let Prepared { device, model, weights, .. } = &prepared;
    let graph = &model.graph;
    let unfused_options = CompileOptions { fuse: false, ..options.clone() };
    let mut fused = prepared.load(options)?;
    let mut unfused = prepared.load(&unfused_options)?;
    let difference = difference(&fused.answer, &unfused.answer);
    let (mut fused_ms, mut unfused_ms) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while fused_ms.len() < FEWEST_RUNS || start.elapsed() < request.seconds {
        fused_ms.push(fused.executable.time()?);
        unfused_ms.push(unfused.executable.time()?);
    }
    let runs = fused_ms.len();
    let [fused_ms, unfused_ms] = [fused_ms, unfused_ms].map(median);
    let plans = [&fused, &unfused].map(|loaded| loaded.executable.plan());
    if as_json {
        let document = json!({
            "model": graph.name,
            "weights": weights.origin,
            "device": device.name(),
            "target": device.target(),
            "precision": options.precision,
            "fused_ms": fused_ms,
            "unfused_ms": unfused_ms,
            "speedup": unfused_ms / fused_ms,
            "max_rel_diff": difference,
            "compile_ms": fused.compile_seconds * 1e3,
            "arena_bytes": plans[0].arena_bytes,
            "copies": fused.copies,
            "launches": plans[0].steps.len(),
            "runs": runs,
            "threads": options.threads,
        });
        writeln!(out, "{document:#}")?;
        return Ok(());
    }
    let description = request.model.describe(graph);
    let (device_name, target) = (device.name(), device.target());
    let precision = options.precision.name();
    writeln!(out, "{description} with {}, {device_name} ({target}), {precision}", weights.origin)?;
    writeln!(out, "medians of {runs} runs in turns, one captured graph each")?;
    let size = bytes(fused.copies as u64 * plans[0].arena_bytes as u64);
    writeln!(out, "each run in another of {} arenas, {size} in all\n", fused.copies)?;
    let rows = [
        ["time".to_owned(), ms(fused_ms * 1e-3), ms(unfused_ms * 1e-3)],
        ["launches".to_owned(), plans[0].steps.len().to_string(), plans[1].steps.len().to_string()],
        ["arena".to_owned(), bytes(plans[0].arena_bytes as u64), bytes(plans[1].arena_bytes as u64)],
        ["compile and load".to_owned(), ms(fused.compile_seconds), ms(unfused.compile_seconds)],
    ];
    write!(out, "{}", table(["", ">fused", ">unfused"], rows))?;
    writeln!(out, "\nfused runs {:.2}× as fast", unfused_ms / fused_ms)?;
    writeln!(out, "largest difference between the answers: {difference:.1e} of the largest value")?;
    Ok(())
}

/// Every launch by itself.
pub fn profile(
    request: &Request,
    options: &CompileOptions,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let prepared = request.prepare()?;
    let Prepared { device, model, weights, .. } = &prepared;
    let graph = &model.graph;
    let mut loaded = prepared.load(options)?;
    let (mut runs, mut whole) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while runs.len() < FEWEST_RUNS || start.elapsed() < request.seconds {
        runs.push(loaded.executable.time_steps()?);
        whole.push(loaded.executable.time()?);
    }
    let whole = median(whole);
    let plan = loaded.executable.plan();
    let steps: Vec<_> = plan.steps.iter().zip(medians(&runs)).collect();
    let total: f64 = steps.iter().map(|(_, ms)| ms).sum();
    if as_json {
        let kernels = steps.iter().map(|(step, ms)| {
            json!({
                "layers": step.layers,
                "kernel": plan.kernels[step.kernel].name(),
                "ms": ms,
                "share": ms / total,
                "multiply_adds": step.work.multiply_adds,
                "gflops": gflops(step.work.multiply_adds, ms * 1e-3),
                "activation_bytes": step.work.activation_bytes,
                "weight_bytes": step.work.weight_bytes,
            })
        });
        let document = json!({
            "model": graph.name,
            "weights": weights.origin,
            "device": device.name(),
            "target": device.target(),
            "precision": options.precision,
            "runs": runs.len(),
            "ms": whole,
            "kernels": kernels.collect::<Vec<_>>(),
        });
        writeln!(out, "{document:#}")?;
        return Ok(());
    }
    let description = request.model.describe(graph);
    writeln!(out, "{description} with {}, {} ({})", weights.origin, device.name(), device.target())?;
    writeln!(out, "medians of {} runs; kernels one by one, not as a graph\n", runs.len())?;
    let rows = steps.iter().map(|(step, ms)| {
        let seconds = ms * 1e-3;
        let moved = step.work.activation_bytes + step.work.weight_bytes;
        [
            name(&step.layers),
            time(seconds),
            format!("{:.1} %", 100.0 * ms / total),
            format!("{:.0}", gflops(step.work.multiply_adds, seconds)),
            bytes(moved),
            format!("{:.0}", gb_per_s(moved, seconds)),
            plan.kernels[step.kernel].name(),
        ]
    });
    let header = ["layers", ">time", ">share", ">GFLOP/s", ">bytes", ">GB/s", "kernel"];
    write!(out, "{}", table(header, rows))?;
    writeln!(out, "\nkernels one by one {}, as one graph {}", time(total * 1e-3), time(whole * 1e-3))?;
    Ok(())
}
