//! `kiln tune MODEL`

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::failure::Failure;
use super::options::{Backend, SubjectArgs};
use super::progress::Progress;
use super::text::{count, table, time};
use crate::io::AtomicFile;
use crate::kernels::crossed::Arithmetic;
use crate::kernels::product::Order;
use crate::kernels::winograd::Filters;
use crate::lower::Choice;
use crate::machine::cpu_name;
use crate::runtime::CompileOptions;
use crate::tune::{Report, TuningFile, tune};
use crate::weights::random_inputs;

/// Measures the best few ways to compute each layer, and remembers the fastest for later compilations
///
/// Tiles, blocks, the order of loops, direct convolution or one with fewer multiplications, fused pairs or two kernels:
/// each candidate runs in turns with what the cost model chose. 'run', 'bench' and 'profile' then take what was found, on
/// this processor and with this instruction set, for any number of threads; '--tuning none' leaves it out.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value = "20", value_parser = super::bench::parse_seconds)]
    seconds: Duration,
    /// The file to remember choices in, beside those it holds already [default: kiln/tuning.json in the cache folder]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    if args.subject.compile.backend != Backend::Cpu || args.subject.compile.tuning.is_some() {
        return Err(Failure::Usage("tune measures compiled code, beginning untuned".to_owned()));
    }
    let options = args.subject.compile.untuned()?;
    let isa = options.isa.resolve()?;
    let Some(path) = args.output.clone().or_else(TuningFile::default_path) else {
        return Err(Failure::input("there is no cache folder to remember choices in: pass --output FILE"));
    };
    let mut file = open(&path, args.output.is_some())?;
    let loaded = args.subject.model.load()?;
    let graph = &loaded.graph;
    let weights = args.subject.weights.load(&loaded, true)?;
    let inputs = random_inputs(graph, 0);
    let mut bar = Progress::new("measuring candidates", 1000);
    let report = tune(graph, &weights.weights, &inputs, &options, args.seconds, |done| {
        bar.set((1000.0 * done) as u64);
    })?;
    drop(bar);
    let tuning = file.tuning_mut(&cpu_name(), isa);
    for problem in &report.problems {
        tuning.0.remove(&problem.name);
    }
    tuning.0.extend(report.choices().map(|(name, choice)| (name.to_owned(), choice)));
    file.save(&path)?;
    if args.json {
        writeln!(out, "{:#}", json(&graph.name, &options, isa.name(), &report, &path))?;
    } else {
        let threads = count(options.threads, "thread");
        writeln!(out, "{} with {}, {isa}, {threads}\n", args.subject.model.describe(graph), weights.origin)?;
        text(&report, &path, out)?;
    }
    Ok(())
}

/// The file to add to. A damaged one in the cache is begun anew; one that the user named is not.
fn open(path: &Path, is_named: bool) -> Result<TuningFile, Failure> {
    // Before minutes of measuring rather than after: whether it can be written.
    if is_named {
        drop(AtomicFile::create(path)?);
    }
    match TuningFile::load_or_new(path) {
        Ok(file) => Ok(file),
        Err(error) if is_named => Err(Failure::input(error)),
        Err(error) => {
            eprintln!("warning: {error}; it is written anew");
            Ok(TuningFile::default())
        }
    }
}

/// A choice in a few words.
fn words(choice: &Choice) -> String {
    let order = |order: &Order| match order {
        Order::Pixels => ", pixels outside",
        Order::Panels => "",
    };
    let crossed = |arithmetic: &Arithmetic| match arithmetic {
        Arithmetic::Straight => "",
        Arithmetic::Crossed(_) => " crossed",
    };
    match choice {
        Choice::Direct { tile, arithmetic, blocking, order: o } => format!(
            "{} {}x{}x{}, blocks {}x{}{}",
            match arithmetic {
                Arithmetic::Straight => "direct",
                Arithmetic::Crossed(_) => "crossed",
            },
            tile.rows,
            tile.columns,
            tile.vectors,
            blocking.pixels,
            blocking.channels,
            order(o)
        ),
        Choice::Winograd { method, filters, arithmetic, tile, rows } => {
            let [height, width] = method.tile();
            let transformed = match filters {
                Filters::Packed => "",
                Filters::InRegisters { .. } => ", filters transformed in registers",
            };
            format!(
                "winograd{height}x{width} {}x{}{}, blocks of {rows} rows{transformed}",
                tile.columns,
                tile.vectors,
                crossed(arithmetic)
            )
        }
        Choice::Polyphase { outputs, arithmetic, tile, rows } => format!(
            "polyphase{outputs} {}x{}x{}{}, blocks of {rows} rows",
            tile.rows,
            tile.columns,
            tile.vectors,
            crossed(arithmetic)
        ),
        Choice::Depthwise { columns, rows } => format!("depthwise {columns}, blocks of {rows} rows"),
        Choice::Fused { columns, tile, arithmetic, order: o, rows } => format!(
            "fused {columns}+{}x{}x{}{}, blocks of {rows} rows{}",
            tile.rows,
            tile.columns,
            tile.vectors,
            crossed(arithmetic),
            order(o)
        ),
        Choice::Separate => "two kernels".to_owned(),
    }
}

fn text(report: &Report, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    let changed = || report.problems.iter().filter(|problem| problem.new.is_some());
    for problem in changed() {
        let ratio = problem.before / problem.after;
        writeln!(out, "{}", problem.name)?;
        let new = problem.new.as_ref().map(words).unwrap_or_default();
        let rows = [
            [format!("  {}", words(&problem.old)), time(problem.before), String::new()],
            [format!("  {new}"), time(problem.after), format!("{ratio:.2}×")],
        ];
        write!(out, "{}", table(["", ">", ">"], rows).trim_start_matches('\n'))?;
    }
    let measured: usize = report.problems.iter().map(|problem| problem.candidates).sum();
    writeln!(
        out,
        "{measured} candidates of {} measured, {} of them better than what the model chose",
        count(report.problems.len(), "problem"),
        changed().count()
    )?;
    let (before, after) = (report.before, report.after);
    writeln!(out, "a run takes {} instead of {}, {:.2}×", time(after), time(before), before / after)?;
    writeln!(out, "remembered in {}", path.display())
}

fn json(model: &str, options: &CompileOptions, isa: &str, report: &Report, path: &Path) -> Value {
    let problems: Vec<Value> = report
        .problems
        .iter()
        .map(|problem| {
            json!({
                "problem": problem.name,
                "launches": problem.launches,
                "candidates": problem.candidates,
                "old": problem.old,
                "new": problem.new,
                "before_ms": problem.before * 1e3,
                "after_ms": problem.after * 1e3,
            })
        })
        .collect();
    json!({
        "model": model,
        "isa": isa,
        "threads": options.threads,
        "before_ms": report.before * 1e3,
        "after_ms": report.after * 1e3,
        "speedup": report.before / report.after,
        "problems": problems,
        "file": path,
    })
}
