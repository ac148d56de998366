//! `kiln bench MODEL`

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cuda;
use super::engine::{self, difference, rounding_sentence, without_rounding};
use super::failure::Failure;
use super::layers::{self, LayerTime};
use super::memory;
use super::options::{Backend, SubjectArgs};
use super::plot;
use super::progress::Progress;
use super::text::{bytes, ms, si, table};
use crate::codegen::target::InstructionSet;
use crate::io::AtomicFile;
use crate::runtime::{self, CompileOptions, Executable};
use crate::tensor::Tensor;
use crate::weights::random_inputs;

/// Times a model compiled with fusion against the same model without, on the same input
///
/// Both compute the same answer, which is checked first; then they run in turns, and medians are printed.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value = "3", value_parser = parse_seconds)]
    seconds: Duration,
    /// Print the time of each fused kernel beside that of the kernels it replaces
    #[arg(long)]
    layers: bool,
    /// Draw the layers' times as a picture
    #[arg(long, value_name = "FILE.svg|FILE.png", value_parser = plot::parse_path)]
    plot: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("'{text}' is no time from 0 to 3600 seconds"))
}

/// The largest relative difference between fused and unfused answers that counts as the same.
const TOLERANCE: f64 = 1e-4;
/// The fewest runs of each that a median is taken over.
const FEWEST_RUNS: usize = 5;

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let fused_options = args.subject.compile.options()?;
    if args.subject.compile.no_fuse || args.subject.compile.backend == Backend::Interpreter {
        return Err(Failure::Usage("bench compares compiled code with and without fusion".to_owned()));
    }
    let unfused_options = CompileOptions { fuse: false, ..fused_options.clone() };
    if args.subject.compile.backend == Backend::Cuda {
        let request = cuda::Request {
            model: &args.subject.model,
            weights: &args.subject.weights,
            seconds: args.seconds,
        };
        return cuda::bench(&request, &fused_options, args.json, out);
    }
    let plot = args.plot.as_deref().map(AtomicFile::create).transpose()?;
    let loaded = args.subject.model.load()?;
    let graph = &loaded.graph;
    let fused = runtime::compile(graph, &fused_options)?;
    let unfused = runtime::compile(graph, &unfused_options)?;
    memory::check(graph, Backend::Cpu, &[&fused, &unfused])?;
    let weights = args.subject.weights.load(&loaded, true)?;
    let inputs = random_inputs(graph, 0);
    let mut fused = Contender::new(fused.bind(&weights.weights)?);
    let mut unfused = Contender::new(unfused.bind(&weights.weights)?);
    let answer = fused.executable.run(&inputs)?;
    let difference = difference(&answer, &unfused.executable.run(&inputs)?);
    let rounding = without_rounding(&fused_options).map(|options| -> Result<f64, Failure> {
        let mut exact = runtime::compile(graph, &options)?.bind(&weights.weights)?;
        Ok(engine::difference(&answer, &exact.run(&inputs)?))
    });
    let rounding = rounding.transpose()?;
    measure(&mut fused, &mut unfused, &inputs, args.seconds)?;
    let layers = match args.layers || plot.is_some() {
        true => measure_layers(&mut fused.executable, &mut unfused.executable, &inputs, args.seconds)?,
        false => Vec::new(),
    };

    let report = Report {
        model: &graph.name,
        description: args.subject.model.describe(graph),
        weights: &weights.origin,
        threads: fused_options.threads,
        fused: &fused,
        unfused: &unfused,
        difference,
        rounding,
        layers: &layers,
    };
    if args.json {
        writeln!(out, "{:#}", report.json(args.layers))?;
    } else {
        report.text(args.layers, out)?;
    }
    if difference > TOLERANCE {
        return Err(Failure::input(format!(
            "fused and unfused answers differ by {difference:.1e}, more than {TOLERANCE:.0e} of the largest value"
        )));
    }
    if let Some(file) = plot {
        plot::draw(file, &report.title(), &layers)?;
    }
    Ok(())
}

/// One of the two that are timed.
struct Contender {
    executable: Executable,
    /// Seconds of each run.
    runs: Vec<f64>,
}

impl Contender {
    fn new(mut executable: Executable) -> Self {
        executable.settle();
        Contender { executable, runs: Vec::new() }
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<(), Failure> {
        let start = Instant::now();
        self.executable.run(inputs)?;
        self.runs.push(start.elapsed().as_secs_f64());
        Ok(())
    }

    /// The median of the runs, in seconds.
    fn seconds(&self) -> f64 {
        layers::median(self.runs.clone())
    }

    /// Seconds from graph to callable code; packing weights is not compilation.
    fn compile_seconds(&self) -> f64 {
        let timings = self.executable.timings();
        timings.passes + timings.lower + timings.codegen
    }

    fn isa(&self) -> InstructionSet {
        self.executable.compiled().plan().target
    }

    fn multiply_adds(&self) -> u64 {
        self.executable.steps().iter().map(|step| step.work.multiply_adds).sum()
    }

    fn activation_bytes(&self) -> u64 {
        self.executable.steps().iter().map(|step| step.work.activation_bytes).sum()
    }
}

/// Runs both in turns for about `time`.
fn measure(
    fused: &mut Contender,
    unfused: &mut Contender,
    inputs: &[Tensor],
    time: Duration,
) -> Result<(), Failure> {
    let mut progress = Progress::new("timing", time.as_millis() as u64);
    let start = Instant::now();
    while fused.runs.len() < FEWEST_RUNS || start.elapsed() < time {
        fused.run(inputs)?;
        unfused.run(inputs)?;
        progress.set(start.elapsed().as_millis() as u64);
    }
    Ok(())
}

/// The median time of each kernel, both contenders running in turns for about `time`.
fn measure_layers(
    fused: &mut Executable,
    unfused: &mut Executable,
    inputs: &[Tensor],
    time: Duration,
) -> Result<Vec<LayerTime>, Failure> {
    let (mut fused_runs, mut unfused_runs) = (Vec::new(), Vec::new());
    let mut progress = Progress::new("timing layers", time.as_millis() as u64);
    let start = Instant::now();
    while fused_runs.len() < FEWEST_RUNS || start.elapsed() < time {
        fused_runs.push(fused.run_timed(inputs)?.1);
        unfused_runs.push(unfused.run_timed(inputs)?.1);
        progress.set(start.elapsed().as_millis() as u64);
    }
    let (fused_seconds, unfused_seconds) = (layers::medians(&fused_runs), layers::medians(&unfused_runs));
    Ok(layers::side_by_side((fused.steps(), &fused_seconds), (unfused.steps(), &unfused_seconds)))
}

/// What is printed.
struct Report<'a> {
    model: &'a str,
    /// The model's name with the parameters given.
    description: String,
    weights: &'a str,
    threads: usize,
    fused: &'a Contender,
    unfused: &'a Contender,
    difference: f64,
    /// What rounding the weights changes, where they are rounded.
    rounding: Option<f64>,
    layers: &'a [LayerTime],
}

