//! The library's front door: a model from text or file to compiled code.

use std::path::Path;

use crate::Error;
use crate::dsl::{self, Defines, Diagnostics, Source};
use crate::graph::Graph;
use crate::runtime::{self, CompileOptions, Executable};
use crate::weights::{self, Weights};

/// A parsed model and the values given to its parameters.
#[derive(Clone, Debug)]
pub struct Model {
    source: Source,
    syntax: dsl::ast::Model,
    defines: Defines,
}

impl Model {
    /// Parses the text of a model.
    ///
    /// # Errors
    /// Where the text is not a model; the message shows where.
    pub fn parse(text: impl Into<String>) -> Result<Self, Error> {
        Model::from_source(Source { name: "model".to_owned(), text: text.into() })
    }

    /// Reads and parses a `.kiln` file.
    ///
    /// # Errors
    /// Where the file cannot be read or is not a model.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = crate::io::read_text(path)?;
        Model::from_source(Source { name: path.display().to_string(), text })
    }

    fn from_source(source: Source) -> Result<Self, Error> {
        let syntax = dsl::parse(&source)?;
        Ok(Model { source, syntax, defines: Defines::new() })
    }

    /// Gives a parameter of the model a value, written as in the language: `0.5`, `18`, `true`.
    #[must_use]
    pub fn define(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.defines.push((name.into(), value.to_string()));
        self
    }

    /// The model's syntax tree.
    pub fn syntax(&self) -> &dsl::ast::Model {
        &self.syntax
    }

    /// The graph that the model describes with the values given.
    ///
    /// # Errors
    /// All mistakes found in the model, not only the first.
    pub fn graph(&self) -> Result<Graph, Error> {
        Ok(dsl::elaborate(&self.source, &self.syntax, &self.defines)?)
    }

    /// [`Model::graph`], and what is odd about the model without being wrong, such as names that nothing uses.
    ///
    /// # Errors
    /// All mistakes found in the model, not only the first.
    pub fn graph_with_warnings(&self) -> Result<(Graph, Diagnostics), Error> {
        Ok(dsl::elaborate_with_warnings(&self.source, &self.syntax, &self.defines)?)
    }

    /// Compiles the model for this CPU. `weights` may hold more than the model needs.
    ///
    /// # Errors
    /// Where the model or an option is at fault, or weights are missing or misshapen: all are listed.
    pub fn compile(&self, weights: &Weights, options: &CompileOptions) -> Result<Executable, Error> {
        let graph = self.graph()?;
        let arrays = weights.iter().map(|(key, value)| (key, value.shape()));
        weights::bind(&graph, arrays).check(true)?;
        Ok(runtime::compile(&graph, options)?.bind(weights)?)
    }
}
