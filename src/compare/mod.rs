//! Which layer is wrong: the values inside a compiled model beside those of a reference.

mod cause;
#[cfg(test)]
mod tests;

pub use cause::{Cause, Rewrite};

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use crate::Error;
use crate::graph::{Graph, NodeId};
use crate::interpreter::{self, Trace};
use crate::io::npz::NpzFile;
use crate::runtime::{self, CompileOptions, Executable};
use crate::spelling::closest;
use crate::tensor::{Shape, Tensor};
use crate::weights::Weights;

/// What the values of a compiled model are held to.
pub enum Reference {
    /// The reference interpreter, on the graph as the model describes it.
    Interpreter,
    /// Code of the same compiler without fusion.
    Unfused,
    /// Values by layer; layers without one are not compared.
    Given(HashMap<String, Tensor>),
}

impl Reference {
    /// The arrays of an `.npz` archive that are named as layers or inputs of `graph`.
    ///
    /// # Errors
    /// Where the archive cannot be read, an array has another shape than its layer's value, or none is named as a
    /// layer.
    pub fn load(path: &Path, graph: &Graph) -> Result<Self, Error> {
        let mut file = NpzFile::open(path)?;
        let mut values = HashMap::new();
        for id in activations(graph) {
            let node = graph.node(id);
            let Some(array) = file.array(&node.name)? else { continue };
            if *array.shape() != node.shape {
                let (name, found, expected) = (&node.name, array.shape(), &node.shape);
                return Err(Error::file(path, format!("'{name}' is {found}, the layer's value {expected}")));
            }
            values.insert(node.name.clone(), array.read()?);
        }
        if values.is_empty() {
            let name = file.names().next();
            let layers = activations(graph).map(|id| graph.node(id).name.as_str());
            let near = name.as_deref().and_then(|name| closest(name, layers));
            let hint = match (&name, near) {
                (None, _) => "; the archive is empty".to_owned(),
                (Some(name), None) => format!("; its first is '{name}'"),
                (Some(name), Some(near)) => format!("; its first is '{name}', is that '{near}'?"),
            };
            return Err(Error::file(
                path,
                format!("holds no array named as a layer of '{}'{hint}", graph.name),
            ));
        }
        Ok(Reference::Given(values))
    }
}

/// The value of a layer in the compiled model.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerValue {
    /// The layer's name, or a model input's.
    pub layer: String,
    pub value: Tensor,
    /// Whether the compiled model stores the value. One that passes from layer to layer inside a kernel is taken
    /// from the same model compiled without any rewrite.
    pub stored: bool,
}

/// The outcome of a comparison.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct Comparison {
    /// How many values were compared: layers' and model inputs'.
    pub values: usize,
    /// How many of them differ.
    pub differing: usize,
    /// The layer with the largest error, and the error, as [`Tensor::relative_error`] measures it.
    pub largest: Option<(String, f64)>,
    /// The first layer that differs, in dataflow order.
    pub first: Option<Difference>,
}

/// A layer whose value differs from the reference's.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Difference {
    pub layer: String,
    pub shape: Shape,
    /// As [`Tensor::relative_error`] measures it.
    pub error: f64,
    /// Where the values are furthest apart.
    pub element: Vec<usize>,
    pub found: f32,
    pub expected: f32,
    /// How many values before it were compared, and agree.
    pub agreeing: usize,
    /// Whether the compiled model stores the value.
    pub stored: bool,
    /// The kernels that compute the layer, by their problem strings.
    pub kernels: Vec<String>,
    /// All layers that these kernels compute.
    pub kernel_layers: Vec<String>,
    /// The rewrites that made the kernels' node what it is.
    pub rewrites: Vec<Rewrite>,
    pub cause: Cause,
}

/// A compiled model that has been run, with all that it computed.
pub struct Recording<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    inputs: &'a [Tensor],
    options: &'a CompileOptions,
    executable: Executable,
    values: Vec<LayerValue>,
}

impl<'a> Recording<'a> {
    /// Compiles `graph` and runs it on `inputs`, keeping the value of every layer.
    ///
    /// # Errors
    /// Where the graph cannot be compiled, or weights or inputs do not fit it.
    pub fn new(
        graph: &'a Graph,
        weights: &'a Weights,
        inputs: &'a [Tensor],
        options: &'a CompileOptions,
    ) -> Result<Self, Error> {
        let (executable, mut stored) = observe(graph, weights, inputs, options)?;
        let names = || activations(graph).map(|id| &graph.node(id).name);
        let mut inner = HashMap::new();
        if names().any(|name| !stored.contains_key(name)) {
            let plain = CompileOptions { fuse: false, stop_after: Some(0), ..options.clone() };
            inner = observe(graph, weights, inputs, &plain)?.1;
        }
        let values = names().filter_map(|name| {
            let (value, stored) = match stored.remove(name) {
                Some(value) => (value, true),
                None => (inner.remove(name)?, false),
            };
            Some(LayerValue { layer: name.clone(), value, stored })
        });
        let values = values.collect();
        Ok(Recording { graph, weights, inputs, options, executable, values })
    }

