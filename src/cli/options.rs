//! Options that several commands share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::progress::spinner;
use crate::codegen::target::{Core, InstructionSet};
use crate::graph::Graph;
use crate::kernels::gpu::gemm::Precision;
use crate::kernels::packed::WeightType;
use crate::lower::Tuning;
use crate::machine::cpu_name;
use crate::runtime::cuda::Device;
use crate::runtime::{CompileOptions, Isa};
use crate::tune::TuningFile;
use crate::weights::{self, HubAddress, WeightFile, WeightSource, Weights};
use crate::{Elaborated, Error, Model};

/// Which model, with which parameters.
#[derive(Args)]
pub struct ModelArgs {
    /// The model file
    pub model: PathBuf,
    /// Sets a parameter of the model, as in -D alpha=0.5
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = parse_define)]
    define: Vec<(String, String)>,
}

pub fn parse_define(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("give it as NAME=VALUE, such as alpha=0.5".to_owned()),
    }
}

/// A model's graph, and the seconds that it took to get there.
pub struct LoadedModel {
    pub graph: Graph,
    path: PathBuf,
    /// Those that the model file itself holds.
    weights: Option<Weights>,
    pub parse: f64,
    pub elaborate: f64,
}

impl LoadedModel {
    /// The weights that the model file itself holds, as ONNX files do.
    pub fn own_weights(&self) -> Option<&Weights> {
        self.weights.as_ref()
    }
}

impl ModelArgs {
    pub fn new(model: PathBuf, define: Vec<(String, String)>) -> Self {
        ModelArgs { model, define }
    }

    /// The model's name with the parameters given: `resnet, depth = 18`.
    pub fn describe(&self, graph: &Graph) -> String {
        let given = self.define.iter().map(|(name, value)| format!(", {name} = {value}"));
        graph.name.clone() + &given.collect::<String>()
    }

    /// Reads and parses the model.
    pub fn parse(&self) -> Result<Model, Error> {
        let model = Model::load(&self.model)?;
        Ok(self.define.iter().fold(model, |model, (name, value)| model.define(name, value)))
    }

    /// Reads, parses and elaborates the model.
    pub fn load(&self) -> Result<LoadedModel, Error> {
        let start = Instant::now();
        let model = self.parse()?;
        let parse = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let Elaborated { graph, weights, .. } = model.elaborate()?;
        let path = self.model.clone();
        Ok(LoadedModel { graph, path, weights, parse, elaborate: start.elapsed().as_secs_f64() })
    }
}

/// Where the weights come from.
#[derive(Args)]
pub struct WeightArgs {
    /// The weights: safetensors, an index of such files, a PyTorch checkpoint (.pth), or a repository
    /// [default: NAME.safetensors beside NAME.kiln]
    #[arg(
        long,
        value_name = "FILE|hf://OWNER/NAME[/FILE][@REVISION]",
        value_parser = parse_weight_address,
        conflicts_with = "random_weights"
    )]
    weights: Option<WeightAddress>,
    /// Kaiming-scaled random weights, the same on every machine
    #[arg(long, value_name = "SEED")]
    random_weights: Option<u64>,
    /// Accept a weight file with arrays that the model does not ask for
    #[arg(long)]
    allow_extra: bool,
}

/// A weight file, here or in a repository.
#[derive(Clone)]
pub enum WeightAddress {
    File(PathBuf),
    Hub(HubAddress),
}

pub fn parse_weight_address(text: &str) -> Result<WeightAddress, String> {
    if text.starts_with("hf://") {
        text.parse().map(WeightAddress::Hub)
    } else {
        Ok(WeightAddress::File(text.into()))
    }
}

impl WeightAddress {
    /// The file on this machine.
    ///
    /// # Errors
    /// Where it cannot be fetched.
    pub fn path(&self) -> Result<PathBuf, Error> {
        match self {
            WeightAddress::File(path) => Ok(path.clone()),
            WeightAddress::Hub(address) => spinner("downloading", || address.fetch()),
        }
    }
}

impl fmt::Display for WeightAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WeightAddress::File(path) => path.display().fmt(f),
            WeightAddress::Hub(address) => address.fmt(f),
        }
    }
}

/// Weights, where they come from, and the seconds that opening, reading or drawing them has taken.
pub struct OpenedWeights {
    pub source: WeightSource,
    pub origin: String,
    pub seconds: f64,
}

