//! `kiln show MODEL`

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use super::failure::Failure;
use super::options::{CompileArgs, ModelArgs};
use super::plan;
use crate::codegen::ptx::Target;
use crate::codegen::target::InstructionSet;
use crate::graph::{DrawOptions, Graph, to_dot, to_svg};
use crate::lower::{Plan, lower};
use crate::passes::{self, Explanation};
use crate::runtime::{Isa, gpu};

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
    /// Draw parameters, constants and what is computed from them alone, too
    #[arg(long)]
    parameters: bool,
    /// Print each rewrite taken or refused, and why, instead of the stage
    #[arg(long)]
    explain: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The syntax tree (text, json)
    Ast,
    /// The graph that the model describes (text, json, dot, svg)
    Graph,
    /// The graph after all rewrites (text, json, dot, svg)
    Fused,
    /// The kernel launches, with every array's place in memory (text, json)
    Plan,
    /// Each distinct kernel as loops over vectors (text)
    Kernels,
    /// Each distinct kernel of the baseline instruction set in Cranelift's language (text)
    Clif,
    /// The machine code of each distinct kernel (text)
    Asm,
    /// The kernels for NVIDIA GPUs from sm_80 on (text); 'kiln ptx' has the other targets
    Ptx,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
    Dot,
    Svg,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let options = args.compile.options()?;
    let rewrite = || -> Result<(Graph, Explanation), Failure> {
        let (fuse, disabled) = (options.fuse, options.disabled.clone());
        let pass_options = passes::Options { fuse, disabled, stop_after: options.stop_after };
        Ok(passes::run(args.model.load()?.graph, &pass_options)?)
    };
    let lowered = |isa: Isa| -> Result<(Graph, Plan), Failure> {
        let graph = rewrite()?.0;
        let plan = lower(&graph, options.lowering(isa.resolve()?))?;
        Ok((graph, plan))
    };
    let text = match (args.stage, args.format) {
        (_, Format::Text) if args.explain => rewrite()?.1.to_string(),
        (_, Format::Json) if args.explain => document(&rewrite()?.1)?,
        (_, format) if args.explain => return Err(no_format("--explain", format)),
        (Stage::Ast, format @ (Format::Text | Format::Json)) => {
            let model = args.model.parse()?;
            let Some(syntax) = model.syntax() else {
                return Err(Failure::Usage(
                    "an ONNX file has no syntax tree; --stage graph shows it".to_owned(),
                ));
            };
            if format == Format::Json { document(syntax)? } else { format!("{syntax:#?}\n") }
        }
        (Stage::Graph, format) => draw(&args.model.load()?.graph, format, args.parameters)?,
        (Stage::Fused, format) => draw(&rewrite()?.0, format, args.parameters)?,
        (Stage::Plan, Format::Text) => {
            lowered(options.isa).map(|(graph, plan)| plan::to_text(&plan, &graph))?
        }
        (Stage::Plan, Format::Json) => {
            let (graph, plan) = lowered(options.isa)?;
            document(&plan::to_json(&plan, &graph))?
        }
        (Stage::Kernels, Format::Text) => plan::kernels(&lowered(options.isa)?.1),
        (Stage::Clif, Format::Text) => plan::clif(&lowered(Isa::Exactly(InstructionSet::Baseline))?.1)?,
        (Stage::Ptx, Format::Text) => {
            let module = gpu::compile(&args.model.load()?.graph, &options.for_gpu(Target::Sm80))?;
            module.ptx()
        }
        (Stage::Asm, Format::Text) => plan::assembly(&lowered(options.isa)?.1)?,
        (_, format) => return Err(no_format("this stage", format)),
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}

fn no_format(what: &str, format: Format) -> Failure {
    Failure::Usage(format!("{what} is not printed as {}", format!("{format:?}").to_lowercase()))
}

fn document(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    text.push('\n');
    Ok(text)
}

fn draw(graph: &Graph, format: Format, parameters: bool) -> Result<String, Failure> {
    let options = DrawOptions { parameters };
    Ok(match format {
        Format::Text => graph.to_string(),
        Format::Json => document(graph)?,
        Format::Dot => to_dot(graph, &options),
        Format::Svg => to_svg(graph, &options),
    })
}
