//! Each operator's reference evaluation against PyTorch: the cases of `tests/operators/*.txt`.

use std::fs;
use std::path::Path;

use kiln::graph::Graph;
use kiln::interpreter::evaluate;
use kiln::weights::Weights;

/// Evaluates every case of a file; returns how many there are.
fn check(file: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operators").join(file);
    let text = fs::read_to_string(path).unwrap();
    let cases = text.split("\n---\n");
    cases
        .map(|case| {
            let graph: Graph = case.parse().unwrap_or_else(|error| panic!("{error} in\n{case}"));
            let results = evaluate(&graph, &Weights::default(), &[]).unwrap();
            let [actual, expected] = &results[..] else { panic!("two outputs in\n{case}") };
            assert_eq!(actual.shape(), expected.shape(), "in\n{case}");
            let error = actual.relative_error(expected);
            assert!(error < 1e-6, "relative error {error} in\n{case}\n{actual:?}");
        })
        .count()
}

#[test]
fn convolutions_agree_with_pytorch() {
    assert_eq!(check("conv.txt"), 13);
}

#[test]
fn pooling_agrees_with_pytorch() {
    assert_eq!(check("pool.txt"), 13);
}

#[test]
fn normalisation_agrees_with_pytorch() {
    assert_eq!(check("normalisation.txt"), 10);
}

#[test]
fn elementwise_operators_agree_with_pytorch() {
    assert_eq!(check("elementwise.txt"), 28);
}

#[test]
fn layout_and_dense_operators_agree_with_pytorch() {
    assert_eq!(check("layout.txt"), 11);
}
