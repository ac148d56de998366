//! Models compiled for NVIDIA GPUs: PTX, the plan of its launches, the blob of weights. No device takes part.

use std::collections::HashMap;
use std::sync::Arc;

use super::CompileError;
use crate::codegen::ptx::Target;
use crate::graph::{Graph, NodeId};
use crate::interpreter;
use crate::kernels::gpu::gemm::Precision;
use crate::lower::gpu::{GpuOptions, GpuPlan, lower};
use crate::passes::{self, Explanation};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// How a graph is compiled for a GPU.
#[derive(Clone, Debug)]
pub struct GpuCompileOptions {
    pub target: Target,
    pub precision: Precision,
    /// Which rewrites run.
    pub passes: passes::Options,
}

impl GpuCompileOptions {
    /// Fused, in strict `f32`.
    pub fn new(target: Target) -> Self {
        GpuCompileOptions { target, precision: Precision::F32, passes: passes::Options::default() }
    }
}

/// A graph compiled for a GPU, without the values of its weights.
pub struct GpuModule {
    graph: Graph,
    plan: GpuPlan,
    explanation: Explanation,
}

/// Rewrites and lowers a graph for a GPU.
///
/// # Errors
/// Where the target lacks the precision, an array is too large, or an operator has no GPU kernel.
pub fn compile(graph: &Graph, options: &GpuCompileOptions) -> Result<GpuModule, CompileError> {
    let (graph, explanation) = passes::run(graph.clone(), &options.passes)?;
    let GpuCompileOptions { target, precision, .. } = *options;
    let plan = lower(&graph, GpuOptions { target, precision })?;
    Ok(GpuModule { graph, plan, explanation })
}

impl GpuModule {
    /// The graph after all rewrites.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn plan(&self) -> &GpuPlan {
        &self.plan
    }

    /// Which rewrites were taken, which were not, and why.
    pub fn explanation(&self) -> &Explanation {
        &self.explanation
    }

    /// The kernels as a PTX module.
    pub fn ptx(&self) -> String {
        self.plan.ptx()
    }

    /// The weights as the kernels read them: [`GpuPlan::weight_bytes`] bytes, little-endian.
    ///
    /// # Errors
    /// Where a weight is missing or misshapen.
    pub fn pack(&self, weights: &Weights) -> Result<Vec<u8>, CompileError> {
        let wanted: Vec<NodeId> = self.plan.weight_nodes();
        let values = interpreter::evaluate_constants(&self.graph, weights, &wanted)?;
        let values: HashMap<NodeId, Arc<Tensor>> = wanted.into_iter().zip(values).collect();
        Ok(self.plan.pack(&values))
    }
}