impl Report<'_> {
    fn speedup(&self) -> f64 {
        self.unfused.seconds() / self.fused.seconds()
    }

    /// 10^9 floating-point operations a second, a multiply-add being two.
    fn gflops(&self, contender: &Contender) -> f64 {
        2.0 * contender.multiply_adds() as f64 / contender.seconds() / 1e9
    }

    fn threads(&self) -> String {
        super::text::count(self.threads, "thread")
    }

    fn title(&self) -> String {
        let (fused, unfused) = (ms(self.fused.seconds()), ms(self.unfused.seconds()));
        format!(
            "{}: {fused} fused, {unfused} unfused, {:.2}× on {}",
            self.description,
            self.speedup(),
            self.threads()
        )
    }

    fn text(&self, layers: bool, out: &mut dyn Write) -> Result<(), Failure> {
        let Report { fused, unfused, .. } = self;
        writeln!(
            out,
            "{} with {}, {}, {}, medians of {} runs in turns\n",
            self.description,
            self.weights,
            fused.isa(),
            self.threads(),
            fused.runs.len()
        )?;
        let row = |what: &str, of: &dyn Fn(&Contender) -> String| [what.to_owned(), of(fused), of(unfused)];
        let rows = [
            row("time", &|c| ms(c.seconds())),
            row("GFLOP/s", &|c| format!("{:.1}", self.gflops(c))),
            row("kernels", &|c| c.executable.steps().len().to_string()),
            row("activations moved", &|c| bytes(c.activation_bytes())),
            row("arena", &|c| bytes(c.executable.arena_bytes() as u64)),
            row("… without reuse", &|c| bytes(c.executable.arena_bytes_without_reuse() as u64)),
            row("compile", &|c| ms(c.compile_seconds())),
        ];
        write!(out, "{}", table(["", ">fused", ">unfused"], rows))?;
        let fewer = unfused.activation_bytes() as f64 / fused.activation_bytes() as f64;
        writeln!(
            out,
            "\nfused runs {:.2}× as fast and moves {fewer:.2}× fewer bytes of activations",
            self.speedup()
        )?;
        writeln!(
            out,
            "largest difference between the answers: {:.1e} of the largest value",
            self.difference
        )?;
        if let Some(error) = self.rounding {
            writeln!(out, "{}", rounding_sentence(error))?;
        }
        if layers {
            let rows = self.layers.iter().map(|layer| {
                let gflops = 2.0 * layer.multiply_adds as f64 / layer.fused / 1e9;
                [
                    layer.name.clone(),
                    ms(layer.fused),
                    ms(layer.unfused),
                    format!("{:.2}×", layer.unfused / layer.fused),
                    si(layer.multiply_adds as f64),
                    format!("{gflops:.1}"),
                ]
            });
            let header = ["layers", ">fused", ">unfused", ">speed-up", ">multiply-adds", ">GFLOP/s"];
            write!(out, "\n{}", table(header, rows))?;
        }
        Ok(())
    }

    fn json(&self, layers: bool) -> Value {
        let Report { fused, unfused, .. } = self;
        let mut document = json!({
            "model": self.model,
            "weights": self.weights,
            "threads": self.threads,
            "isa": fused.isa(),
            "runs": fused.runs.len(),
            "fused_ms": fused.seconds() * 1e3,
            "unfused_ms": unfused.seconds() * 1e3,
            "speedup": self.speedup(),
            "max_rel_diff": self.difference,
            "compile_ms": fused.compile_seconds() * 1e3,
            "unfused_compile_ms": unfused.compile_seconds() * 1e3,
            "arena_bytes": fused.executable.arena_bytes(),
            "arena_bytes_without_reuse": fused.executable.arena_bytes_without_reuse(),
            "unfused_arena_bytes": unfused.executable.arena_bytes(),
            "activation_bytes": fused.activation_bytes(),
            "unfused_activation_bytes": unfused.activation_bytes(),
            "multiply_adds": fused.multiply_adds(),
            "gflops": self.gflops(fused),
            "unfused_gflops": self.gflops(unfused),
        });
        if let Some(error) = self.rounding {
            document["weights_rel_diff"] = json!(error);
        }
        if layers {
            document["layers"] = self.layers.iter().map(LayerTime::to_json).collect();
        }
        document
    }
}
