//! The graph's written forms and its verifier, on random graphs over every operator.

mod common;

use std::collections::BTreeSet;

use common::random_graph::{graphs, random_graph, random_weights};
use kiln::graph::{Graph, verify};
use kiln::interpreter::evaluate;
use kiln::weights::random_inputs;
use proptest::prelude::*;

proptest! {
    #[test]
    fn random_graphs_verify_and_stay_finite(graph in graphs(), seed: u64) {
        verify(&graph).unwrap();
        let results = evaluate(&graph, &random_weights(&graph, seed), &random_inputs(&graph, seed)).unwrap();
        for (result, output) in results.iter().zip(graph.outputs()) {
            prop_assert_eq!(result.shape(), graph.shape(output.node));
            prop_assert!(result.data().iter().all(|value| value.is_finite()), "{graph}");
        }
    }

    #[test]
    fn text_parses_back_exactly(graph in graphs()) {
        let text = graph.to_string();
        let again: Graph = text.parse().unwrap();
        prop_assert!(verify(&again).is_ok());
        prop_assert_eq!(again.to_string(), text);
    }

    #[test]
    fn json_reads_back_exactly(graph in graphs()) {
        let json = serde_json::to_string(&graph).unwrap();
        let again: Graph = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(again.to_string(), graph.to_string());
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), json);
    }

    #[test]
    fn damaged_text_is_refused_or_read_but_never_crashes(
        graph in graphs(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, any::<char>()), 1..4),
    ) {
        let mut text: Vec<char> = graph.to_string().chars().collect();
        for (place, length, inserted) in cuts {
            let start = place.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, [inserted]);
        }
        let text: String = text.into_iter().collect();
        if let Ok(graph) = text.parse::<Graph>() {
            let _ = verify(&graph);
        }
    }

    #[test]
    fn text_keeps_the_values(seed: u64) {
        let graph = random_graph(seed);
        let again: Graph = graph.to_string().parse().unwrap();
        let (weights, inputs) = (random_weights(&graph, seed), random_inputs(&graph, seed));
        let results = evaluate(&graph, &weights, &inputs).unwrap();
        prop_assert_eq!(evaluate(&again, &weights, &inputs).unwrap(), results);
    }
}

#[test]
fn random_graphs_cover_every_operator() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let graph = random_graph(seed);
        seen.extend(graph.topological_order().into_iter().map(|id| graph.node(id).op.name()));
    }
    // Only passes make a conv_chain.
    let all = [
        "activation",
        "batch_norm",
        "binary",
        "concat",
        "constant",
        "conv",
        "dense",
        "global_pool",
        "identity",
        "input",
        "lrn",
        "pad",
        "parameter",
        "pool",
        "reshape",
        "scale_shift",
        "softmax",
        "transpose",
        "unary",
    ];
    assert_eq!(seen, BTreeSet::from(all));
}

#[test]
fn json_keeps_a_fused_chain() {
    let text = r#"model "m"

%0 "x" = input : [1, 4, 2, 2]
%1 "w" = parameter : [4, 1, 1, 1]
%2 "s" = parameter : [4]
%3 "chain" = conv_chain(%0) [
  "dw" conv(%1) {groups=4} + clip {max="inf", min=0.5} + add(%0)
] + scale_shift(%2, %2) : [1, 4, 2, 2] fuses ["dw", "bn"]

output "y" = %3
"#;
    let graph: Graph = text.parse().unwrap();
    assert_eq!(graph.to_string(), text);
    let again: Graph = serde_json::from_str(&serde_json::to_string(&graph).unwrap()).unwrap();
    assert_eq!(again.to_string(), text);
}

#[test]
fn json_of_another_version_is_refused() {
    let json = serde_json::to_string(&random_graph(1)).unwrap();
    let error =
        serde_json::from_str::<Graph>(&json.replace("\"kiln_graph\":1", "\"kiln_graph\":2")).unwrap_err();
    assert!(error.to_string().starts_with("kiln_graph is version 2, this kiln reads 1"), "{error}");
}

#[test]
fn json_that_is_no_graph_is_refused() {
    let check = |nodes: &str, message: &str| {
        let json = format!(r#"{{"kiln_graph": 1, "name": "m", "nodes": [{nodes}], "outputs": []}}"#);
        let error = serde_json::from_str::<Graph>(&json).unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
    };
    let x = r#"{"name": "x", "operation": {"op": "input", "shape": [1, 4]}, "shape": [1, 4]}"#;
    let relu = r#"{"name": "y", "operation": {"op": "activation", "function": "relu"}, "operands": [OPERANDS], "shape": [1, 4]}"#;
    check(&relu.replace("OPERANDS", "0"), "node 'y': operand 0 does not come before it");
    check(
        &format!("{x}, {}", relu.replace("OPERANDS", "0, 0")),
        "node 'y': activation takes 1 input (x), not 2",
    );
    check(
        &x.replace("\"shape\": [1, 4]}}", "").replace("}, \"shape\": [1, 4]", "}, \"shape\": [4]"),
        "node 'x': its shape is [1, 4], not [4]",
    );
    check(
        &x.replace("[1, 4]", "[1000000, 1000000]"),
        "node 'x': an array of shape [1000000, 1000000] is larger",
    );
    let constant = r#"{"name": "k", "operation": {"op": "constant", "value": {"shape": [3], "data": [1]}}, "shape": [3]}"#;
    check(constant, "1 numbers do not fill an array of shape [3]");
}
