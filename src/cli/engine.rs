//! What computes the answer: compiled code on the CPU or a GPU, or the interpreter.

use super::failure::Failure;
use super::memory;
use super::options::Backend;
use super::progress::spinner;
use crate::graph::Graph;
use crate::interpreter;
use crate::kernels::packed::WeightType;
use crate::runtime::cuda::{CudaExecutable, Device};
use crate::runtime::gpu::GpuModule;
use crate::runtime::{self, CompileOptions, Compiled, Executable};
use crate::tensor::Tensor;
use crate::weights::{WeightSource, Weights};

/// A model ready to take its weights.
pub struct Prepared<'a> {
    graph: &'a Graph,
    code: Code,
}

enum Code {
    Cpu(Box<Compiled>),
    Cuda(Device, Box<GpuModule>),
    None,
}

impl<'a> Prepared<'a> {
    /// # Errors
    /// Where the model cannot be compiled, or does not fit the machine's memory.
    pub fn new(backend: Backend, graph: &'a Graph, options: &CompileOptions) -> Result<Self, Failure> {
        let code = match backend {
            Backend::Interpreter => Code::None,
            Backend::Cuda => {
                let device = Device::open()?;
                let gpu_options = options.for_gpu(device.target());
                let module = spinner("compiling", || runtime::gpu::compile(graph, &gpu_options))?;
                Code::Cuda(device, Box::new(module))
            }
            Backend::Cpu => Code::Cpu(Box::new(spinner("compiling", || runtime::compile(graph, options))?)),
        };
        let on_cpu = match &code {
            Code::Cpu(compiled) => vec![&**compiled],
            Code::Cuda(..) | Code::None => Vec::new(),
        };
        memory::check(graph, backend, &on_cpu)?;
        Ok(Prepared { graph, code })
    }

    /// Weights that are given away are dropped as soon as they have been packed.
    pub fn bind(self, weights: impl Into<WeightSource>) -> Result<Engine<'a>, Failure> {
        Ok(match self.code {
            Code::Cpu(compiled) => Engine::Compiled(Box::new(compiled.bind(weights)?)),
            Code::Cuda(device, module) => Engine::Cuda(Box::new(CudaExecutable::new(
                &device,
                &module,
                &weights.into().hold(self.graph)?,
            )?)),
            Code::None => {
                Engine::Interpreter { graph: self.graph, weights: weights.into().hold(self.graph)? }
            }
        })
    }
}

/// The largest relative difference over all outputs; infinite where it is no number.
pub fn difference(some: &[Tensor], others: &[Tensor]) -> f64 {
    let errors = some.iter().zip(others).map(|(a, b)| a.relative_error(b));
    errors.fold(0.0, |largest, error| if error.is_nan() { f64::INFINITY } else { error.max(largest) })
}

/// The options for weights as they are, where `options` asks for rounded ones.
pub fn without_rounding(options: &CompileOptions) -> Option<CompileOptions> {
    (options.weight_type != WeightType::F32)
        .then(|| CompileOptions { weight_type: WeightType::F32, ..options.clone() })
}

/// A sentence on what rounding the weights did to the answer.
pub fn rounding_sentence(error: f64) -> String {
    format!("f16 weights change the answer by {error:.1e} of its largest value")
}

pub enum Engine<'a> {
    Compiled(Box<Executable>),
    Cuda(Box<CudaExecutable>),
    Interpreter { graph: &'a Graph, weights: Weights },
}

impl Engine<'_> {
    /// The outputs, in the order of the model's.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        Ok(match self {
            Engine::Compiled(executable) => executable.run(inputs)?,
            Engine::Cuda(executable) => executable.run(inputs)?,
            Engine::Interpreter { graph, weights } => {
                spinner("interpreting", || interpreter::evaluate(graph, weights, inputs))?
            }
        })
    }
}
