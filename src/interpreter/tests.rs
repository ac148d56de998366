use std::sync::Arc;

use super::{EvaluateError, evaluate, evaluate_constants, trace};
use crate::graph::{Graph, NodeId};
use crate::tensor::Tensor;
use crate::weights::Weights;

const TEXT: &str = r#"
    model "m"
    %x = input : [1, 2]
    %w = parameter : [2]
    %two = constant {data=[2]} : [1]
    %doubled = mul(%w, %two)
    %folded = neg(%doubled) + relu
    %sum = add(%x, %folded)
    %y = mul(%sum, %sum)
    %unread = exp(%x)
    output "y" = %y
    output "sum" = %sum
    output "weight" = %w
"#;

fn parse() -> Graph {
    TEXT.parse().unwrap()
}

fn weights(values: [f32; 2]) -> Weights {
    let mut weights = Weights::default();
    weights.insert("w", Tensor::new([2], values.to_vec()));
    weights
}

fn node(graph: &Graph, name: &str) -> NodeId {
    graph.find(name).unwrap()
}

#[test]
fn evaluates_outputs_in_their_order() {
    let x = Tensor::new([1, 2], vec![10.0, 20.0]);
    // -2 · [-1, 3] = [2, -6], and relu.
    let results = evaluate(&parse(), &weights([-1.0, 3.0]), &[x]).unwrap();
    let data: Vec<&[f32]> = results.iter().map(Tensor::data).collect();
    assert_eq!(data, [&[144.0, 400.0][..], &[12.0, 20.0], &[-1.0, 3.0]]);
}

#[test]
fn a_trace_has_every_value() {
    let graph = parse();
    let x = Tensor::new([1, 2], vec![0.0, 1.0]);
    let trace = trace(&graph, &weights([-1.0, 3.0]), &[x]).unwrap();
    for id in graph.topological_order() {
        assert_eq!(trace.get(id).unwrap().shape(), graph.shape(id));
    }
    assert_eq!(trace.get(node(&graph, "doubled")).unwrap().data(), [-2.0, 6.0]);
    assert_eq!(trace.get(node(&graph, "unread")).unwrap().data(), [1.0, std::f32::consts::E]);
}

#[test]
fn constants_need_no_input_and_share_parameters() {
    let graph = parse();
    let weights = weights([-1.0, 3.0]);
    let ids = ["folded", "w", "doubled"].map(|name| node(&graph, name));
    let values = evaluate_constants(&graph, &weights, &ids).unwrap();
    let data: Vec<&[f32]> = values.iter().map(|value| value.data()).collect();
    assert_eq!(data, [[2.0, 0.0], [-1.0, 3.0], [-2.0, 6.0]]);
    assert!(Arc::ptr_eq(&values[1], weights.get("w").unwrap()));
}

#[test]
fn only_parameters_that_are_needed_must_be_there() {
    let graph = parse();
    let two = evaluate_constants(&graph, &Weights::default(), &[node(&graph, "two")]).unwrap();
    assert_eq!(two[0].data(), [2.0]);
}

#[test]
fn errors_name_the_culprit() {
    let graph = parse();
    let x = || Tensor::zeros([1, 2]);
    let check = |result: Result<Vec<Tensor>, EvaluateError>, message: &str| {
        assert_eq!(result.unwrap_err().to_string(), message);
    };
    check(
        evaluate(&graph, &Weights::default(), &[x()]),
        "the weights have no 'w', which must have shape [2]",
    );
    let mut misshapen = Weights::default();
    misshapen.insert("w", Tensor::zeros([3, 1]));
    check(
        evaluate(&graph, &misshapen, &[x()]),
        "parameter 'w' must have shape [2], but in the weights it has [3, 1]",
    );
    let weights = weights([0.0, 0.0]);
    check(evaluate(&graph, &weights, &[]), "the model takes 1 input, not 0");
    check(evaluate(&graph, &weights, &[Tensor::zeros([2])]), "input 'x' must have shape [1, 2], not [2]");
    let sum = node(&graph, "sum");
    assert_eq!(
        evaluate_constants(&graph, &weights, &[sum]).unwrap_err().to_string(),
        "a value that is asked for as a constant depends on the model input 'x'"
    );
}
