//! The layer language: text to [`Graph`].

pub mod ast;
mod diagnostics;
mod elaborate;
mod format;
mod outline;
mod parser;
mod visit;
mod write;

pub use diagnostics::{Diagnostic, Diagnostics};
pub use write::{WriteError, Written, write};

use std::thread;

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
    on_deep_stack(|| parser::parse(source))
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
    on_deep_stack(|| elaborate::elaborate(&source.text, model, defines))
        .map(|(graph, warnings)| (graph, Diagnostics::new(source, warnings)))
        .map_err(|errors| Diagnostics::new(source, errors))
}

/// The same model in the standard layout, every comment kept (`kiln fmt`).
///
/// # Errors
/// Where the text is not a model.
pub fn format(source: &Source) -> Result<String, Diagnostics> {
    on_deep_stack(|| format::format(source))
}

/// The operators that a model file can name, each as it would be called, with its parameters' defaults.
pub fn signatures() -> impl Iterator<Item = &'static str> {
    elaborate::signatures()
}

/// Enough for the deepest model that the limits on nesting admit, several times over.
const STACK_BYTES: usize = 32 << 20;

/// Runs `work` on a stack of its own, so that recursion over a model does not depend on the caller's.
fn on_deep_stack<T: Send>(work: impl Fn() -> T + Sync) -> T {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("kiln dsl".to_owned()).stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, &work) {
            Ok(worker) => worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // Without another thread the caller's stack has to do, and nearly always does.
            Err(_) => work(),
        }
    })
}
