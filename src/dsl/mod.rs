//! The layer language: text to [`Graph`].

pub mod ast;
mod diagnostics;
mod elaborate;
mod format;
mod outline;
mod parser;
mod visit;

pub use diagnostics::{Diagnostic, Diagnostics};

use crate::graph::Graph;

/// A model file: what it is called in messages, and its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// Values for the model's parameters, from `-D name=value`: the value as written, a literal of the language.
pub type Defines = Vec<(String, String)>;

/// The longest model file, in bytes.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;

/// Parses a model file.
///
/// # Errors
/// Where the text is not a model.
pub fn parse(source: &Source) -> Result<ast::Model, Diagnostics> {
    parser::parse(source)
}

/// Runs a model's statements for the graph they describe.
///
/// # Errors
/// All mistakes found, not only the first.
pub fn elaborate(source: &Source, model: &ast::Model, defines: &Defines) -> Result<Graph, Diagnostics> {
    elaborate_with_warnings(source, model, defines).map(|(graph, _)| graph)
}

/// [`elaborate`], and what is odd about the model without being wrong: values, blocks and layers that nothing
/// uses.
///
/// # Errors
/// All mistakes found, not only the first.
pub fn elaborate_with_warnings(
    source: &Source,
    model: &ast::Model,
    defines: &Defines,
) -> Result<(Graph, Diagnostics), Diagnostics> {
    elaborate::elaborate(&source.text, model, defines)
        .map(|(graph, warnings)| (graph, Diagnostics::new(source, warnings)))
        .map_err(|errors| Diagnostics::new(source, errors))
}

/// The same model in the standard layout, every comment kept (`kiln fmt`).
///
/// # Errors
/// Where the text is not a model.
pub fn format(source: &Source) -> Result<String, Diagnostics> {
    format::format(source)
}
