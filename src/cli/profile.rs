//! `kiln profile MODEL`

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cuda;
use super::failure::Failure;
use super::layers::{medians, name};
use super::memory;
use super::options::{Backend, SubjectArgs};
use super::progress::Progress;
use super::text::{bytes, count, elide, table, time};
use crate::graph::Graph;
use crate::kernels::KernelSpec;
use crate::lower::Plan;
use crate::machine::{Demand, Machine, Roof, Traffic};
use crate::runtime::{self, StepInfo};
use crate::weights::random_inputs;

/// Times every kernel of a compiled model against what this machine can do
///
/// GFLOP/s count the multiply-adds of direct convolution, so methods with fewer can exceed the peak. The roof is the
/// least time that a kernel's arithmetic and memory traffic take at the rates measured on this machine ('kiln machine').
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value = "1", value_parser = super::bench::parse_seconds)]
    seconds: Duration,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let options = args.subject.compile.options()?;
    if args.subject.compile.backend == Backend::Cuda {
        let request = cuda::Request {
            model: &args.subject.model,
            weights: &args.subject.weights,
            seconds: args.seconds,
        };
        return cuda::profile(&request, &options, args.json, out);
    }
    if args.subject.compile.backend != Backend::Cpu {
        return Err(Failure::Usage("profile times compiled code".to_owned()));
    }
    let loaded = args.subject.model.load()?;
    let graph = &loaded.graph;
    let compiled = runtime::compile(graph, &options)?;
    memory::check(graph, Backend::Cpu, &[&compiled])?;
    let weights = args.subject.weights.open(&loaded, true)?;
    let inputs = random_inputs(graph, 0);
    let machine = Machine::get(compiled.plan().target, options.threads)?;
    let mut executable = compiled.bind(weights.source)?;
    executable.settle();
    executable.run(&inputs)?;

    let mut runs = Vec::new();
    let mut progress = Progress::new("timing kernels", args.seconds.as_millis() as u64);
    let start = Instant::now();
    while runs.len() < 3 || start.elapsed() < args.seconds {
        runs.push(executable.run_timed(&inputs)?.1);
        progress.set(start.elapsed().as_millis() as u64);
    }
    drop(progress);
    let plan = executable.compiled().plan();
    let rows = executable.steps().iter().zip(medians(&runs)).zip(&plan.steps);
    let kernels = rows.map(|((info, seconds), step)| {
        let spec = &plan.kernels[step.kernel];
        Row { info, spec, seconds, roof: machine.roof(&demand(plan, info, spec)) }
    });
    let profile = Profile {
        graph,
        description: args.subject.model.describe(graph),
        weights: &weights.origin,
        machine: &machine,
        runs: runs.len(),
        kernels: kernels.collect(),
    };
    if args.json {
        writeln!(out, "{:#}", profile.json())?;
    } else {
        profile.text(out)?;
    }
    Ok(())
}

/// What a launch asks of the machine. Activations come from the level that holds what the kernel touches, since
/// the kernel before it wrote them; weights from the level that holds a whole run's arrays, since the run before
/// read them last.
fn demand(plan: &Plan, info: &StepInfo, spec: &KernelSpec) -> Demand {
    let work = info.work;
    let run = (plan.weight_elements + plan.arena.elements) as u64 * size_of::<f32>() as u64;
    Demand {
        multiply_adds: spec.essential_multiply_adds(),
        traffic: [
            Traffic { bytes: work.activation_bytes, distance: work.activation_bytes + work.weight_bytes },
            Traffic { bytes: work.weight_bytes, distance: run },
        ],
    }
}

/// One launch.
struct Row<'a> {
    info: &'a StepInfo,
    spec: &'a KernelSpec,
    seconds: f64,
    roof: Roof<'a>,
}

impl Row<'_> {
    fn bytes(&self) -> u64 {
        self.info.work.activation_bytes + self.info.work.weight_bytes
    }

    fn gflops(&self) -> f64 {
        gflops(self.info.work.multiply_adds, self.seconds)
    }
}

/// What is printed.
struct Profile<'a> {
    graph: &'a Graph,
    /// The model's name with the parameters given.
    description: String,
    weights: &'a str,
    machine: &'a Machine,
    runs: usize,
    kernels: Vec<Row<'a>>,
}

/// 10⁹ floating-point operations a second, a multiply-add being two.
pub(super) fn gflops(multiply_adds: u64, seconds: f64) -> f64 {
    2.0 * multiply_adds as f64 / seconds / 1e9
}

/// 10⁹ bytes a second.
pub(super) fn gb_per_s(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / seconds / 1e9
}

/// Columns that a layer's name may take.
const NAME: usize = 24;

