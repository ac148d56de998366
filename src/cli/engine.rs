//! What computes the answer: compiled code or the interpreter.

use super::failure::Failure;
use super::memory;
use super::options::Backend;
use super::progress::spinner;
use crate::graph::Graph;
use crate::interpreter;
use crate::runtime::{self, CompileOptions, Compiled, Executable};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// A model ready to take its weights.
pub struct Prepared<'a> {
    graph: &'a Graph,
    /// `None` for the interpreter.
    compiled: Option<Compiled>,
}

impl<'a> Prepared<'a> {
    /// # Errors
    /// Where the model cannot be compiled, or does not fit the machine's memory.
    pub fn new(backend: Backend, graph: &'a Graph, options: &CompileOptions) -> Result<Self, Failure> {
        let compiled = match backend {
            Backend::Interpreter => None,
            _ => Some(spinner("compiling", || runtime::compile(graph, options))?),
        };
        memory::check(graph, backend, compiled.as_ref().as_slice())?;
        Ok(Prepared { graph, compiled })
    }

    pub fn bind(self, weights: &'a Weights) -> Result<Engine<'a>, Failure> {
        Ok(match self.compiled {
            Some(compiled) => Engine::Compiled(Box::new(compiled.bind(weights)?)),
            None => Engine::Interpreter { graph: self.graph, weights },
        })
    }
}

pub enum Engine<'a> {
    Compiled(Box<Executable>),
    Interpreter { graph: &'a Graph, weights: &'a Weights },
}

impl Engine<'_> {
    /// The outputs, in the order of the model's.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        Ok(match self {
            Engine::Compiled(executable) => executable.run(inputs)?,
            Engine::Interpreter { graph, weights } => {
                spinner("interpreting", || interpreter::evaluate(graph, weights, inputs))?
            }
        })
    }
}
