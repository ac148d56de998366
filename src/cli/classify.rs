//! `kiln classify PHOTO`

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::engine::Prepared;
use super::failure::Failure;
use super::inputs::PictureArgs;
use super::labels::{self, Labels};
use super::options::{CompileArgs, ModelArgs, WeightArgs};
use super::settings::Settings;
use crate::Error;

/// Says what is in a picture: the best classes, with their labels and probabilities
#[derive(clap::Args)]
pub struct Args {
    /// PNG or JPEG pictures
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,
    /// The model file, with one picture as input and one score for each class as output, or the settings of a model
    /// with its weights, as models/install writes them [default: the one installed in models/installed]
    #[arg(long, short, value_name = "NET.kiln|SETTINGS.json")]
    model: Option<PathBuf>,
    /// Sets a parameter of the model, as in -D alpha=0.5
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = super::options::parse_define)]
    define: Vec<(String, String)>,
    #[command(flatten)]
    weights: WeightArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// The classes' labels: lines, a JSON list or dictionary [default: NAME.labels.txt beside NAME.kiln]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How many of the best classes to print
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pictures: PictureArgs,
}

pub fn run(mut args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let options = args.compile.options()?;
    let settings = match &args.model {
        None => Some(Settings::installed()?),
        Some(path) if path.extension().is_some_and(|extension| extension == "json") => {
            Some(Settings::load(path)?)
        }
        Some(_) => None,
    };
    let mut path = args.model.unwrap_or_default();
    if let Some(settings) = settings {
        path = settings.model;
        // What the command line says comes last, and stands.
        args.define.splice(0..0, settings.define);
        args.weights = args.weights.or_file(settings.weights);
        args.labels = args.labels.or(settings.labels);
        args.pictures = args.pictures.or_normalised(settings.mean, settings.std);
    }
    let model = ModelArgs::new(path, args.define);
    let loaded = model.load()?;
    let graph = &loaded.graph;
    let &[input] = graph.inputs() else {
        return Err(Failure::input(format!(
            "'{}' has {} inputs; classify needs one",
            graph.name,
            graph.inputs().len()
        )));
    };
    let shape = graph.shape(input);
    let [output] = graph.outputs() else {
        return Err(Failure::input(format!(
            "'{}' has {} outputs; classify needs one",
            graph.name,
            graph.outputs().len()
        )));
    };
    let classes = labels::classes(graph.shape(output.node)).filter(|_| shape.dims().first() == Some(&1));
    let Some(classes) = classes else {
        return Err(Failure::input(format!(
            "'{}' takes {shape} and yields {}; classify needs one picture and one score for each class",
            graph.name,
            graph.shape(output.node)
        )));
    };
    let names = Labels::load(args.labels.as_deref(), &model.model)?;
    names.as_ref().map_or(Ok(()), |names| names.check(classes))?;
    let prepared = Prepared::new(args.compile.backend, graph, &options)?;
    let arrays = args
        .photos
        .iter()
        .map(|photo| args.pictures.read(photo, shape))
        .collect::<Result<Vec<_>, Error>>()?;
    let weights = args.weights.open(&loaded, false)?;
    let mut engine = prepared.bind(weights.source)?;
    let softmax = labels::is_softmax(graph, 0);

    let mut documents = Vec::new();
    for (photo, array) in args.photos.iter().zip(arrays) {
        let scores = engine.run(&[array])?.remove(0);
        let best = labels::best(scores.data(), args.top, softmax);
        let label = |class| names.as_ref().and_then(|names| names.get(class));
        if args.json {
            let best: Vec<_> = best.iter().map(|b| b.to_json(label(b.class))).collect();
            documents.push(json!({ "photo": photo.display().to_string(), "top": best }));
            continue;
        }
        writeln!(out, "{}", photo.display())?;
        let wide = best.iter().map(|b| b.name(label(b.class)).chars().count()).max().unwrap_or(0);
        for entry in &best {
            let name = entry.name(label(entry.class));
            let bar = bar(entry.probability);
            writeln!(out, "  {name:<wide$}  {:5.1} %  {bar}", 100.0 * entry.probability)?;
        }
    }
    if args.json {
        writeln!(out, "{:#}", json!({ "model": graph.name, "photos": documents }))?;
    }
    Ok(())
}

/// A bar of up to 40 characters, in eighths of a character.
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * 320.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}
