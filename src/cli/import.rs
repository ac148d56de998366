//! `kiln import NET.onnx -o NET.kiln`

use std::io::Write;
use std::path::PathBuf;

use super::failure::Failure;
use super::options::ModelArgs;
use super::text::count;
use crate::io::AtomicFile;
use crate::weights::{self, Weights};
use crate::{Error, Model, dsl, interpreter};

/// Writes an ONNX file as a readable model file, with its weights beside it
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The model file to write; its weights become NET.safetensors beside it
    #[arg(long, short, value_name = "NET.kiln")]
    output: PathBuf,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let beside = args.output.with_extension("safetensors");
    if args.output.extension().is_none_or(|extension| extension != "kiln") {
        return Err(Failure::Usage(format!("'{}' does not end in .kiln", args.output.display())));
    }
    let loaded = args.model.load()?;
    let graph = &loaded.graph;
    let Some(own) = loaded.own_weights() else {
        return Err(Failure::Usage("only ONNX files are imported; this is a model file already".to_owned()));
    };
    let written = dsl::write(graph).map_err(Error::input)?;
    // What was written describes the network, or nothing is left behind.
    Model::parse(written.text.as_str())?.graph()?;
    let (keys, nodes): (Vec<&String>, Vec<_>) = written.weights.iter().unzip();
    let values = interpreter::evaluate_constants(graph, own, &nodes)?;
    let mut arrays = Weights::default();
    for (key, value) in keys.iter().zip(values) {
        arrays.insert(key.as_str(), value);
    }
    let (mut text, mut file) = (AtomicFile::create(&args.output)?, AtomicFile::create(&beside)?);
    text.write_all(written.text.as_bytes()).map_err(Error::write(&args.output))?;
    weights::write(&arrays, &mut file).map_err(Error::write(&beside))?;
    file.commit()?;
    text.commit()?;
    writeln!(out, "{}: {}", args.output.display(), count(written.text.lines().count(), "line"))?;
    writeln!(out, "{}: {}", beside.display(), count(keys.len(), "array"))?;
    Ok(())
}
