//! Running compiled plans: memory, threads, timing.

mod binding;
pub mod cuda;
mod executable;
pub mod gpu;
mod kernel_runner;
mod memory;
mod observe;
mod threads;

use std::sync::Arc;

use serde::Serialize;

pub use executable::{Compiled, Executable, Port, StepInfo, compile};
pub(crate) use kernel_runner::KernelRunner;

use crate::codegen::module::CodegenFailure;
use crate::codegen::ptx::Target;
use crate::codegen::target::{Core, Cpu, InstructionSet};
use crate::interpreter::EvaluateError;
use crate::kernels::gpu::gemm::Precision;
use crate::kernels::packed::WeightType;
use crate::lower::gpu::GpuLowerError;
use crate::lower::{LowerError, LowerOptions, Tuning};
use crate::passes::{self, PassError};
use crate::tensor::Shape;

/// How a graph is compiled.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Whether fusing passes run; `false` compiles each operator as a kernel of its own.
    pub fuse: bool,
    /// Passes, by name, that do not run.
    pub disabled: Vec<String>,
    /// Stop rewriting after this many rewrites.
    pub stop_after: Option<usize>,
    pub isa: Isa,
    /// The kind of core that kernels are cut up for.
    pub core: Core,
    /// Whether convolutions may be computed by Winograd's method, minimal filtering or crossed products, where that is
    /// faster.
    pub winograd: bool,
    /// How weights are stored where reading them takes the time, as in dense layers.
    pub weight_type: WeightType,
    /// What a GPU computes products in.
    pub precision: Precision,
    /// How many threads a run uses, the caller's included.
    pub threads: usize,
    /// Choices that were measured on this machine, such as [`TuningFile`](crate::tune::TuningFile) remembers.
    pub tuning: Arc<Tuning>,
}

impl Default for CompileOptions {
    /// Fused, for the widest instruction set and all cores of this machine.
    fn default() -> Self {
        CompileOptions {
            fuse: true,
            disabled: Vec::new(),
            stop_after: None,
            isa: Isa::Auto,
            core: Core::detect(),
            winograd: true,
            weight_type: WeightType::F32,
            precision: Precision::F32,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            tuning: Arc::default(),
        }
    }
}

impl CompileOptions {
    /// The same for a GPU.
    pub fn for_gpu(&self, target: Target) -> gpu::GpuCompileOptions {
        let passes =
            passes::Options { fuse: self.fuse, disabled: self.disabled.clone(), stop_after: self.stop_after };
        gpu::GpuCompileOptions { target, precision: self.precision, passes }
    }

    /// What of it concerns lowering.
    pub fn lowering(&self, isa: InstructionSet) -> LowerOptions<'_> {
        let CompileOptions { winograd, weight_type, threads, .. } = *self;
        LowerOptions {
            target: Cpu { isa, core: self.core },
            winograd,
            weight_type,
            threads,
            tuning: &self.tuning,
        }
    }
}

/// Which instruction set the kernels use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    /// The widest that this CPU has.
    Auto,
    Exactly(InstructionSet),
}

impl Isa {
    /// The instruction set that is meant on this CPU.
    pub fn resolve(self) -> Result<InstructionSet, CompileError> {
        match self {
            Isa::Auto => Ok(InstructionSet::detect()),
            Isa::Exactly(set) if set.is_available() => Ok(set),
            Isa::Exactly(set) => Err(CompileError::NotAvailable(set)),
        }
    }
}

/// Seconds spent in each stage of a compilation.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub struct CompileTimings {
    pub passes: f64,
    pub lower: f64,
    pub codegen: f64,
    /// Reading a file while arrays are packed, one thread at a time.
    pub read_weights: f64,
    /// What else binding weights took.
    pub pack_weights: f64,
}

/// Why a graph could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("this CPU cannot run {0} code")]
    NotAvailable(InstructionSet),
    #[error(transparent)]
    Pass(#[from] PassError),
    #[error(transparent)]
    Lower(#[from] LowerError),
    #[error(transparent)]
    GpuLower(#[from] GpuLowerError),
    #[error(transparent)]
    Codegen(#[from] CodegenFailure),
    /// `layer` is the first that needs the kernel.
    #[error("layer '{layer}' cannot be compiled: {source}")]
    Kernel { layer: String, source: CodegenFailure },
    #[error(transparent)]
    Weights(#[from] EvaluateError),
    #[error("weight '{weight}' has the value {value}, which f16 cannot hold; f32 can")]
    WeightRange { weight: String, value: f32 },
    #[error("cannot get memory or threads from the system: {0}")]
    System(#[from] std::io::Error),
}

/// Why an executable could not run.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum RunError {
    #[error("the model has {expected} {what}s, {given} were given")]
    Count { what: &'static str, expected: usize, given: usize },
    #[error("input '{name}' must be {expected}, not {given}")]
    InputShape { name: String, expected: Shape, given: Shape },
    #[error("{what} '{name}' has {expected} elements, {given} were given")]
    Length { what: &'static str, name: String, expected: usize, given: usize },
}
