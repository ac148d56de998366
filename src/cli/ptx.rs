//! `kiln ptx MODEL`

use std::io::Write;
use std::path::PathBuf;

use super::failure::Failure;
use super::layers::name;
use super::options::{ModelArgs, PrecisionArg, WeightArgs};
use super::text::{bytes, si, table, time};
use crate::Error;
use crate::codegen::ptx::Target;
use crate::io::AtomicFile;
use crate::kernels::gpu::GpuFamily;
use crate::lower::gpu::{Estimate, GpuPlan};
use crate::passes;
use crate::runtime::gpu::{GpuCompileOptions, compile};

/// Compiles a model to PTX, the language of NVIDIA's GPUs; no GPU and no CUDA is needed
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    weights: WeightArgs,
    /// The compute capability: sm_70, sm_75, sm_80, sm_86, sm_89 or sm_90; later devices run it, too
    #[arg(long, value_name = "TARGET")]
    target: String,
    /// What products are computed in; sums are f32 in all of them
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    precision: PrecisionArg,
    /// Compile every operator as a kernel of its own
    #[arg(long)]
    no_fuse: bool,
    /// Leave out a rewrite; may be given several times
    #[arg(long, value_name = "PASS")]
    disable: Vec<String>,
    /// Print, instead of PTX, the launches and the time they take at least by the data sheet of the target's device
    #[arg(long)]
    estimate: bool,
    /// Where the PTX goes [default: the standard output]
    #[arg(long, short, value_name = "FILE.ptx")]
    output: Option<PathBuf>,
    /// Write what a host needs to launch the kernels
    #[arg(long, value_name = "FILE.json")]
    plan: Option<PathBuf>,
    /// Write the weights as the kernels read them
    #[arg(long, value_name = "FILE.bin")]
    weights_blob: Option<PathBuf>,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let target: Target = args.target.parse().map_err(Failure::input)?;
    let precision = args.precision.precision();
    let passes = passes::Options { fuse: !args.no_fuse, disabled: args.disable, stop_after: None };
    let files: [Option<AtomicFile>; 3] = create([&args.output, &args.plan, &args.weights_blob])?;
    let loaded = args.model.load()?;
    let graph = &loaded.graph;
    let module = compile(graph, &GpuCompileOptions { target, precision, passes })?;
    let [ptx, plan, blob] = files;
    let mut written = Vec::new();
    if let Some(file) = blob {
        let weights = args.weights.load(&loaded, false)?.weights;
        written.push(fill(file, &module.pack(&weights)?)?);
    }
    if let Some(file) = plan {
        let mut text =
            serde_json::to_vec_pretty(&module.plan().to_json(&graph.name)).map_err(std::io::Error::from)?;
        text.push(b'\n');
        written.push(fill(file, &text)?);
    }
    if args.estimate {
        let description = args.model.describe(graph);
        estimate(&description, module.plan(), out)?;
    }
    match ptx {
        None if args.estimate => {}
        Some(file) => written.push(fill(file, module.ptx().as_bytes())?),
        None => out.write_all(module.ptx().as_bytes())?,
    }
    written.into_iter().try_for_each(AtomicFile::commit)?;
    Ok(())
}

/// Opens the files before the work, so that no output is lost to a mistyped path.
fn create(paths: [&Option<PathBuf>; 3]) -> Result<[Option<AtomicFile>; 3], Error> {
    let mut files = [None, None, None];
    for at in 0..paths.len() {
        let Some(path) = paths[at] else { continue };
        let file = AtomicFile::create(path)?;
        if files.iter().flatten().any(|other: &AtomicFile| file.same_place(other)) {
            return Err(Error::input(format!("'{}' cannot take two outputs", path.display())));
        }
        files[at] = Some(file);
    }
    Ok(files)
}

fn fill(mut file: AtomicFile, bytes: &[u8]) -> Result<AtomicFile, Error> {
    let path = file.path().to_owned();
    file.write_all(bytes).map_err(Error::write(&path))?;
    Ok(file)
}

/// The launches, and what they cost at least.
fn estimate(description: &str, plan: &GpuPlan, out: &mut dyn Write) -> Result<(), Failure> {
    let Estimate { roofs, arithmetic_ms, memory_ms, launch_ms, floor_ms, .. } = plan.estimate();
    let rows = plan.steps.iter().map(|step| {
        let launch = plan.launch(step);
        let [x, y, z] = launch.grid;
        [
            name(&step.layers),
            format!("{x}×{y}×{z}"),
            launch.threads.to_string(),
            si(step.work.multiply_adds as f64),
            bytes(step.work.activation_bytes),
            bytes(step.work.weight_bytes),
            plan.kernels[step.kernel].name(),
        ]
    });
    let header = ["layers", ">grid", ">block", ">multiply-adds", ">activations", ">weights", "kernel"];
    let (target, precision) = (plan.target, plan.precision.name());
    writeln!(
        out,
        "{description} for {target}, {precision}: {} launches of {} kernels",
        plan.steps.len(),
        plan.kernels.len()
    )?;
    writeln!(out, "arena {}, weights {}\n", bytes(plan.arena_bytes as u64), bytes(plan.weight_bytes as u64))?;
    write!(out, "{}", table(header, rows))?;
    let ms = |value: f64| time(value * 1e-3);
    writeln!(out, "\nestimate from the data sheet of {}; nothing was measured", roofs.device)?;
    writeln!(
        out,
        "arithmetic alone {}, memory alone {}, launches alone {}",
        ms(arithmetic_ms),
        ms(memory_ms),
        ms(launch_ms)
    )?;
    writeln!(out, "no run is faster than {}", ms(floor_ms))?;
    Ok(())
}
