//! `kiln run MODEL`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::engine::{Engine, Prepared, difference, rounding_sentence, without_rounding};
use super::failure::Failure;
use super::inputs::{InputArgs, PictureArgs, batches};
use super::labels::{self, Best, Labels};
use super::options::{Backend, LoadedModel, SubjectArgs};
use super::progress::Progress;
use super::text::{count, ms, range, rows_only, table};
use crate::Error;
use crate::graph::Graph;
use crate::io::AtomicFile;
use crate::io::npy::{self, NpyFile};
use crate::tensor::Tensor;
use crate::weights::{self, Weights};

/// Compiles a model and runs it on arrays or pictures
///
/// An array with N times the leading dimension of the model's input is run as N batches.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// Write an output as .npy; by position or name
    #[arg(long, short, value_name = "[NAME=]FILE.npy")]
    output: Vec<String>,
    /// How many of the best classes to print [default: 5 where an output is one score for each class]
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    /// The classes' labels: lines, a JSON list or dictionary [default: NAME.labels.txt beside NAME.kiln]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The right class of each image, as integers: print how many the model got right
    #[arg(long, value_name = "FILE.npy")]
    expect: Option<PathBuf>,
    /// Write the weights in use, random ones too
    #[arg(long, value_name = "FILE.safetensors")]
    save_weights: Option<PathBuf>,
    /// Print the time of each stage
    #[arg(long)]
    timings: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pictures: PictureArgs,
}

/// Printed images, where `--top` does not ask for all.
const SHOWN: usize = 8;

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let options = args.subject.compile.options()?;
    let loaded = args.subject.model.load()?;
    let graph = &loaded.graph;
    // What can fail early does, before the work: no output is lost to a mistyped path.
    let files = create_outputs(graph, &args.output)?;
    let save_weights = args.save_weights.as_deref().map(AtomicFile::create).transpose()?;
    check_distinct(files.iter().map(|(_, file)| file).chain(&save_weights))?;
    let labels = load_labels(&args, graph)?;
    let expected = args.expect.as_deref().map(|path| NpyFile::open(path)?.read()).transpose()?;
    let prepared = Prepared::new(args.subject.compile.backend, graph, &options)?;
    let arrays = args.inputs.gather(graph, &args.pictures)?;
    let mut weights = args.subject.weights.open(&loaded, false)?;
    let exact = without_rounding(&options).filter(|_| args.subject.compile.backend == Backend::Cpu);
    let exact = exact.map(|options| -> Result<Vec<Tensor>, Failure> {
        let held = weights.hold(graph)?;
        let mut engine = Prepared::new(Backend::Cpu, graph, &options)?.bind(held)?;
        Ok(run_batches(&mut engine, graph, arrays.clone())?.0)
    });
    let exact = exact.transpose()?;
    if args.subject.compile.backend != Backend::Cpu {
        weights.hold(graph)?;
    }
    let save_weights = match save_weights {
        Some(file) => Some((file, weights.hold(graph)?)),
        None => None,
    };
    let mut engine = prepared.bind(weights.source)?;

    let start = Instant::now();
    let (outputs, runs) = run_batches(&mut engine, graph, arrays)?;
    let seconds = start.elapsed().as_secs_f64();

    let right = expected.map(|expected| right_answers(&outputs, &expected)).transpose()?;
    write_files(files, save_weights, &outputs)?;
    let report = Report {
        graph,
        description: args.subject.model.describe(graph),
        weights: &weights.origin,
        outputs: &outputs,
        labels: labels.as_ref(),
        top: args.top,
        right,
        rounding: exact.map(|exact| difference(&outputs, &exact)),
        stages: stages(&loaded, weights.seconds, &engine, seconds / runs as f64),
    };
    if args.json { report.json(out) } else { report.text(args.timings, out) }
}

/// Opens the file of each output that is to be written, with the output's index.
fn create_outputs(graph: &Graph, files: &[String]) -> Result<Vec<(usize, AtomicFile)>, Error> {
    let outputs = graph.outputs();
    let mut created = Vec::new();
    for (position, file) in files.iter().enumerate() {
        let named = file.split_once('=').and_then(|(name, path)| {
            outputs.iter().position(|output| output.name == name).map(|index| (index, path))
        });
        let (index, path) = named.unwrap_or((position, file));
        if index >= outputs.len() {
            let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
            return Err(Error::input(format!(
                "'{file}' is one output too many: the model has {} ({})",
                outputs.len(),
                names.join(", ")
            )));
        }
        created.push((index, AtomicFile::create(Path::new(path))?));
    }
    Ok(created)
}

