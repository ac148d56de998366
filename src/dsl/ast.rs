//! The syntax tree.

/// A model file's contents. `Display` prints the tree as an indented outline.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Model {}

impl std::fmt::Display for Model {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
