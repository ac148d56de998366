//! How fast a plan could run, from its bytes and multiply-adds and a device's data sheet. Nothing here was measured.

use serde::Serialize;

use super::{GpuPlan, GpuStepPlan};
use crate::codegen::ptx::Target;
use crate::kernels::gpu::GpuKernel;
use crate::kernels::gpu::gemm::Precision;

/// What a device's maker states.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Roofs {
    pub device: &'static str,
    /// 10¹² `f32` operations a second outside tensor cores, a multiply-add being two.
    pub f32_tflops: f64,
    /// The same of tensor cores without sparsity, in the plan's precision; 0 where they do not take it.
    pub tensor_tflops: f64,
    /// 10⁹ bytes a second of device memory.
    pub memory_gb_per_s: f64,
    /// Bytes of the cache that all multiprocessors share.
    pub cache_bytes: usize,
}

/// Seconds that a launch takes at least as a node of a captured graph.
const LAUNCH_SECONDS: f64 = 2e-6;
/// How many times as fast as memory the shared cache is taken to be.
const CACHE_SPEED: f64 = 2.0;

impl Roofs {
    /// The usual device of a target: V100, T4, A100 80 GB, A10, L40S, H100 SXM.
    pub fn of(target: Target, precision: Precision) -> Self {
        let (device, f32_tflops, [tf32, f16], memory_gb_per_s, cache) = match target {
            Target::Sm70 => ("V100", 15.7, [0.0, 125.0], 900.0, 6),
            Target::Sm75 => ("T4", 8.1, [0.0, 65.0], 320.0, 4),
            Target::Sm80 => ("A100", 19.5, [156.0, 312.0], 2039.0, 40),
            Target::Sm86 => ("A10", 31.2, [62.5, 125.0], 600.0, 6),
            Target::Sm89 => ("L40S", 91.6, [183.0, 362.0], 864.0, 96),
            Target::Sm90 => ("H100", 66.9, [494.7, 989.4], 3350.0, 50),
        };
        let tensor_tflops = match precision {
            Precision::F32 => 0.0,
            Precision::Tf32 => tf32,
            Precision::F16 => f16,
        };
        Roofs { device, f32_tflops, tensor_tflops, memory_gb_per_s, cache_bytes: cache << 20 }
    }
}

/// The least time that a plan's launches take by a device's data sheet.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Estimate {
    pub roofs: Roofs,
    pub launches: usize,
    pub multiply_adds: u64,
    pub activation_bytes: u64,
    pub weight_bytes: u64,
    /// Milliseconds that arithmetic alone takes at its roof.
    pub arithmetic_ms: f64,
    /// Milliseconds that memory traffic alone takes: weights from memory where a run's data exceed the cache,
    /// everything else from the cache.
    pub memory_ms: f64,
    /// Milliseconds that launches alone take.
    pub launch_ms: f64,
    /// For each launch the largest of the three, added up: no run is faster.
    pub floor_ms: f64,
}

impl GpuPlan {
    /// What the plan costs by the data sheet of its target's usual device.
    pub fn estimate(&self) -> Estimate {
        let roofs = Roofs::of(self.target, self.precision);
        let in_cache = self.weight_bytes + self.arena_bytes <= roofs.cache_bytes;
        let parts = self.steps.iter().map(|step| self.parts(step, &roofs, in_cache));
        let mut estimate = Estimate {
            roofs,
            launches: self.steps.len(),
            multiply_adds: self.steps.iter().map(|step| step.work.multiply_adds).sum(),
            activation_bytes: self.steps.iter().map(|step| step.work.activation_bytes).sum(),
            weight_bytes: self.steps.iter().map(|step| step.work.weight_bytes).sum(),
            arithmetic_ms: 0.0,
            memory_ms: 0.0,
            launch_ms: self.steps.len() as f64 * LAUNCH_SECONDS * 1e3,
            floor_ms: 0.0,
        };
        for [arithmetic, memory] in parts {
            estimate.arithmetic_ms += arithmetic * 1e3;
            estimate.memory_ms += memory * 1e3;
            estimate.floor_ms += arithmetic.max(memory).max(LAUNCH_SECONDS) * 1e3;
        }
        estimate
    }

    /// Seconds of a step's arithmetic and of its memory traffic.
    fn parts(&self, step: &GpuStepPlan, roofs: &Roofs, in_cache: bool) -> [f64; 2] {
        let on_tensor_cores =
            matches!(self.kernels[step.kernel], GpuKernel::Gemm(_)) && roofs.tensor_tflops > 0.0;
        let tflops = if on_tensor_cores { roofs.tensor_tflops } else { roofs.f32_tflops };
        let memory = roofs.memory_gb_per_s * 1e9;
        let weights = if in_cache { memory * CACHE_SPEED } else { memory };
        let traffic = step.work.weight_bytes as f64 / weights
            + step.work.activation_bytes as f64 / (memory * CACHE_SPEED);
        [2.0 * step.work.multiply_adds as f64 / (tflops * 1e12), traffic]
    }
}
