//! Whole shipped models at reduced resolution.

use super::{disagreements, report, some_options, tolerance};
use crate::common::models::{self, REDUCED};
use crate::common::random_graph::random_inputs;

#[test]
fn shipped_models_at_reduced_resolution() {
    let ways = some_options();
    let mut problems = Vec::new();
    for (index, (name, defines)) in REDUCED.iter().enumerate() {
        let graph = models::graph(name, defines);
        // Each model in two of the ways, so that all are used in turn.
        let chosen = [index, index + ways.len() / 2].map(|way| ways[way % ways.len()].clone());
        let found = disagreements(&graph, &random_inputs(&graph, 2), &chosen, tolerance);
        problems.extend(found.into_iter().map(|found| format!("{name} {defines:?}: {found}")));
    }
    report(&problems);
}
