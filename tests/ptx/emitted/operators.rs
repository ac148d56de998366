//! Every operator, by the cases that the reference evaluation is held to PyTorch with.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use kiln::Model;
use kiln::graph::{Graph, NodeId};
use kiln::ops::{Input, Op};
use kiln::tensor::Tensor;
use kiln::weights::random_inputs;

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

/// Operators of the language that have no cases in files, as bodies of models with the inputs `x: f32[2, 12, 5, 6]`,
/// `a: f32[2, 1, 5, 7]` and `b: f32[3, 7, 4]`.
const LAYERS: &[&str] = &[
    "x -> log_softmax(axis = 1)",
    "x -> log_softmax",
    "x -> reduce_sum([2, 3])",
    "x -> reduce_mean([1], keep_axes = true) -> relu",
    "x -> reduce_max([0, 3])",
    "x -> reduce_min([0, 1, 2, 3])",
    "matmul(a, b)",
    "matmul(x, slice(b, [0, 0, 0], [1, 6, 4])) -> relu",
    "x -> slice([0, 2, 1, 0], [2, 5, 2, 3], [1, 2, 2, 2]) -> relu",
    "x -> slice([1, 11, 4, 5], [2, 6, 3, 6], [-1, -2, -1, -1])",
    "x -> slice([0, 0, 0, 0], [1, 12, 1, 1]) -> expand([3, 12, 2, 4])",
    "x -> resize([10, 12])",
    "x -> resize([3, 11], method = cubic) -> relu",
    "x -> resize([7, 2], method = nearest, coordinates = asymmetric)",
    "x -> resize([2, 4], coordinates = align_corners, antialias = true)",
    "x -> depth_to_space(2)",
    "x -> depth_to_space(2, blocks_first = true) -> relu",
    "x -> slice([0, 0, 0, 0], [2, 12, 4, 6]) -> space_to_depth(2)",
    "x -> pad_axes([0, 1, 2, 1], [1, 0, 1, 3], filling = reflect)",
    "x -> pad_axes([0, 0, 2, 1], [0, 0, 1, 3], filling = edge) -> relu",
    "x -> pad_axes([0, 0, 2, 1], [0, 0, 1, 3], filling = wrap)",
    // Taps in the padding of an image of one pixel, whose rows and columns lie at no distance of their own.
    "x -> slice([0, 0, 0, 0], [1, 12, 3, 1]) -> reshape([1, 36, 1, 1]) -> conv(2, [2, 3], stride = [3, 1], padding = [2, 1, 0, 1])",
];

#[test]
fn rearrangements_and_reductions() {
    let mut problems = Vec::new();
    for layers in LAYERS {
        let text = format!(
            "model m() {{
               input x: f32[2, 12, 5, 6]
               input a: f32[2, 1, 5, 7]
               input b: f32[3, 7, 4]
               output y = {layers}
               output unused = concat(a -> flatten -> reduce_sum([1]), b -> reduce_sum([1, 2]), axis = 0)
             }}"
        );
        let graph = Model::parse(&text).and_then(|model| model.graph());
        let graph = graph.unwrap_or_else(|error| panic!("{layers}: {error}"));
        let found = disagreements(&graph, &random_inputs(&graph, 3), &all_options(), tolerance);
        problems.extend(found.into_iter().map(|found| format!("{layers}: {found}")));
    }
    report(&problems);
}