/// Checks that no file would take the place of another.
fn check_distinct<'a>(files: impl Iterator<Item = &'a AtomicFile>) -> Result<(), Error> {
    let mut seen: Vec<&AtomicFile> = Vec::new();
    for file in files {
        if seen.iter().any(|other| other.same_place(file)) {
            return Err(Error::input(format!("'{}' is to be written twice", file.path().display())));
        }
        seen.push(file);
    }
    Ok(())
}

/// The labels, after checking that an output has as many classes.
fn load_labels(args: &Args, graph: &Graph) -> Result<Option<Labels>, Error> {
    let labels = Labels::load(args.labels.as_deref(), &args.subject.model.model)?;
    let classes = || graph.outputs().iter().filter_map(|output| labels::classes(graph.shape(output.node)));
    match labels {
        Some(labels) if classes().any(|classes| labels.check(classes).is_ok()) => Ok(Some(labels)),
        Some(labels) if args.labels.is_some() => match classes().next() {
            Some(classes) => labels.check(classes).map(|()| None),
            None => Err(Error::input("--labels needs an output [n, classes], which the model does not have")),
        },
        _ => Ok(None),
    }
}

/// Runs as many batches as `arrays` hold; each output is that of all of them along its first axis.
fn run_batches(
    engine: &mut Engine,
    graph: &Graph,
    arrays: Vec<Tensor>,
) -> Result<(Vec<Tensor>, usize), Failure> {
    let shapes: Vec<_> = graph.inputs().iter().map(|&id| graph.shape(id)).collect();
    let runs = arrays.first().map_or(1, |array| array.data().len() / shapes[0].elements());
    if runs == 1 {
        return Ok((engine.run(&arrays)?, 1));
    }
    let mut joined: Vec<Vec<f32>> = vec![Vec::new(); graph.outputs().len()];
    let mut progress = Progress::new("running", runs as u64);
    for run in 0..runs {
        let batch: Vec<Tensor> = arrays
            .iter()
            .zip(&shapes)
            .map(|(array, &shape)| {
                let size = shape.elements();
                Tensor::new(shape.clone(), array.data()[run * size..][..size].to_vec())
            })
            .collect();
        for (all, output) in joined.iter_mut().zip(engine.run(&batch)?) {
            all.extend(output.data());
        }
        progress.set(run as u64 + 1);
    }
    let outputs = joined
        .into_iter()
        .zip(graph.outputs())
        .map(|(data, output)| Tensor::new(batches(graph.shape(output.node), runs), data))
        .collect();
    Ok((outputs, runs))
}

/// How many images of the first output that has classes were right, and of how many.
fn right_answers(outputs: &[Tensor], expected: &Tensor) -> Result<(usize, usize), Error> {
    let scores = outputs.iter().find(|output| labels::classes(output.shape()).is_some());
    let scores = scores.ok_or_else(|| Error::input("--expect needs an output [n, classes]"))?;
    Ok((labels::count_right(scores, expected)?, expected.data().len()))
}

/// Writes all files before the first takes its place.
fn write_files(
    mut files: Vec<(usize, AtomicFile)>,
    save_weights: Option<(AtomicFile, Weights)>,
    outputs: &[Tensor],
) -> Result<(), Error> {
    for (index, file) in &mut files {
        let path = file.path().to_owned();
        npy::write(file, &outputs[*index]).map_err(Error::write(&path))?;
    }
    let mut files: Vec<AtomicFile> = files.into_iter().map(|(_, file)| file).collect();
    if let Some((mut file, weights)) = save_weights {
        let path = file.path().to_owned();
        weights::write(&weights, &mut file).map_err(Error::write(&path))?;
        files.push(file);
    }
    files.into_iter().try_for_each(AtomicFile::commit)
}

/// The seconds of each stage; `run` is one run.
fn stages(
    loaded: &LoadedModel,
    mut load_weights: f64,
    engine: &Engine,
    run: f64,
) -> Vec<(&'static str, f64)> {
    let mut stages = vec![("parse", loaded.parse), ("elaborate", loaded.elaborate)];
    if let Engine::Compiled(executable) = engine {
        let timings = executable.timings();
        stages.extend([("passes", timings.passes), ("lower", timings.lower), ("codegen", timings.codegen)]);
        stages.push((TO_CALLABLE, stages.iter().map(|(_, seconds)| seconds).sum()));
        stages.push(("pack weights", timings.pack_weights));
        load_weights += timings.read_weights;
    }
    stages.extend([("load weights", load_weights), ("run", run)]);
    stages
}

/// The sum of the stages before it.
const TO_CALLABLE: &str = "text to callable code";

