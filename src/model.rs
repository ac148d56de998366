//! The library's front door: a model from text or file to compiled code.

use std::path::Path;

use crate::Error;
use crate::dsl::{self, Defines, Diagnostics, Source};
use crate::graph::Graph;
use crate::import::onnx::{Bindings, Network};
use crate::runtime::{self, CompileOptions, Executable};
use crate::weights::{self, WeightSource, Weights};

/// A parsed model and the values given to its parameters.
#[derive(Clone, Debug)]
pub struct Model {
    form: Form,
    defines: Defines,
}

/// What a model was read from.
#[derive(Clone, Debug)]
enum Form {
    Text { source: Source, syntax: dsl::ast::Model },
    Onnx(Network),
}

/// What a model describes with the values given.
#[derive(Clone, Debug)]
pub struct Elaborated {
    pub graph: Graph,
    /// The weights that the model file itself holds, as ONNX files do.
    pub weights: Option<Weights>,
    /// What is odd without being wrong, such as names that nothing uses.
    pub warnings: Diagnostics,
}

impl Model {
    /// Parses the text of a model.
    ///
    /// # Errors
    /// Where the text is not a model; the message shows where.
    pub fn parse(text: impl Into<String>) -> Result<Self, Error> {
        Model::from_source(Source { name: "model".to_owned(), text: text.into() })
    }

    /// Reads and parses a model file: `.onnx`, or text in the layer language.
    ///
    /// # Errors
    /// Where the file cannot be read or is not a model.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
            return Ok(Model { form: Form::Onnx(Network::load(path)?), defines: Defines::new() });
        }
        let text = crate::io::read_text(path)?;
        Model::from_source(Source { name: path.display().to_string(), text })
    }

    fn from_source(source: Source) -> Result<Self, Error> {
        let syntax = dsl::parse(&source)?;
        Ok(Model { form: Form::Text { source, syntax }, defines: Defines::new() })
    }

    /// Gives a parameter of the model, or an open dimension of an ONNX file, a value, written as in the language:
    /// `0.5`, `18`, `true`.
    #[must_use]
    pub fn define(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.defines.push((name.into(), value.to_string()));
        self
    }

    /// The model's syntax tree; `None` for an ONNX file.
    pub fn syntax(&self) -> Option<&dsl::ast::Model> {
        match &self.form {
            Form::Text { syntax, .. } => Some(syntax),
            Form::Onnx(_) => None,
        }
    }

    /// The graph that the model describes with the values given.
    ///
    /// # Errors
    /// All mistakes found in the model, not only the first.
    pub fn graph(&self) -> Result<Graph, Error> {
        Ok(self.elaborate()?.graph)
    }

    /// [`Model::graph`], and what else the model says.
    ///
    /// # Errors
    /// All mistakes found in the model, not only the first.
    pub fn elaborate(&self) -> Result<Elaborated, Error> {
        match &self.form {
            Form::Text { source, syntax } => {
                let (graph, warnings) = dsl::elaborate_with_warnings(source, syntax, &self.defines)?;
                Ok(Elaborated { graph, weights: None, warnings })
            }
            Form::Onnx(network) => {
                let bindings = Bindings::parse(&self.defines).map_err(Error::input)?;
                let imported = network.import(&bindings)?;
                if imported.graph.outputs().is_empty() {
                    return Err(Error::input(format!(
                        "no output of '{}' has any elements: there is nothing to compute",
                        imported.graph.name
                    )));
                }
                let warnings = Diagnostics::default();
                Ok(Elaborated { graph: imported.graph, weights: Some(imported.weights), warnings })
            }
        }
    }

    /// Compiles the model for this CPU. `weights`, given away, only lent, or in a file, may hold more than the model needs.
    ///
    /// # Errors
    /// Where the model or an option is at fault, or weights are missing or misshapen: all are listed.
    ///
    /// ```no_run
    /// use kiln::weights::WeightFile;
    /// use kiln::{Model, Options};
    ///
    /// # fn main() -> Result<(), kiln::Error> {
    /// let model = Model::load("resnet.kiln")?.define("depth", 18);
    /// let executable = model.compile(WeightFile::open("resnet18.safetensors")?, &Options::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn compile(
        &self,
        weights: impl Into<WeightSource>,
        options: &CompileOptions,
    ) -> Result<Executable, Error> {
        let weights: WeightSource = weights.into();
        let graph = self.graph()?;
        weights::bind(&graph, weights.arrays()).check(true)?;
        runtime::compile(&graph, options)?.bind(weights)
    }
}
