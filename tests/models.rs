//! The shipped models are the papers' networks, and take the weight files that are around.

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

/// What training adjusts; running statistics are not counted.
fn parameters(graph: &Graph) -> usize {
    let weights = weights(graph);
    let trained = weights.iter().filter(|(key, _)| !key.contains("running_"));
    trained.map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

fn multiply_adds(graph: &Graph) -> u64 {
    let cost = |id| {
        let node = graph.node(id);
        let operands: Vec<_> = graph.operands(id).into_iter().map(|operand| graph.shape(operand)).collect();
        node.op.operator().map_or(0, |operator| operator.cost(&operands, &node.shape).multiply_adds)
    };
    graph.topological_order().into_iter().map(cost).sum()
}

/// Asserts multiply-adds and parameters in millions, rounded or cut as a paper's table gives them.
#[track_caller]
fn assert_costs(graph: &Graph, multiply_adds_millions: f64, parameters_millions: f64) {
    let close = |exact: f64, table: f64, unit: f64| (exact - table).abs() < unit;
    let (operations, weights) = (multiply_adds(graph) as f64 / 1e6, parameters(graph) as f64 / 1e6);
    assert!(close(operations, multiply_adds_millions, 1.0), "{operations} M multiply-adds");
    assert!(close(weights, parameters_millions, 0.1), "{weights} M parameters");
}

#[test]
fn mobilenet_costs_what_tables_6_and_7_say() {
    for (alpha, operations, weights) in
        [("1.0", 569.0, 4.2), ("0.75", 325.0, 2.6), ("0.5", 149.0, 1.3), ("0.25", 41.0, 0.5)]
    {
        assert_costs(&graph("mobilenet_v1", &[("alpha", alpha)]), operations, weights);
    }
    for (resolution, operations) in [("224", 569.0), ("192", 418.0), ("160", 290.0), ("128", 186.0)] {
        assert_costs(&graph("mobilenet_v1", &[("resolution", resolution)]), operations, 4.2);
    }
}

#[test]
fn resnets_cost_what_table_1_says() {
    for (depth, giga) in [("18", 1.8), ("34", 3.6), ("50", 3.8), ("101", 7.6), ("152", 11.3)] {
        let graph = graph("resnet", &[("depth", depth), ("stride_in_1x1", "true")]);
        let exact = multiply_adds(&graph) as f64 / 1e9;
        // The table cuts 3.66 to 3.6 and 3.86 to 3.8.
        assert!((exact / giga - 1.0).abs() < 0.02, "depth {depth}: {exact}");
    }
    let torchvision = [("50", 4_089_184_256), ("101", 7_801_405_440), ("152", 11_513_626_624)];
    for (depth, operations) in torchvision {
        assert_eq!(multiply_adds(&graph("resnet", &[("depth", depth)])), operations, "depth {depth}");
    }
}

#[test]
fn alexnet_has_60_million_parameters() {
    assert_eq!(parameters(&graph("alexnet", &[])), 60_965_224);
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
    assert_eq!(networks.len(), 7);
    for (name, arrays) in networks {
        let graph = match name.strip_prefix("resnet") {
            Some(depth) => graph("resnet", &[("depth", depth)]),
            None if name == "alexnet" => graph("alexnet_torchvision", &[]),
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
    assert!(lines("resnet") < 60);
}
