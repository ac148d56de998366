//! `kiln compare MODEL`

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::failure::Failure;
use super::inputs::{InputArgs, PictureArgs};
use super::memory;
use super::options::{Backend, SubjectArgs};
use super::progress::spinner;
use super::text::count;
use crate::Error;
use crate::compare::{Cause, Comparison, Difference, Recording, Reference};
use crate::io::{AtomicFile, npz};
use crate::runtime;

/// Finds the first layer whose value is not the reference's, its kernel, and what made it so
///
/// Exits with 1 where a layer differs.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// What compiled values are held to: `interpreter`, `unfused` (code without fusion), or arrays named as layers
    #[arg(long, value_name = "interpreter|unfused|FILE.npz", default_value = "interpreter")]
    against: String,
    /// The largest difference that counts as rounding, as a part of the layer's largest value
    #[arg(long, value_name = "T", default_value_t = 1e-4, value_parser = parse_tolerance)]
    tolerance: f64,
    /// Write the value of every layer, under its name
    #[arg(long, value_name = "FILE.npz")]
    dump_all: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pictures: PictureArgs,
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    let tolerance = text.parse().ok().filter(|tolerance: &f64| *tolerance >= 0.0 && tolerance.is_finite());
    tolerance.ok_or_else(|| format!("'{text}' is no number from 0"))
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let options = args.subject.compile.options()?;
    if args.subject.compile.backend != Backend::Cpu {
        return Err(Failure::Usage("compare is about compiled code".to_owned()));
    }
    let dump = args.dump_all.as_deref().map(AtomicFile::create).transpose()?;
    let loaded = args.subject.model.load()?;
    let graph = &loaded.graph;
    let compiled = runtime::compile(graph, &options)?;
    memory::check(graph, Backend::Interpreter, &[&compiled])?;
    let reference = match args.against.as_str() {
        "interpreter" => Reference::Interpreter,
        "unfused" => Reference::Unfused,
        path => Reference::load(path.as_ref(), graph)?,
    };
    let arrays = args.inputs.gather(graph, &args.pictures)?;
    if let Some((&id, array)) =
        graph.inputs().iter().zip(&arrays).find(|(id, a)| graph.shape(**id) != a.shape())
    {
        let (name, shape) = (&graph.node(id).name, graph.shape(id));
        return Err(Failure::input(format!(
            "compare takes one batch: '{name}' is {shape}, not {}",
            array.shape()
        )));
    }
    let weights = args.subject.weights.load(&loaded, false)?;
    drop(compiled);
    let (recording, comparison) = spinner("comparing", || -> Result<_, Error> {
        let recording = Recording::new(graph, &weights.weights, &arrays, &options)?;
        let comparison = recording.compare(&reference, args.tolerance)?;
        Ok((recording, comparison))
    })?;

    if let Some(mut file) = dump {
        let path = file.path().to_owned();
        let values = recording.values().iter().map(|value| (value.layer.as_str(), &value.value));
        npz::write(&mut file, values).map_err(Error::write(&path))?;
        file.commit()?;
    }
    let isa = recording.executable().compiled().plan().target;
    if args.json {
        let document = json!({
            "model": graph.name,
            "weights": weights.origin,
            "against": args.against,
            "isa": isa,
            "tolerance": args.tolerance,
            "comparison": comparison,
        });
        writeln!(out, "{document:#}")?;
    } else {
        let (description, origin) = (args.subject.model.describe(graph), &weights.origin);
        let against = if args.against == "interpreter" { "the interpreter" } else { &args.against };
        writeln!(out, "{description} with {origin}, compiled for {isa}, against {against}")?;
        report(&comparison, args.tolerance, out)?;
    }
    if comparison.first.is_some() { Err(Failure::Reported) } else { Ok(()) }
}

fn report(comparison: &Comparison, tolerance: f64, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(first) = &comparison.first else {
        let values = count(comparison.values, "value");
        write!(out, "{values} compared, each within {tolerance:.1e} of its layer's largest")?;
        if let Some((layer, error)) = &comparison.largest {
            write!(out, "; the largest error is {error:.1e}, at '{layer}'")?;
        }
        writeln!(out)?;
        return Ok(());
    };
    let Difference { layer, shape, error, element, found, expected, .. } = first;
    writeln!(out, "first difference: '{layer}' {shape}")?;
    writeln!(out, "  error     {error:.1e} of the largest value, where {tolerance:.1e} is allowed")?;
    writeln!(out, "  furthest  at {element:?}: {found} instead of {expected}")?;
    let layers = first.kernel_layers.join(" + ");
    for kernel in &first.kernels {
        writeln!(out, "  kernel    {kernel}")?;
    }
    if !first.kernels.is_empty() {
        writeln!(out, "            computes {layers}")?;
    }
    if !first.stored {
        writeln!(out, "            and keeps '{layer}' in registers; compared as computed without rewrites")?;
    }
    for rewrite in &first.rewrites {
        writeln!(out, "  rewrite   {} {}: {}", rewrite.number, rewrite.pass, rewrite.layers.join(" + "))?;
    }
    let cause = match &first.cause {
        Cause::Reference => "the reference: interpreting the model agrees with the compiled code".to_owned(),
        Cause::Rewrite(rewrite) => {
            format!(
                "rewrite {} ({}): interpreted, the graph is right before it and wrong after",
                rewrite.number, rewrite.pass
            )
        }
        Cause::Kernel => "the kernel: interpreting the rewritten graph agrees with the reference".to_owned(),
    };
    writeln!(out, "  cause     {cause}")?;
    let behind = comparison.values - first.agreeing - 1;
    writeln!(
        out,
        "{} before it agree; of {} behind it {} differ",
        count(first.agreeing, "value"),
        behind,
        comparison.differing - 1
    )?;
    Ok(())
}
