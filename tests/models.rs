//! The shipped models have the papers' layers, and take the weight files that are around. What they cost is in
//! `papers.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kiln::dsl::{self, Source};
use kiln::graph::Graph;
use kiln::ops::Op;

fn graph(model: &str, defines: &[(&str, &str)]) -> Graph {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model).with_extension("kiln");
    let text = fs::read_to_string(&path).expect("the model is there");
    let source = Source { name: model.to_owned(), text };
    let defines = defines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let model = dsl::parse(&source).unwrap_or_else(|errors| panic!("{errors}"));
    let (graph, warnings) =
        dsl::elaborate_with_warnings(&source, &model, &defines).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(warnings.is_empty(), "{warnings}");
    graph
}

/// Shapes of the model's weights by key.
fn weights(graph: &Graph) -> BTreeMap<String, Vec<usize>> {
    let nodes = graph.topological_order().into_iter().map(|id| graph.node(id));
    nodes
        .filter_map(|node| match &node.op {
            Op::Parameter(parameter) => Some((parameter.key.clone(), parameter.shape.dims().to_vec())),
            _ => None,
        })
        .collect()
}

#[test]
fn alexnet_has_the_layers_of_section_3_5() {
    let graph = graph("alexnet", &[]);
    let shapes: BTreeMap<_, _> = graph
        .topological_order()
        .into_iter()
        .map(|id| (graph.node(id).name.clone(), graph.shape(id).dims().to_vec()))
        .collect();
    for (name, shape) in [
        ("conv1", vec![1, 96, 55, 55]),
        ("conv2", vec![1, 256, 27, 27]),
        ("conv3", vec![1, 384, 13, 13]),
        ("conv4", vec![1, 384, 13, 13]),
        ("conv5", vec![1, 256, 13, 13]),
        ("max_pool_2", vec![1, 256, 6, 6]),
        ("fc8", vec![1, 1000]),
    ] {
        assert_eq!(shapes[name], shape, "{name}");
    }
}

#[test]
fn bn_inception_has_the_sizes_of_figure_5() {
    let graph = graph("bn_inception", &[]);
    let concatenations: Vec<_> = graph
        .topological_order()
        .into_iter()
        .filter(|&id| matches!(graph.node(id).op, Op::Concat(_)))
        .map(|id| graph.shape(id).dims()[1..].to_vec())
        .collect();
    let square = |channels: usize, extent: usize| vec![channels, extent, extent];
    let expected = [
        square(256, 28),
        square(320, 28),
        square(576, 14),
        square(576, 14),
        square(576, 14),
        square(576, 14),
        square(576, 14),
        square(1024, 7),
        square(1024, 7),
        square(1024, 7),
    ];
    assert_eq!(concatenations, expected);
}

/// The arrays of each network in `state_dicts.txt`, which `scripts/state_dict_keys.py` writes.
fn state_dicts() -> BTreeMap<String, BTreeMap<String, Vec<usize>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state_dicts.txt");
    let text = fs::read_to_string(path).expect("the file is there");
    let mut networks: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    let mut network = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut network);
            continue;
        }
        let (module, arrays) = line.split_once(": ").expect("module: arrays");
        for array in arrays.split(", ") {
            let (suffix, shape) = array.split_once(' ').expect("name shape");
            let shape = shape.split('x').map(|extent| extent.parse().expect("a number")).collect();
            networks.entry(network.clone()).or_default().insert(format!("{module}.{suffix}"), shape);
        }
    }
    networks
}

#[test]
fn weight_files_of_torchvision_and_timm_load_without_renaming() {
    let networks = state_dicts();
    assert_eq!(networks.len(), 8);
    for (name, arrays) in networks {
        let graph = match name.strip_prefix("resnet") {
            Some(depth) => graph("resnet", &[("depth", depth)]),
            None if name == "alexnet" => graph("alexnet_torchvision", &[]),
            None if name == "mobilenet_v2" => graph("mobilenet_v2", &[]),
            None => graph("mobilenet_v1", &[]),
        };
        assert_eq!(weights(&graph), arrays, "{name}");
    }
}

#[test]
fn same_padding_puts_the_odd_row_at_the_bottom_and_right() {
    let graph = graph("mobilenet_v1", &[("padding", "same"), ("epsilon", "1e-3")]);
    let paddings: Vec<[usize; 4]> = graph
        .topological_order()
        .into_iter()
        .filter_map(|id| match &graph.node(id).op {
            Op::Conv(conv) if graph.node(id).name != "classifier" => Some(conv.window.padding),
            _ => None,
        })
        .collect();
    // conv_stem halves 224 to 112; blocks.0.0.conv_dw keeps 112.
    assert_eq!(paddings[..2], [[0, 0, 1, 1], [1, 1, 1, 1]]);
    assert_eq!(graph.shape(graph.outputs()[0].node).dims(), [1, 1000]);
}

#[test]
fn models_are_short() {
    let lines = |model: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model).with_extension("kiln");
        fs::read_to_string(path).expect("the model is there").lines().count()
    };
    assert!(lines("mobilenet_v1") < 40);
    assert!(lines("mobilenet_v2") < 50);
    assert!(lines("resnet") < 60);
}
