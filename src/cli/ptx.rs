//! `kiln ptx MODEL`

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;

use super::failure::Failure;
use super::options::{ModelArgs, WeightArgs};
use crate::Error;
use crate::codegen::ptx::Target;
use crate::io::AtomicFile;
use crate::kernels::gpu::gemm::Precision;
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionArg {
    /// IEEE single precision
    F32,
    /// Tensor cores, factors rounded to 11 significant bits
    Tf32,
    /// Tensor cores, half floats
    F16,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let target: Target = args.target.parse().map_err(Failure::input)?;
    let precision = match args.precision {
        PrecisionArg::F32 => Precision::F32,
        PrecisionArg::Tf32 => Precision::Tf32,
        PrecisionArg::F16 => Precision::F16,
    };
    let passes = passes::Options { fuse: !args.no_fuse, disabled: args.disable, stop_after: None };
    let files: [Option<AtomicFile>; 3] = create([&args.output, &args.plan, &args.weights_blob])?;
    let graph = args.model.load()?.graph;
    let module = compile(&graph, &GpuCompileOptions { target, precision, passes })?;
    let [ptx, plan, blob] = files;
    let mut written = Vec::new();
    if let Some(file) = blob {
        let weights = args.weights.load(&graph, &args.model.model, false)?.weights;
        written.push(fill(file, &module.pack(&weights)?)?);
    }
    if let Some(file) = plan {
        let mut text =
            serde_json::to_vec_pretty(&module.plan().to_json(&graph.name)).map_err(std::io::Error::from)?;
        text.push(b'\n');
        written.push(fill(file, &text)?);
    }
    match ptx {
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