impl OpenedWeights {
    /// All arrays that a model asks for, kept in memory from now on.
    pub fn hold(&mut self, graph: &Graph) -> Result<Weights, Error> {
        let start = Instant::now();
        let weights = self.source.hold(graph)?;
        self.seconds += start.elapsed().as_secs_f64();
        Ok(weights)
    }
}

/// Weights in memory, and where they came from.
pub struct LoadedWeights {
    pub weights: Weights,
    pub origin: String,
}

impl WeightArgs {
    /// Takes the weights from `file` where no option names them.
    pub fn or_file(mut self, file: PathBuf) -> Self {
        if self.weights.is_none() && self.random_weights.is_none() {
            self.weights = Some(WeightAddress::File(file));
        }
        self
    }

    /// The weights of `model`, in memory.
    ///
    /// # Errors
    /// As [`WeightArgs::open`], or where one cannot be read.
    pub fn load(&self, model: &LoadedModel, or_random: bool) -> Result<LoadedWeights, Error> {
        let mut opened = self.open(model, or_random)?;
        Ok(LoadedWeights { weights: opened.hold(&model.graph)?, origin: opened.origin })
    }

    /// The weights of `model`, those of a file yet to be read. Where no option names them, the model holds none and none
    /// lie beside it, they are random if `or_random`.
    ///
    /// # Errors
    /// Where there are none, or they are not the model's.
    pub fn open(&self, model: &LoadedModel, or_random: bool) -> Result<OpenedWeights, Error> {
        let start = Instant::now();
        let LoadedModel { graph, path, .. } = model;
        if let (None, None, Some(own)) = (self.random_weights, &self.weights, &model.weights) {
            let (source, origin) = (own.into(), "its own weights".to_owned());
            return Ok(OpenedWeights { source, origin, seconds: start.elapsed().as_secs_f64() });
        }
        let beside = path.with_extension("safetensors");
        let source = match &self.weights {
            Some(source) => Some(source.clone()),
            None => beside.is_file().then(|| WeightAddress::File(beside.clone())),
        };
        let (source, origin) = match (self.random_weights, source) {
            (Some(seed), _) => random(graph, seed),
            (None, Some(source)) => {
                (open(graph, &source.path()?, self.allow_extra)?.into(), source.to_string())
            }
            (None, None) if or_random || !has_parameters(graph) => random(graph, 0),
            (None, None) => {
                return Err(Error::input(format!(
                    "no weights for '{}': pass --weights FILE, or --random-weights SEED to try the \
                     model without trained ones ('{}' would be taken by itself, but is not there)",
                    path.display(),
                    beside.display()
                )));
            }
        };
        Ok(OpenedWeights { source, origin, seconds: start.elapsed().as_secs_f64() })
    }
}

fn has_parameters(graph: &Graph) -> bool {
    !weights::bind(graph, []).missing.is_empty()
}

fn random(graph: &Graph, seed: u64) -> (WeightSource, String) {
    (weights::random(graph, seed).into(), format!("random weights (seed {seed})"))
}

/// Opens the weights of `graph`, after checking that the file holds exactly what it asks for.
fn open(graph: &Graph, path: &Path, allow_extra: bool) -> Result<WeightFile, Error> {
    let file = WeightFile::open(path)?;
    weights::bind(graph, file.arrays()).check(allow_extra).map_err(|mismatch| {
        let hint =
            if mismatch.0.only_extra() { "\n--allow-extra accepts a file with more in it" } else { "" };
        Error::file(path, format!("these are not the weights of '{}': {mismatch}{hint}", graph.name))
    })?;
    Ok(file)
}

/// What computes the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Backend {
    /// Compiled code
    Cpu,
    /// Plain loops in double precision: slow, and what compiled code is checked against
    Interpreter,
    /// Compiled code on an NVIDIA GPU, through its driver
    Cuda,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum WeightTypeArg {
    F32,
    /// Half the bytes where reading weights takes the time, as in dense layers; the error is reported
    F16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum IsaArg {
    /// The widest that this CPU has
    Auto,
    Avx512,
    Avx2,
    /// 128-bit vectors on any CPU
    Baseline,
}

impl IsaArg {
    pub fn isa(self) -> Isa {
        match self {
            IsaArg::Auto => Isa::Auto,
            IsaArg::Avx512 => Isa::Exactly(InstructionSet::Avx512),
            IsaArg::Avx2 => Isa::Exactly(InstructionSet::Avx2),
            IsaArg::Baseline => Isa::Exactly(InstructionSet::Baseline),
        }
    }
}

/// The number of threads given, or one for each of the machine's cores.
pub fn threads(given: Option<u16>) -> usize {
    given.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from)
}

