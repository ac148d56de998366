//! What is wrong with a model file, and where.

use std::fmt;

/// Everything found wrong with a model file. `Display` draws it without colour.
#[derive(Clone, Default, Debug)]
pub struct Diagnostics {}

impl Diagnostics {
    /// The messages drawn over excerpts of the source.
    pub fn render(&self, _colour: bool) -> String {
        String::new()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
