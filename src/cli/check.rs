//! `kiln check MODEL`

use std::io::{self, IsTerminal, Write};

use serde_json::json;

use super::failure::Failure;
use super::options::ModelArgs;
use super::text::{count, si, table};
use crate::Elaborated;
use crate::graph::{Endpoint, Summary};

/// Diagnoses a model and prints its size
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print each layer's shape, parameters and multiply-adds
    #[arg(long)]
    layers: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let Elaborated { graph, warnings, .. } = args.model.parse()?.elaborate()?;
    if !warnings.is_empty() {
        let stderr = io::stderr();
        writeln!(&stderr, "{}", warnings.render(stderr.is_terminal()))?;
    }
    let summary = Summary::of(&graph);
    if args.json {
        let mut document = json!(summary);
        document["layer_list"] = document["layers"].take();
        document["layers"] = json!(summary.layers.len());
        writeln!(out, "{document:#}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}: {}, {} parameters, {} multiply-adds, {} → {}",
        summary.name,
        count(summary.layers.len(), "layer"),
        si(summary.parameters as f64),
        si(summary.multiply_adds as f64),
        list(&summary.inputs),
        list(&summary.outputs),
    )?;
    if args.layers {
        let rows = summary.layers.into_iter().map(|layer| {
            let (parameters, multiply_adds) = (si(layer.parameters as f64), si(layer.multiply_adds as f64));
            [layer.name, layer.op.to_owned(), layer.shape.to_string(), parameters, multiply_adds]
        });
        write!(out, "\n{}", table(["layer", "operator", "output", ">parameters", ">multiply-adds"], rows))?;
    }
    Ok(())
}

fn list(endpoints: &[Endpoint]) -> String {
    let endpoints = endpoints.iter().map(|Endpoint { name, shape }| format!("{name} f32{shape}"));
    endpoints.collect::<Vec<_>>().join(", ")
}