/// What products are computed in; sums are f32 in all of them.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// IEEE single precision
    F32,
    /// Tensor cores, factors rounded to 11 significant bits
    Tf32,
    /// Tensor cores, half floats
    F16,
}

impl PrecisionArg {
    pub fn precision(self) -> Precision {
        match self {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::Tf32 => Precision::Tf32,
            PrecisionArg::F16 => Precision::F16,
        }
    }
}

/// A model, its weights, and how it is compiled.
#[derive(Args)]
pub struct SubjectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub weights: WeightArgs,
    #[command(flatten)]
    pub compile: CompileArgs,
}

/// How the model is compiled.
#[derive(Args)]
pub struct CompileArgs {
    /// What computes the answer
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub backend: Backend,
    /// The vector instructions to use
    #[arg(long, value_enum, default_value_t = IsaArg::Auto)]
    isa: IsaArg,
    /// What a GPU computes products in
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    precision: PrecisionArg,
    /// How weights are stored in memory; they are multiplied as f32 either way
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    weights_dtype: WeightTypeArg,
    /// Use no method with fewer multiplications (Winograd's, minimal filtering, crossed products)
    #[arg(long)]
    no_winograd: bool,
    /// Compile every operator as a kernel of its own
    #[arg(long)]
    pub no_fuse: bool,
    /// Leave out a rewrite; may be given several times
    #[arg(long, value_name = "PASS")]
    disable: Vec<String>,
    /// Stop after this many rewrites, to find the one that changes a result
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
    /// How many threads compute [default: one for each of the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The choices that 'kiln tune' found, from another file than its default, or none
    #[arg(long, value_name = "FILE|none")]
    pub tuning: Option<PathBuf>,
}

impl CompileArgs {
    /// # Errors
    /// Where the device is not there, or a tuning file that was named is of no use.
    pub fn options(&self) -> Result<CompileOptions, Failure> {
        let options = self.untuned()?;
        let tuning = match self.backend {
            Backend::Cpu => self.load_tuning(&options)?,
            _ => Tuning::default(),
        };
        Ok(CompileOptions { tuning: Arc::new(tuning), ..options })
    }

    /// The choices that were measured for these options. A file that nobody named is ignored where it is damaged.
    fn load_tuning(&self, options: &CompileOptions) -> Result<Tuning, Failure> {
        let file = match &self.tuning {
            Some(path) if path.as_os_str() == "none" => return Ok(Tuning::default()),
            Some(path) => TuningFile::load(path).map_err(Failure::input)?,
            None => {
                let Some(path) = TuningFile::default_path() else { return Ok(Tuning::default()) };
                TuningFile::load_or_new(&path).unwrap_or_else(|error| {
                    eprintln!("warning: {error}; it is ignored");
                    TuningFile::default()
                })
            }
        };
        // An instruction set that is not there is reported where it is used.
        let Ok(isa) = options.isa.resolve() else { return Ok(Tuning::default()) };
        Ok(file.tuning(&cpu_name(), isa))
    }

    /// The options without any choices that were measured.
    ///
    /// # Errors
    /// Where the device is not there.
    pub fn untuned(&self) -> Result<CompileOptions, Failure> {
        if self.backend == Backend::Cuda {
            Device::open()?;
        }
        Ok(CompileOptions {
            fuse: !self.no_fuse,
            disabled: self.disable.clone(),
            stop_after: self.stop_after,
            isa: self.isa.isa(),
            core: Core::detect(),
            winograd: !self.no_winograd,
            weight_type: match self.weights_dtype {
                WeightTypeArg::F32 => WeightType::F32,
                WeightTypeArg::F16 => WeightType::F16,
            },
            precision: self.precision.precision(),
            threads: threads(self.threads),
            tuning: Arc::default(),
        })
    }
}
