//! The layer language: text to [`Graph`].

pub mod ast;
mod diagnostics;

pub use diagnostics::Diagnostics;

use crate::graph::Graph;

/// A model file: what it is called in messages, and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// Values for the model's parameters, from `-D name=value`: the value as written, a literal of the language.
pub type Defines = Vec<(String, String)>;

/// Parses a model file.
///
/// # Errors
/// Where the text is not a model.
pub fn parse(_source: &Source) -> Result<ast::Model, Diagnostics> {
    Err(Diagnostics::default())
}

/// Runs a model's statements for the graph they describe.
///
/// # Errors
/// All mistakes found, not only the first.
pub fn elaborate(_source: &Source, _model: &ast::Model, _defines: &Defines) -> Result<Graph, Diagnostics> {
    Err(Diagnostics::default())
}

/// The same model in the standard layout, every comment kept (`kiln fmt`).
///
/// # Errors
/// Where the text is not a model.
pub fn format(_source: &Source) -> Result<String, Diagnostics> {
    Err(Diagnostics::default())
}
