//! A host that knows nothing of kiln but what `kiln ptx` writes: the PTX, the plan's JSON and the blob of weights.

use kiln::graph::Graph;
use kiln::runtime::gpu::{GpuCompileOptions, GpuModule, compile};
use kiln::tensor::Tensor;
use kiln::weights::Weights;
use serde::Deserialize;

use crate::emulator::{Access, Argument, Device, Fault, Launch, MAX_INSTRUCTIONS, Module};

/// The document that `kiln ptx --plan` writes.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Plan {
    pub format: String,
    pub version: u32,
    pub target: String,
    pub arena_bytes: usize,
    pub weights_bytes: usize,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub launches: Vec<PlannedLaunch>,
}

/// A model input or output: row-major `f32` in the arena.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Port {
    pub name: String,
    pub shape: Vec<usize>,
    pub offset: usize,
    pub bytes: usize,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct PlannedLaunch {
    pub kernel: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared_bytes: u32,
    pub arguments: Vec<PlannedArgument>,
    pub layers: Vec<String>,
}

/// A pointer into one of the two blocks of device memory.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct PlannedArgument {
    pub memory: Memory,
    pub offset: usize,
    pub bytes: usize,
    pub access: PlannedAccess,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    Arena,
    Weights,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedAccess {
    Read,
    Write,
}

/// What a host loads.
#[derive(Clone)]
pub struct Host {
    pub ptx: String,
    pub plan: Plan,
    weights: Vec<u8>,
    /// The most instructions that the warps of a block may execute.
    pub max_instructions: u64,
}

impl Host {
    /// Compiles a graph and takes what a user gets of it.
    pub fn new(graph: &Graph, weights: &Weights, options: &GpuCompileOptions) -> Host {
        let module = compile(graph, options).unwrap_or_else(|error| panic!("{error}, {options:?}:\n{graph}"));
        Host::of(&module, weights)
    }

    pub fn of(module: &GpuModule, weights: &Weights) -> Host {
        let json = module.plan().to_json("test").to_string();
        let plan: Plan = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error} in {json}"));
        assert_eq!((plan.format.as_str(), plan.version), ("kiln-ptx-plan", 1));
        let weights = module.pack(weights).expect("the weights fit");
        assert_eq!(weights.len(), plan.weights_bytes);
        Host { ptx: module.ptx(), plan, weights, max_instructions: MAX_INSTRUCTIONS }
    }

    /// The same with other text.
    pub fn with_ptx(&self, ptx: String) -> Host {
        Host { ptx, ..self.clone() }
    }

    /// What decides its answers: equal keys, equal answers.
    pub fn key(&self) -> String {
        let text = self.ptx.split_once(".address_size").map_or("", |parts| parts.1);
        format!("{:?}{:?}{:?}{text}", self.plan.inputs, self.plan.outputs, self.plan.launches)
    }

    /// Adds the statement to a fault, and leaves the module to be read.
    fn explain(&self, mut fault: Box<Fault>) -> Box<Fault> {
        let statement = self.ptx.lines().nth((fault.line as usize).wrapping_sub(1)).unwrap_or_default();
        let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/fault.ptx");
        let left =
            std::fs::write(path, &self.ptx).map_or_else(|error| error.to_string(), |()| path.to_owned());
        fault.place += &format!(", `{}` in {left}", statement.trim());
        fault
    }

    /// Runs all launches.
    ///
    /// # Errors
    /// The first fault.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Box<Fault>> {
        self.run_counting(inputs).map(|(outputs, _)| outputs)
    }

    /// Runs all launches; the number of threads' accesses to memory comes with the outputs.
    ///
    /// # Errors
    /// The first fault.
    pub fn run_counting(&self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, u64), Box<Fault>> {
        let module = Module::parse(&self.ptx).unwrap_or_else(|error| panic!("{error} in\n{}", self.ptx));
        assert_eq!(module.target, self.plan.target);
        let mut device = Device::new();
        let arena = device.allocate(self.plan.arena_bytes);
        let weights = device.constants(&self.weights);
        for (port, input) in self.plan.inputs.iter().zip(inputs) {
            assert_eq!((&port.shape[..], port.bytes), (input.shape().dims(), 4 * input.data().len()));
            device.write_floats(arena, port.offset, input.data());
        }
        let mut accesses = 0;
        for launch in &self.plan.launches {
            let pointer = |argument: &PlannedArgument| Argument::Pointer {
                buffer: if argument.memory == Memory::Arena { arena } else { weights },
                offset: argument.offset,
                bytes: argument.bytes,
                access: match argument.access {
                    PlannedAccess::Read => Access::Read,
                    PlannedAccess::Write => Access::Write,
                },
            };
            let arguments: Vec<Argument> = launch.arguments.iter().map(pointer).collect();
            let counts = device
                .launch(
                    &module,
                    &Launch {
                        kernel: &launch.kernel,
                        grid: launch.grid,
                        block: launch.block,
                        shared: launch.dynamic_shared_bytes,
                        arguments: &arguments,
                        max_instructions: self.max_instructions,
                    },
                )
                .map_err(|fault| self.explain(fault))?;
            accesses += counts.accesses;
        }
        let fetch = |port: &Port| -> Result<Tensor, Box<Fault>> {
            let values = device.read_floats(arena, port.offset, port.bytes / 4)?;
            Ok(Tensor::new(kiln::tensor::Shape::new(port.shape.clone()), values))
        };
        let outputs: Result<_, _> = self.plan.outputs.iter().map(fetch).collect();
        Ok((outputs?, accesses))
    }
}