    /// The value of every layer and input, in dataflow order.
    pub fn values(&self) -> &[LayerValue] {
        &self.values
    }

    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// Walks the layers in dataflow order, beside those of `reference`.
    ///
    /// # Errors
    /// Where the graph cannot be evaluated in the way of the reference.
    pub fn compare(&self, reference: &Reference, tolerance: f64) -> Result<Comparison, Error> {
        let unfused;
        let (mut trace, mut comparison) = (None, Comparison::default());
        let given = match reference {
            Reference::Interpreter => {
                trace = Some(self.interpret()?);
                None
            }
            Reference::Unfused => {
                let options = CompileOptions { fuse: false, ..self.options.clone() };
                unfused = observe(self.graph, self.weights, self.inputs, &options)?.1;
                Some(&unfused)
            }
            Reference::Given(values) => Some(values),
        };
        let ids: HashMap<&str, NodeId> =
            activations(self.graph).map(|id| (self.graph.node(id).name.as_str(), id)).collect();
        let mut first: Option<(&LayerValue, &Tensor, f64, usize)> = None;
        for found in &self.values {
            let expected = match (given, &trace) {
                (Some(values), _) => values.get(&found.layer),
                (None, Some(trace)) => trace.get(ids[found.layer.as_str()]).map(|value| &**value),
                (None, None) => None,
            };
            let Some(expected) = expected else { continue };
            let error = found.value.relative_error(expected);
            comparison.values += 1;
            if comparison.largest.as_ref().is_none_or(|(_, largest)| error > *largest) {
                comparison.largest = Some((found.layer.clone(), error));
            }
            if !agrees(error, tolerance) {
                comparison.differing += 1;
                first = first.or(Some((found, expected, error, comparison.values - 1)));
            }
        }
        if let Some((found, expected, error, agreeing)) = first {
            let id = ids[found.layer.as_str()];
            let truth = match &trace {
                Some(trace) => trace.get(id).cloned(),
                None => self.interpret()?.get(id).cloned(),
            };
            let truth = truth.expect("the trace has a value for every node");
            comparison.first = Some(self.difference(found, expected, error, agreeing, &truth, tolerance)?);
        }
        Ok(comparison)
    }

    fn interpret(&self) -> Result<Trace, Error> {
        Ok(interpreter::trace(self.graph, self.weights, self.inputs)?)
    }

    fn difference(
        &self,
        found: &LayerValue,
        expected: &Tensor,
        error: f64,
        agreeing: usize,
        truth: &Tensor,
        tolerance: f64,
    ) -> Result<Difference, Error> {
        let compiled = self.executable.compiled();
        let layers: Vec<String> = compiled
            .graph()
            .topological_order()
            .into_iter()
            .map(|id| compiled.graph().node(id))
            .find(|node| node.layers().any(|layer| layer == found.layer))
            .map_or_else(Vec::new, |node| node.layers().map(str::to_owned).collect());
        let steps = self.executable.steps().iter().filter(|step| step.layers == layers);
        let kernels = steps.map(|step| step.kernel.clone()).collect();
        let rewrites = cause::rewrites_of(&layers, compiled.explanation());
        let cause = if agrees(found.value.relative_error(truth), tolerance) {
            Cause::Reference
        } else if found.stored {
            let interpreted = |stop_after| self.interpret_rewritten(&found.layer, stop_after);
            cause::rewrite_or_kernel(&rewrites, |number| {
                let value = interpreted(number)?;
                Ok(value.is_some_and(|value| !agrees(value.relative_error(truth), tolerance)))
            })?
        } else {
            Cause::Kernel
        };
        let (element, at) = furthest(&found.value, expected);
        Ok(Difference {
            layer: found.layer.clone(),
            shape: expected.shape().clone(),
            error,
            element,
            found: found.value.data()[at],
            expected: expected.data()[at],
            agreeing,
            stored: found.stored,
            kernels,
            kernel_layers: layers,
            rewrites,
            cause,
        })
    }

    /// The interpreted value of a layer after that many rewrites of the graph, if the layer is still there.
    fn interpret_rewritten(&self, layer: &str, rewrites: usize) -> Result<Option<Tensor>, Error> {
        let options = crate::passes::Options {
            fuse: self.options.fuse,
            disabled: self.options.disabled.clone(),
            stop_after: Some(rewrites),
        };
        let (graph, _) = crate::passes::run(self.graph.clone(), &options)?;
        let Some(id) = graph.find(layer) else { return Ok(None) };
        let trace = interpreter::trace(&graph, self.weights, self.inputs)?;
        Ok(trace.get(id).map(|value| Tensor::clone(value)))
    }
}

/// Inputs and layers: everything that is not computed from weights alone, in dataflow order.
fn activations(graph: &Graph) -> impl Iterator<Item = NodeId> {
    let weights = graph.weight_expressions();
    graph.listing().into_iter().filter(move |&id| !weights.contains(id))
}

/// Compiles, runs, and collects the values that are stored, by layer.
fn observe(
    graph: &Graph,
    weights: &Weights,
    inputs: &[Tensor],
    options: &CompileOptions,
) -> Result<(Executable, HashMap<String, Tensor>), Error> {
    let mut executable = runtime::compile(graph, options)?.bind(weights)?;
    let mut observed = Vec::new();
    executable.run_observed(inputs, |id, value| observed.push((id, value)))?;
    let graph = executable.compiled().graph();
    let values = observed.into_iter().map(|(id, value)| (graph.node(id).name.clone(), value)).collect();
    Ok((executable, values))
}

/// An error that is no number agrees with nothing.
fn agrees(error: f64, tolerance: f64) -> bool {
    error <= tolerance
}

/// Where two arrays of one shape are furthest apart, as an index for each axis and in row-major order.
fn furthest(a: &Tensor, b: &Tensor) -> (Vec<usize>, usize) {
    let distance = |at: usize| {
        let (a, b) = (f64::from(a.data()[at]), f64::from(b.data()[at]));
        let distance = (a - b).abs();
        if distance.is_nan() { f64::INFINITY } else { distance }
    };
    let at = (0..a.data().len()).max_by(|&i, &j| distance(i).total_cmp(&distance(j)).then(j.cmp(&i)));
    let at = at.unwrap_or(0);
    let strides = a.shape().strides();
    let index = strides.iter().zip(a.shape().dims()).map(|(stride, dim)| at / stride % dim);
    (index.collect(), at)
}
