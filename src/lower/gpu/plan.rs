//! What a host needs to run a model on a GPU.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::weights::GpuPackedArray;
use crate::codegen::ptx::{self, Entry, Target};
use crate::graph::NodeId;
use crate::kernels::gpu::gemm::Precision;
use crate::kernels::gpu::{GpuFamily, GpuKernel, Launch, identifier};
use crate::lower::Work;
use crate::tensor::{Shape, Tensor};

/// The launches that compute a graph on a GPU, and the place of every array in two blocks of its memory: the arena,
/// which holds inputs, outputs and what lies between, and the blob of weights.
#[derive(Clone, Debug)]
pub struct GpuPlan {
    pub target: Target,
    pub precision: Precision,
    /// The distinct kernels.
    pub kernels: Vec<GpuKernel>,
    /// The launches, in order; each waits for the one before.
    pub steps: Vec<GpuStepPlan>,
    /// Arrays in the blob of weights.
    pub packed: Vec<GpuPackedArray>,
    pub weight_bytes: usize,
    pub arena_bytes: usize,
    pub arena_bytes_without_reuse: usize,
    /// In the order of the graph's inputs.
    pub inputs: Vec<GpuPort>,
    /// In the order of the graph's outputs.
    pub outputs: Vec<GpuPort>,
}

/// A kernel launch.
#[derive(Clone, Debug)]
pub struct GpuStepPlan {
    /// Which of [`GpuPlan::kernels`].
    pub kernel: usize,
    /// Pointers to pass, in order.
    pub arguments: Vec<Argument>,
    /// The layers it computes, by name.
    pub layers: Vec<String>,
    pub work: Work,
}

/// A pointer that a kernel is passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Argument {
    pub memory: Memory,
    /// Bytes from the block's base.
    pub offset: usize,
    /// How many bytes from there the kernel may reach.
    pub bytes: usize,
    pub access: Access,
}

/// What a kernel does with what an argument points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    Read,
    Write,
}

/// A block of device memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    Arena,
    Weights,
}

/// A model input or output: a row-major `f32` array in the arena.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GpuPort {
    pub name: String,
    pub shape: Shape,
    /// Bytes from the arena's base.
    pub offset: usize,
    pub bytes: usize,
}

impl GpuPlan {
    /// The kernels' text, in the order of [`GpuPlan::kernels`].
    pub fn entries(&self) -> Vec<Entry> {
        let names = self.entry_names();
        self.kernels.iter().zip(names).map(|(kernel, name)| kernel.emit(&name, self.target)).collect()
    }

    /// The kernels' names in the PTX.
    pub fn entry_names(&self) -> Vec<String> {
        let mut taken: HashMap<String, usize> = HashMap::new();
        let name = |kernel: &GpuKernel| {
            let name = identifier(&kernel.name());
            let times = taken.entry(name.clone()).or_default();
            *times += 1;
            if *times == 1 { name } else { format!("{name}__{times}") }
        };
        self.kernels.iter().map(name).collect()
    }

    /// A PTX module with all kernels.
    pub fn ptx(&self) -> String {
        ptx::module(self.target, self.precision != Precision::F32, &self.entries())
    }

    /// The launch of a step.
    pub fn launch(&self, step: &GpuStepPlan) -> Launch {
        self.kernels[step.kernel].launch()
    }

    /// The weight expressions whose values [`GpuPlan::pack`] needs.
    pub fn weight_nodes(&self) -> Vec<NodeId> {
        self.packed.iter().flat_map(|array| array.source.nodes()).collect()
    }

    /// The blob of weights.
    ///
    /// # Panics
    /// If `values` lacks one of [`GpuPlan::weight_nodes`].
    pub fn pack(&self, values: &HashMap<NodeId, Arc<Tensor>>) -> Vec<u8> {
        let mut blob = vec![0; self.weight_bytes];
        for array in &self.packed {
            array.source.pack(values, &mut blob[array.offset..][..array.bytes]);
        }
        blob
    }

    /// The plan as the JSON document that `kiln ptx --plan` writes.
    pub fn to_json(&self, model: &str) -> serde_json::Value {
        let names = self.entry_names();
        let steps: Vec<_> = self
            .steps
            .iter()
            .map(|step| {
                let Launch { grid, threads } = self.launch(step);
                serde_json::json!({
                    "kernel": names[step.kernel],
                    "grid": grid,
                    "block": [threads, 1, 1],
                    "dynamic_shared_bytes": 0,
                    "arguments": step.arguments,
                    "layers": step.layers,
                    "multiply_adds": step.work.multiply_adds,
                    "activation_bytes": step.work.activation_bytes,
                    "weight_bytes": step.work.weight_bytes,
                })
            })
            .collect();
        serde_json::json!({
            "format": "kiln-ptx-plan",
            "version": 1,
            "model": model,
            "target": self.target,
            "precision": self.precision,
            "arena_bytes": self.arena_bytes,
            "weights_bytes": self.weight_bytes,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "estimate": self.estimate(),
            "launches": steps,
        })
    }
}