impl<'a> Profile<'a> {
    fn sum<T: std::iter::Sum>(&self, of: impl Fn(&Row<'a>) -> T) -> T {
        self.kernels.iter().map(of).sum()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Profile { description, weights, machine, runs, .. } = self;
        let threads = count(machine.threads, "thread");
        writeln!(out, "{description} with {weights}, {}, {threads}, medians of {runs} runs", machine.isa)?;
        writeln!(out, "{machine}\n")?;
        let total = self.sum(|row| row.seconds);
        let rows = self.kernels.iter().enumerate().map(|(number, row)| {
            let tile = row.spec.tile().map(|tile| format!(" {tile}")).unwrap_or_default();
            let gflops = row.gflops();
            let computes = row.info.work.multiply_adds > 0;
            let only = |text: String| if computes { text } else { String::new() };
            [
                number.to_string(),
                elide(&name(&row.info.layers), NAME),
                row.spec.algorithm().replace("depthwise+pointwise", "dw+pw") + &tile,
                time(row.seconds),
                format!("{:.1} %", 100.0 * row.seconds / total),
                only(format!("{gflops:.1}")),
                only(format!("{:.0} %", 100.0 * gflops / machine.peak_gflops)),
                bytes(row.bytes()),
                format!("{:.1}", gb_per_s(row.bytes(), row.seconds)),
                row.roof.binds.to_owned(),
                times(row.seconds, row.roof.seconds),
            ]
        });
        let (roof, all_bytes) = (self.sum(|row| row.roof.seconds), self.sum(Row::bytes));
        let rate = gflops(self.sum(|row| row.info.work.multiply_adds), total);
        let last = [
            String::new(),
            "total".to_owned(),
            String::new(),
            time(total),
            "100.0 %".to_owned(),
            format!("{rate:.1}"),
            format!("{:.0} %", 100.0 * rate / machine.peak_gflops),
            bytes(all_bytes),
            format!("{:.1}", gb_per_s(all_bytes, total)),
            String::new(),
            times(total, roof),
        ];
        let header = [
            ">#", "layers", "kernel", ">time", ">share", ">GFLOP/s", ">of peak", ">bytes", ">GB/s", "roof",
            ">over it",
        ];
        write!(out, "{}", table(header, rows.chain([last])))?;
        writeln!(
            out,
            "\nall kernels at their roofs: {}, the run takes {}\n",
            time(roof),
            times(total, roof)
        )?;
        self.names(out)
    }

    /// The problem strings, each with the rows that it stands for.
    fn names(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "kernels, each to be run alone with kiln bench-kernel 'NAME':")?;
        let mut names: Vec<(&str, Vec<String>)> = Vec::new();
        for (number, row) in self.kernels.iter().enumerate() {
            let kernel = row.info.kernel.as_str();
            match names.iter_mut().find(|(name, _)| *name == kernel) {
                Some((_, rows)) => rows.push(number.to_string()),
                None => names.push((kernel, vec![number.to_string()])),
            }
        }
        for (name, rows) in names {
            writeln!(out, "  {}: {name}", rows.join(", "))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let machine = self.machine;
        let total = self.sum(|row| row.seconds);
        let roof = self.sum(|row| row.roof.seconds);
        let all_bytes = self.sum(Row::bytes);
        let rate = gflops(self.sum(|row| row.info.work.multiply_adds), total);
        let kernels: Vec<Value> = self
            .kernels
            .iter()
            .map(|row| {
                let StepInfo { layers, kernel, work } = row.info;
                json!({
                    "name": name(layers),
                    "layers": layers,
                    "kernel": kernel,
                    "algorithm": row.spec.algorithm(),
                    "tile": row.spec.tile(),
                    "ms": row.seconds * 1e3,
                    "share": row.seconds / total,
                    "multiply_adds": work.multiply_adds,
                    "essential_multiply_adds": row.spec.essential_multiply_adds(),
                    "gflops": row.gflops(),
                    "peak_share": row.gflops() / machine.peak_gflops,
                    "activation_bytes": work.activation_bytes,
                    "weight_bytes": work.weight_bytes,
                    "bytes": row.bytes(),
                    "gb_per_s": gb_per_s(row.bytes(), row.seconds),
                    "roof": row.roof.binds,
                    "roof_ms": row.roof.seconds * 1e3,
                    "over_roof": row.seconds / row.roof.seconds,
                })
            })
            .collect();
        json!({
            "model": self.graph.name,
            "weights": self.weights,
            "isa": machine.isa,
            "threads": machine.threads,
            "machine": machine,
            "runs": self.runs,
            "ms": total * 1e3,
            "gflops": rate,
            "peak_share": rate / machine.peak_gflops,
            "bytes": all_bytes,
            "gb_per_s": gb_per_s(all_bytes, total),
            "roof_ms": roof * 1e3,
            "over_roof": total / roof,
            "kernels": kernels,
        })
    }
}

/// How many times as long as its roof something takes.
fn times(seconds: f64, roof: f64) -> String {
    if roof > 0.0 { format!("{:.2}×", seconds / roof) } else { String::new() }
}
