//! ONNX files: the nodes of a network become operators of the [`Graph`], its initializers [`Weights`].
//!
//! Operator sets 1 to the newest are read, each node by the rules of the version that its file names. What can be
//! computed without the network's inputs and is small, above all arithmetic on shapes, is computed here; weights
//! become parameters, so everything that kiln does with weights works on them.

mod bindings;
mod call;
mod fault;
mod importer;
mod known;
mod operators;
mod proto;
mod report;
mod tensor;

pub use bindings::Bindings;
pub use known::{Ints, Known};
pub use tensor::read_tensor;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use crate::Error;
use crate::graph::Graph;
use crate::tensor::Shape;
use crate::weights::Weights;
use importer::Importer;
use proto::ModelProto;
use report::Failure;

/// A parsed ONNX file.
#[derive(Clone, Debug)]
pub struct Network {
    path: PathBuf,
    model: ModelProto,
}

/// A network as a graph, with its weights.
#[derive(Clone, Debug)]
pub struct Imported {
    pub graph: Graph,
    /// By parameter key, which is the initializer's name.
    pub weights: Weights,
    /// The inputs that are not bound, in the file's order.
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// An input or output of a network.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    pub name: String,
    pub shape: Shape,
    pub value: PortValue,
}

/// Where an input's or output's elements are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortValue {
    /// The graph's input or output at this position.
    Graph(usize),
    /// There are none: an extent is 0, and the graph has no such array.
    Empty,
}

impl Network {
    /// Reads and parses an ONNX file.
    ///
    /// # Errors
    /// Where the file cannot be read or is no ONNX model.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(Error::read(path))?;
        Network::parse(path, bytes)
    }

    /// Parses the contents of an ONNX file; `path` names it in messages, and its external data lie beside it.
    ///
    /// # Errors
    /// Where the bytes are no ONNX model.
    pub fn parse(path: impl Into<PathBuf>, bytes: impl Into<Bytes>) -> Result<Self, Error> {
        let path = path.into();
        match ModelProto::decode(bytes.into()) {
            Ok(model) => Ok(Network { path, model }),
            Err(error) => Err(Error::file(&path, format!("not an ONNX model, or a damaged one: {error}"))),
        }
    }

    /// The names of the inputs, those without a value in the file, in its order.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        let graph = self.model.graph.iter();
        graph.flat_map(|graph| {
            let is_given = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
            graph.input.iter().map(|input| input.name.as_str()).filter(move |name| !is_given(name))
        })
    }

    /// The inputs whose values must be bound too for the network to be imported.
    pub fn unbound(&self, bindings: &Bindings) -> Vec<String> {
        match self.try_import(bindings) {
            Ok(_) => Vec::new(),
            Err(failure) => failure.unbound.into_iter().collect(),
        }
    }

    /// The network as a graph, with open dimensions and inputs bound.
    ///
    /// # Errors
    /// Everything that cannot be imported, not only the first.
    pub fn import(&self, bindings: &Bindings) -> Result<Imported, Error> {
        self.try_import(bindings).map_err(|failure| Error::file(&self.path, failure.problem))
    }

    fn try_import(&self, bindings: &Bindings) -> Result<Imported, Failure> {
        let stem = self.path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy());
        let folder = self.path.parent().unwrap_or(Path::new(""));
        Importer::import(&self.model, &stem, folder, bindings)
    }
}
