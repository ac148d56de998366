//! `kiln weights MODEL FILE`

use std::io::Write;

use serde_json::json;

use super::failure::Failure;
use super::options::{ModelArgs, WeightAddress, parse_weight_address};
use crate::weights::{self, WeightFile};

/// Says which arrays of a weight file match the model, are missing, extra or misshapen
///
/// Exits with 1 unless all match.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The weight file: safetensors, an index of such files, a PyTorch checkpoint (.pth), or a repository
    #[arg(value_name = "FILE|hf://OWNER/NAME", value_parser = parse_weight_address)]
    file: WeightAddress,
    /// List what matches too
    #[arg(long)]
    all: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let graph = args.model.load()?.graph;
    let file = WeightFile::open(&args.file.path()?)?;
    let binding = weights::bind(&graph, file.arrays());
    if args.json {
        let mut document = json!(binding);
        document["model"] = json!(graph.name);
        document["file"] = json!(args.file.to_string());
        writeln!(out, "{document:#}")?;
    } else {
        writeln!(out, "{}: {binding}", args.file)?;
        if args.all {
            for key in &binding.matched {
                writeln!(out, "  matched    {key}")?;
            }
        }
    }
    if binding.check(false).is_ok() { Ok(()) } else { Err(Failure::Reported) }
}