/// What is printed.
struct Report<'a> {
    graph: &'a Graph,
    /// The model's name with the parameters given.
    description: String,
    weights: &'a str,
    outputs: &'a [Tensor],
    labels: Option<&'a Labels>,
    top: Option<usize>,
    /// How many images were right, of how many.
    right: Option<(usize, usize)>,
    /// What rounding the weights changes, where they are rounded.
    rounding: Option<f64>,
    stages: Vec<(&'static str, f64)>,
}

impl Report<'_> {
    fn text(&self, timings: bool, out: &mut dyn Write) -> Result<(), Failure> {
        writeln!(out, "{} with {}", self.description, self.weights)?;
        for (index, output) in self.outputs.iter().enumerate() {
            let name = &self.graph.outputs()[index].name;
            match range(output) {
                Some((low, high)) => {
                    writeln!(out, "{name} f32{} from {low:.6} to {high:.6}", output.shape())?;
                }
                None => writeln!(out, "{name} f32{} holds values that are not finite", output.shape())?,
            }
            self.classes(index, out)?;
        }
        if let Some((right, of)) = self.right {
            writeln!(out, "accuracy {:.1} % ({right} of {of})", 100.0 * right as f64 / of as f64)?;
        }
        if let Some(error) = self.rounding {
            writeln!(out, "{}", rounding_sentence(error))?;
        }
        if timings {
            let rows = self.stages.iter().map(|(stage, seconds)| [(*stage).to_owned(), ms(*seconds)]);
            write!(out, "\n{}", table(["stage", ">time"], rows))?;
        }
        Ok(())
    }

    /// The best classes of each image.
    fn classes(&self, index: usize, out: &mut dyn Write) -> Result<(), Failure> {
        let images = self.best(index);
        let shown = if self.top.is_some() { images.len() } else { SHOWN };
        for (image, best) in images.iter().take(shown).enumerate() {
            if images.len() > 1 {
                writeln!(out, "  image {image}")?;
            }
            let rows = best.iter().enumerate().map(|(rank, b)| {
                let percent = format!("{:.2} %", 100.0 * b.probability);
                let name = b.name(self.label(index, b.class));
                [format!("  {}.", rank + 1), name, percent, format!("({:.4})", b.score)]
            });
            write!(out, "{}", rows_only(rows))?;
        }
        if images.len() > shown {
            writeln!(out, "  and {}; --top K prints all", count(images.len() - shown, "more image"))?;
        }
        Ok(())
    }

    /// The best classes of each image of an output; none where the output has no classes or, with accuracy
    /// asked for, nobody asked for them.
    fn best(&self, index: usize) -> Vec<Vec<Best>> {
        let output = &self.outputs[index];
        let top = self.top.unwrap_or(if self.right.is_some() { 0 } else { 5 });
        match labels::classes(output.shape()) {
            Some(classes) if top > 0 => {
                let softmax = labels::is_softmax(self.graph, index);
                output.data().chunks(classes).map(|image| labels::best(image, top, softmax)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn label(&self, index: usize, class: usize) -> Option<&str> {
        let labels = self.labels?;
        labels.check(labels::classes(self.outputs[index].shape())?).ok()?;
        labels.get(class)
    }

    fn json(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let outputs: Vec<Value> = (0..self.outputs.len()).map(|index| self.output_json(index)).collect();
        let timings: Map<String, Value> = self
            .stages
            .iter()
            .map(|(stage, seconds)| (format!("{}_ms", stage.replace(' ', "_")), json!(seconds * 1e3)))
            .collect();
        let mut document = json!({
            "model": self.graph.name,
            "weights": self.weights,
            "outputs": outputs,
            "timings": timings,
        });
        if let Some((right, of)) = self.right {
            document["accuracy"] = json!(right as f64 / of as f64);
            document["right"] = json!(right);
            document["images"] = json!(of);
        }
        if let Some(error) = self.rounding {
            document["weights_rel_diff"] = json!(error);
        }
        writeln!(out, "{document:#}")?;
        Ok(())
    }

    fn output_json(&self, index: usize) -> Value {
        let output = &self.outputs[index];
        let range = range(output);
        let top: Vec<Vec<Value>> = self
            .best(index)
            .iter()
            .map(|best| best.iter().map(|b| b.to_json(self.label(index, b.class))).collect())
            .collect();
        json!({
            "name": self.graph.outputs()[index].name,
            "shape": output.shape(),
            "min": range.map(|(low, _)| low),
            "max": range.map(|(_, high)| high),
            "finite": range.is_some(),
            "top": top,
        })
    }
}
