//! `kiln profile MODEL`

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use super::failure::Failure;
use super::inputs::{self, PictureArgs};
use super::layers::{medians, name};
use super::memory;
use super::options::{Backend, CompileArgs, ModelArgs, WeightArgs};
use super::progress::Progress;
use super::text::{count, megabytes, ms, si, table};
use crate::runtime;

/// Times every kernel of a compiled model
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    weights: WeightArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value = "1", value_parser = super::bench::parse_seconds)]
    seconds: Duration,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let options = args.compile.options()?;
    if args.compile.backend != Backend::Cpu {
        return Err(Failure::Usage("profile times compiled code".to_owned()));
    }
    let graph = args.model.load()?.graph;
    let compiled = runtime::compile(&graph, &options)?;
    memory::check(&graph, Backend::Cpu, &[&compiled])?;
    let weights = args.weights.load(&graph, &args.model.model, true)?;
    let inputs = inputs::gather(&graph, &[], &PictureArgs::default(), 0)?;
    let mut executable = compiled.bind(&weights.weights)?;
    executable.run(&inputs)?;

    let mut runs = Vec::new();
    let mut progress = Progress::new("timing kernels", args.seconds.as_millis() as u64);
    let start = Instant::now();
    while runs.len() < 3 || start.elapsed() < args.seconds {
        runs.push(executable.run_timed(&inputs)?.1);
        progress.set(start.elapsed().as_millis() as u64);
    }
    drop(progress);
    let seconds = medians(&runs);
    let total: f64 = seconds.iter().sum();
    let gflops = |multiply_adds: u64, seconds: f64| 2.0 * multiply_adds as f64 / seconds / 1e9;
    let kernels = executable.steps().iter().zip(&seconds);

    if args.json {
        let kernels: Vec<_> = kernels
            .map(|(step, &seconds)| {
                json!({
                    "name": name(&step.layers),
                    "layers": step.layers,
                    "algorithm": step.kernel,
                    "ms": seconds * 1e3,
                    "share": seconds / total,
                    "gflops": gflops(step.work.multiply_adds, seconds),
                    "activation_bytes": step.work.activation_bytes,
                    "weight_bytes": step.work.weight_bytes,
                })
            })
            .collect();
        let document = json!({
            "model": graph.name,
            "weights": weights.origin,
            "threads": options.threads,
            "runs": runs.len(),
            "ms": total * 1e3,
            "kernels": kernels,
        });
        writeln!(out, "{document:#}")?;
        return Ok(());
    }
    let threads = count(options.threads, "thread");
    writeln!(out, "{} with {}, {threads}, medians of {} runs\n", graph.name, weights.origin, runs.len())?;
    let row =
        |name: String, kernel: &str, seconds: f64, multiply_adds: u64, activations: u64, weights: u64| {
            [
                name,
                kernel.to_owned(),
                ms(seconds),
                format!("{:.1} %", 100.0 * seconds / total),
                si(multiply_adds as f64),
                format!("{:.1}", gflops(multiply_adds, seconds)),
                megabytes(activations as f64),
                megabytes(weights as f64),
            ]
        };
    let mut rows: Vec<_> = kernels
        .map(|(step, &seconds)| {
            let (activations, weights) = (step.work.activation_bytes, step.work.weight_bytes);
            row(name(&step.layers), &step.kernel, seconds, step.work.multiply_adds, activations, weights)
        })
        .collect();
    let sum = |of: fn(&runtime::StepInfo) -> u64| executable.steps().iter().map(of).sum();
    let (activations, parameters) =
        (sum(|step| step.work.activation_bytes), sum(|step| step.work.weight_bytes));
    rows.push(row(
        "total".to_owned(),
        "",
        total,
        sum(|step| step.work.multiply_adds),
        activations,
        parameters,
    ));
    let header =
        ["layers", "kernel", ">time", ">share", ">multiply-adds", ">GFLOP/s", ">activations", ">weights"];
    write!(out, "{}", table(header, rows))?;
    Ok(())
}
