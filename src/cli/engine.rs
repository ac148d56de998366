//! What computes the answer: compiled code or the interpreter.

use super::failure::Failure;
use super::options::Backend;
use crate::graph::Graph;
use crate::interpreter;
use crate::runtime::{self, CompileOptions, Executable};
use crate::tensor::Tensor;
use crate::weights::Weights;

pub enum Engine<'a> {
    Compiled(Box<Executable>),
    Interpreter { graph: &'a Graph, weights: &'a Weights },
}

impl<'a> Engine<'a> {
    pub fn new(
        backend: Backend,
        graph: &'a Graph,
        weights: &'a Weights,
        options: &CompileOptions,
    ) -> Result<Self, Failure> {
        Ok(match backend {
            Backend::Interpreter => Engine::Interpreter { graph, weights },
            _ => Engine::Compiled(Box::new(runtime::compile(graph, options)?.bind(weights)?)),
        })
    }

    /// The outputs, in the order of the model's.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        Ok(match self {
            Engine::Compiled(executable) => executable.run(inputs)?,
            Engine::Interpreter { graph, weights } => interpreter::evaluate(graph, weights, inputs)?,
        })
    }
}
