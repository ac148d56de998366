//! What rewrites must not change.

use kiln::graph::{Graph, verify};
use kiln::interpreter::evaluate;
use kiln::passes::{self, Options};
use kiln::weights::random_inputs;

use crate::common::random_graph::random_weights;

/// What rewrites may change an answer by: they reorder the arithmetic of single layers.
const TOLERANCE: f64 = 1e-5;

/// After any number of rewrites the graph is valid, has the same inputs and outputs, and gives the same answer.
/// Without `every_step`, only the graph after the last rewrite is looked at.
pub fn assert_same_answers(graph: &Graph, options: &Options, every_step: bool, what: &str) {
    let seed = 7;
    let (weights, inputs) = (random_weights(graph, seed), random_inputs(graph, seed));
    let expected = evaluate(graph, &weights, &inputs).unwrap();
    let (_, explanation) = passes::run(graph.clone(), options).unwrap();
    let first = if every_step { 0 } else { explanation.taken() };
    for rewrites in first..=explanation.taken() {
        let options = Options { stop_after: Some(rewrites), ..options.clone() };
        let (rewritten, partial) =
            passes::run(graph.clone(), &options).unwrap_or_else(|error| panic!("{what}: {error}\n{graph}"));
        assert_eq!(partial.taken(), rewrites, "{what}");
        verify(&rewritten).unwrap_or_else(|error| panic!("{what}: {error}\n{graph}\n{partial}"));
        assert_eq!(interface(graph), interface(&rewritten), "{what}");
        let actual = evaluate(&rewritten, &weights, &inputs).unwrap();
        for ((actual, expected), output) in actual.iter().zip(&expected).zip(graph.outputs()) {
            let error = actual.relative_error(expected);
            assert!(
                error <= TOLERANCE,
                "{what}: after {rewrites} rewrites, output '{}' is off by {error:e}\n{graph}\n{rewritten}\n{partial}",
                output.name
            );
        }
    }
}

/// What a caller knows a graph by.
fn interface(graph: &Graph) -> (Vec<&str>, Vec<&str>) {
    (
        graph.inputs().iter().map(|&id| graph.node(id).name.as_str()).collect(),
        graph.outputs().iter().map(|output| output.name.as_str()).collect(),
    )
}
