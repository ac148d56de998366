//! `kiln profile MODEL`

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::failure::Failure;
use super::inputs::{self, PictureArgs};
use super::layers::{medians, name};
use super::memory;
use super::options::{Backend, CompileArgs, ModelArgs, WeightArgs};
use super::progress::Progress;
use super::text::{bytes, count, ms, si, table};
use crate::codegen::target::InstructionSet;
use crate::graph::Graph;
use crate::lower::Work;
use crate::runtime::{self, StepInfo};

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
    let profile = Profile {
        graph: &graph,
        description: args.model.describe(&graph),
        weights: &weights.origin,
        isa: executable.compiled().plan().target,
        threads: options.threads,
        runs: runs.len(),
        kernels: executable.steps().iter().zip(medians(&runs)).collect(),
    };
    if args.json {
        writeln!(out, "{:#}", profile.json())?;
    } else {
        profile.text(out)?;
    }
    Ok(())
}

/// What is printed.
struct Profile<'a> {
    graph: &'a Graph,
    /// The model's name with the parameters given.
    description: String,
    weights: &'a str,
    isa: InstructionSet,
    threads: usize,
    runs: usize,
    /// Each with its seconds.
    kernels: Vec<(&'a StepInfo, f64)>,
}

/// 10^9 floating-point operations a second, a multiply-add being two.
fn gflops(multiply_adds: u64, seconds: f64) -> f64 {
    2.0 * multiply_adds as f64 / seconds / 1e9
}

impl Profile<'_> {
    fn seconds(&self) -> f64 {
        self.kernels.iter().map(|(_, seconds)| seconds).sum()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Profile { description, weights, isa, runs, .. } = self;
        let threads = count(self.threads, "thread");
        writeln!(out, "{description} with {weights}, {isa}, {threads}, medians of {runs} runs\n")?;
        let total = self.seconds();
        let row = |layers: String, kernel: &str, seconds: f64, work: Work| {
            [
                layers,
                kernel.to_owned(),
                ms(seconds),
                format!("{:.1} %", 100.0 * seconds / total),
                si(work.multiply_adds as f64),
                format!("{:.1}", gflops(work.multiply_adds, seconds)),
                bytes(work.activation_bytes),
                bytes(work.weight_bytes),
            ]
        };
        let rows = self.kernels.iter().map(|(step, s)| row(name(&step.layers), &step.kernel, *s, step.work));
        let sum = |of: fn(&Work) -> u64| self.kernels.iter().map(|(step, _)| of(&step.work)).sum();
        let work = Work {
            multiply_adds: sum(|work| work.multiply_adds),
            activation_bytes: sum(|work| work.activation_bytes),
            weight_bytes: sum(|work| work.weight_bytes),
        };
        let rows = rows.chain([row("total".to_owned(), "", total, work)]);
        let header =
            ["layers", "kernel", ">time", ">share", ">multiply-adds", ">GFLOP/s", ">activations", ">weights"];
        write!(out, "{}", table(header, rows))
    }

    fn json(&self) -> Value {
        let total = self.seconds();
        let kernels: Vec<Value> = self
            .kernels
            .iter()
            .map(|(step, seconds)| {
                json!({
                    "name": name(&step.layers),
                    "layers": step.layers,
                    "algorithm": step.kernel,
                    "ms": seconds * 1e3,
                    "share": seconds / total,
                    "multiply_adds": step.work.multiply_adds,
                    "gflops": gflops(step.work.multiply_adds, *seconds),
                    "activation_bytes": step.work.activation_bytes,
                    "weight_bytes": step.work.weight_bytes,
                })
            })
            .collect();
        json!({
            "model": self.graph.name,
            "weights": self.weights,
            "isa": self.isa,
            "threads": self.threads,
            "runs": self.runs,
            "ms": total * 1e3,
            "kernels": kernels,
        })
    }
}
