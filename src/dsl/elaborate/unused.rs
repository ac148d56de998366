//! Warnings: what a model says and nothing uses.

use std::collections::HashSet;

use super::Elaborator;
use crate::dsl::ast::*;
use crate::dsl::diagnostics::Diagnostic;
use crate::dsl::visit::{Met, walk};
use crate::graph::NodeId;

impl Elaborator<'_> {
    /// Names that nothing mentions, and layers that no output depends on.
    pub(super) fn unused(&self) -> Vec<Diagnostic> {
        let mut warnings = self.unused_names();
        warnings.extend(self.dead_layers());
        warnings
    }

    fn unused_names(&self) -> Vec<Diagnostic> {
        let mut used = HashSet::new();
        walk(self.model, &mut |met| {
            if let Met::Use(name) = met {
                used.insert(name);
            }
        });
        let mut warnings = Vec::new();
        walk(self.model, &mut |met| {
            if let Met::Binding(name) = met
                && !name.text.starts_with('_')
                && used.insert(&name.text)
            {
                warnings.push(
                    Diagnostic::warning(format!("nothing uses `{}`", name.text), name.span, "unused")
                        .help(format!("`_{}` says that it is meant so", name.text)),
                );
            }
        });
        warnings
    }

    fn dead_layers(&self) -> Vec<Diagnostic> {
        let mut needed: HashSet<NodeId> = HashSet::new();
        let mut pending: Vec<NodeId> = self.graph.outputs().iter().map(|output| output.node).collect();
        while let Some(node) = pending.pop() {
            if needed.insert(node) {
                pending.extend(self.graph.operands(node));
            }
        }
        let live: HashSet<Span> =
            self.origins.iter().filter(|(node, _)| needed.contains(node)).map(|(_, span)| *span).collect();
        let mut warnings = Vec::new();
        let mut seen = HashSet::new();
        for &(node, span) in &self.origins {
            // The last of what is dead stands for all before it; a call that is needed elsewhere is not dead.
            let is_last = self.graph.consumers(node).is_empty();
            if !needed.contains(&node) && is_last && !live.contains(&span) && seen.insert(span) {
                warnings.push(Diagnostic::warning(
                    "no output depends on this layer",
                    span,
                    "computed for nothing",
                ));
            }
        }
        warnings
    }
}

/// The labels of a model that are plain text.
pub(super) fn literal_labels(model: &Model) -> Vec<String> {
    let mut labels = Vec::new();
    walk(model, &mut |met| {
        if let Met::Label(Label { parts, .. }) = met
            && let [TextPart::Literal(text)] = parts.as_slice()
        {
            labels.push(text.clone());
        }
    });
    labels
}
