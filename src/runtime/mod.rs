//! Running compiled plans: memory, threads, timing.

use crate::graph::Graph;
use crate::tensor::{Shape, Tensor};
use crate::weights::Weights;

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
    /// How many threads a run uses, the caller's included.
    pub threads: usize,
}

/// Which instruction set the kernels use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    /// The widest that this CPU has.
    Auto,
    Avx512,
    Avx2,
    /// 128-bit vectors through Cranelift, on any CPU that it knows.
    Baseline,
}

/// Seconds spent in each stage of a compilation.
#[derive(Clone, Copy, Default, Debug, serde::Serialize)]
pub struct CompileTimings {
    pub passes: f64,
    pub lower: f64,
    pub codegen: f64,
    pub pack_weights: f64,
}

/// An input or output of an executable.
#[derive(Clone, Debug)]
pub struct Port {
    pub name: String,
    pub shape: Shape,
}

/// One kernel launch of an executable.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StepInfo {
    /// The layers it computes, such as `layer1.0.conv1`.
    pub layers: Vec<String>,
    /// The kernel's problem string.
    pub kernel: String,
    pub multiply_adds: u64,
    /// Bytes of activations read and written through the arena.
    pub activation_bytes: u64,
    pub weight_bytes: u64,
}

/// A compiled model.
pub struct Executable {}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(pub String);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RunError(pub String);

/// Compiles a graph for this CPU.
pub fn compile(
    _graph: &Graph,
    _weights: &Weights,
    _options: &CompileOptions,
) -> Result<Executable, CompileError> {
    unimplemented!()
}

impl Executable {
    pub fn inputs(&self) -> &[Port] {
        unimplemented!()
    }
    pub fn outputs(&self) -> &[Port] {
        unimplemented!()
    }
    /// Runs on `inputs` in the order of [`Executable::inputs`].
    pub fn run(&mut self, _inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        unimplemented!()
    }
    /// One run, with the seconds each step took.
    pub fn run_timed(&mut self, _inputs: &[Tensor]) -> Result<(Vec<Tensor>, Vec<f64>), RunError> {
        unimplemented!()
    }
    pub fn steps(&self) -> &[StepInfo] {
        unimplemented!()
    }
    pub fn timings(&self) -> CompileTimings {
        unimplemented!()
    }
    pub fn arena_bytes(&self) -> usize {
        unimplemented!()
    }
    /// What the arena would take if no buffer were reused.
    pub fn arena_bytes_without_reuse(&self) -> usize {
        unimplemented!()
    }
}
