//! `kiln show MODEL`

use std::io::Write;

use clap::ValueEnum;
use serde_json::json;

use super::failure::Failure;
use super::options::{CompileArgs, ModelArgs};
use crate::graph::Graph;
use crate::passes;

/// Prints any stage of compilation
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// Which stage
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    stage: Stage,
    /// As what
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print each rewrite taken or refused, and why, instead of the stage
    #[arg(long)]
    explain: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The syntax tree
    Ast,
    /// The graph that the model describes
    Graph,
    /// The graph after all rewrites
    Fused,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let options = args.compile.options()?;
    let options =
        passes::Options { fuse: options.fuse, disabled: options.disabled, stop_after: options.stop_after };
    if args.explain {
        let graph = args.model.load()?.graph;
        let (_, explanation) = passes::run(graph, &options)?;
        match args.format {
            Format::Json => writeln!(out, "{:#}", json!(explanation))?,
            _ => write!(out, "{explanation}")?,
        }
        return Ok(());
    }
    match args.stage {
        Stage::Ast => {
            let model = args.model.parse()?;
            match args.format {
                Format::Text => writeln!(out, "{:#?}", model.syntax())?,
                Format::Json => writeln!(out, "{:#}", json!(model.syntax()))?,
            }
        }
        Stage::Graph => print_graph(&args.model.load()?.graph, args.format, out)?,
        Stage::Fused => {
            let graph = args.model.load()?.graph;
            print_graph(&passes::run(graph, &options)?.0, args.format, out)?;
        }
    }
    Ok(())
}

fn print_graph(graph: &Graph, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    match format {
        Format::Text => write!(out, "{graph}")?,
        Format::Json => {
            writeln!(out, "{}", serde_json::to_string_pretty(graph).map_err(std::io::Error::from)?)?
        }
    }
    Ok(())
}
