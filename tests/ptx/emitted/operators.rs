//! Every operator, by the cases that the reference evaluation is held to PyTorch with.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use kiln::graph::{Graph, NodeId};
use kiln::ops::{Input, Op};
use kiln::tensor::Tensor;

use super::{all_options, disagreements, report, tolerance};

/// The part of a case that computes its first output, with the arrays that operators work on as inputs; weights stay
/// constants. The inputs' values come with it.
fn with_inputs(case: &Graph) -> (Graph, Vec<Tensor>) {
    let mut graph = Graph::new(&*case.name);
    let mut places: HashMap<NodeId, NodeId> = HashMap::new();
    let mut inputs = Vec::new();
    let wanted = case.outputs()[0].node;
    let order = case.topological_order();
    let is_data = |id: NodeId| {
        order.iter().any(|&reader| {
            let operands = case.operands(reader);
            let all = matches!(case.node(reader).op, Op::Binary(_) | Op::Concat(_));
            operands.first() == Some(&id) || all && operands.contains(&id)
        })
    };
    for &id in &order {
        let node = case.node(id);
        let op = match &node.op {
            Op::Constant(constant) if is_data(id) => {
                inputs.push(constant.value.clone());
                Op::Input(Input { shape: node.shape.clone() })
            }
            Op::Constant(_) if case.consumers(id).is_empty() => continue,
            op => op.clone(),
        };
        let operands: Vec<NodeId> = case.operands(id).iter().map(|operand| places[operand]).collect();
        let place =
            graph.add_fused(&*node.name, op, node.epilogue.clone(), &operands).expect("the case is valid");
        places.insert(id, place);
    }
    graph.add_output("actual", places[&wanted]);
    (graph, inputs)
}

/// Runs every case of a file in every way; returns how many there are.
fn check(file: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operators").join(file);
    let text = fs::read_to_string(path).expect("the cases are there");
    let mut problems = Vec::new();
    let cases: Vec<&str> = text.split("\n---\n").collect();
    for case in &cases {
        let (graph, inputs) = with_inputs(&case.parse().expect("the case parses"));
        let found = disagreements(&graph, &inputs, &all_options(), tolerance);
        problems.extend(found.into_iter().map(|found| format!("{}: {found}", graph.name)));
    }
    report(&problems);
    cases.len()
}

#[test]
fn convolutions() {
    assert_eq!(check("conv.txt"), 13);
}

#[test]
fn pooling() {
    assert_eq!(check("pool.txt"), 13);
}

#[test]
fn normalisation() {
    assert_eq!(check("normalisation.txt"), 10);
}

#[test]
fn elementwise_operators() {
    assert!(check("elementwise.txt") >= 28);
}

#[test]
fn layout_and_dense_operators() {
    assert!(check("layout.txt") >= 11);
}
