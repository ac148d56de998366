//! The shipped models: which operators are left of them when all passes have run.

use std::collections::BTreeMap;

use kiln::Model;
use kiln::graph::Graph;
use kiln::ops::Op;
use kiln::passes::{self, Options};

use crate::answers::assert_same_answers;

fn model(file: &str, defines: &[(&str, &str)]) -> Graph {
    let path = format!("{}/models/{file}.kiln", env!("CARGO_MANIFEST_DIR"));
    let model = Model::load(path).unwrap();
    defines.iter().fold(model, |model, (name, value)| model.define(*name, value)).graph().unwrap()
}

/// The operators that compute activations, by kind.
fn operators(graph: Graph, fuse: bool) -> String {
    let (graph, _) = passes::run(graph, &Options { fuse, ..Options::default() }).unwrap();
    let weights = graph.weight_expressions();
    let mut counts = BTreeMap::new();
    for id in graph.topological_order().into_iter().filter(|&id| !weights.contains(id)) {
        let op = &graph.node(id).op;
        if !matches!(op, Op::Input(_)) {
            *counts.entry(op.name()).or_insert(0) += 1;
        }
    }
    counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_is_left_of_them() {
    let networks: [(&str, &[(&str, &str)]); 8] = [
        ("alexnet", &[]),
        ("alexnet_torchvision", &[]),
        ("bn_inception", &[]),
        ("digits", &[]),
        ("mobilenet_v1", &[]),
        ("resnet", &[("depth", "18")]),
        ("resnet", &[("depth", "50")]),
        ("resnet", &[("depth", "152")]),
    ];
    let mut text = String::new();
    for (file, defines) in networks {
        let graph = model(file, defines);
        let depth = defines.iter().map(|(_, value)| *value).collect::<String>();
        text += &format!("{file}{depth}\n  unfused: {}\n", operators(graph.clone(), false));
        text += &format!("  fused:   {}\n", operators(graph, true));
    }
    assert_eq!(text, EXPECTED, "\n{text}");
}

const EXPECTED: &str = "\
alexnet
  unfused: 7 activation, 5 conv, 3 dense, 2 lrn, 3 pool, 1 reshape
  fused:   5 conv, 3 dense, 2 lrn, 3 pool, 1 reshape
alexnet_torchvision
  unfused: 7 activation, 5 conv, 3 dense, 3 pool, 1 reshape
  fused:   5 conv, 3 dense, 3 pool, 1 reshape
bn_inception
  unfused: 69 activation, 10 concat, 70 conv, 1 dense, 1 global_pool, 12 pool, 1 reshape, 69 scale_shift
  fused:   10 concat, 70 conv, 1 dense, 1 global_pool, 12 pool, 1 reshape
digits
  unfused: 3 activation, 3 conv, 1 dense, 1 global_pool, 1 pool, 1 reshape, 3 scale_shift
  fused:   3 conv, 1 dense, 1 global_pool, 1 pool, 1 reshape
mobilenet_v1
  unfused: 27 activation, 27 conv, 1 dense, 1 global_pool, 1 reshape, 27 scale_shift
  fused:   1 conv, 13 conv_chain, 1 dense, 1 global_pool, 1 reshape
resnet18
  unfused: 17 activation, 8 binary, 20 conv, 1 dense, 1 global_pool, 1 pool, 1 reshape, 20 scale_shift
  fused:   20 conv, 1 dense, 1 global_pool, 1 pool, 1 reshape
resnet50
  unfused: 49 activation, 16 binary, 53 conv, 1 dense, 1 global_pool, 1 pool, 1 reshape, 53 scale_shift
  fused:   53 conv, 1 dense, 1 global_pool, 1 pool, 1 reshape
resnet152
  unfused: 151 activation, 50 binary, 155 conv, 1 dense, 1 global_pool, 1 pool, 1 reshape, 155 scale_shift
  fused:   155 conv, 1 dense, 1 global_pool, 1 pool, 1 reshape
";

#[test]
fn their_answers_stay() {
    let small = [("alpha", "0.25"), ("resolution", "32")];
    assert_same_answers(&model("mobilenet_v1", &small), &Options::default(), false, "mobilenet_v1");
    let small = [("depth", "18"), ("resolution", "32")];
    assert_same_answers(&model("resnet", &small), &Options::default(), false, "resnet");
    assert_same_answers(&model("digits", &[]), &Options::default(), true, "digits");
}
