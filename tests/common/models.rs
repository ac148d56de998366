//! The shipped models as tests use them.

use kiln::Model;
use kiln::graph::Graph;

type Defines = &'static [(&'static str, &'static str)];

/// All shipped models at full size.
pub const SHIPPED: &[(&str, Defines)] = &[
    ("age_net", &[]),
    ("alexnet", &[]),
    ("alexnet_torchvision", &[]),
    ("bn_inception", &[]),
    ("digits", &[]),
    ("mobilenet_v1", &[]),
    ("mobilenet_v1", &[("alpha", "0.5"), ("resolution", "160")]),
    ("mobilenet_v2", &[]),
    ("resnet", &[("depth", "18")]),
    ("resnet", &[("depth", "50")]),
];

/// All shipped models, every depth included, small enough to interpret in tests.
pub const REDUCED: &[(&str, Defines)] = &[
    ("age_net", &[]),
    ("alexnet", &[]),
    ("alexnet_torchvision", &[]),
    ("bn_inception", &[("resolution", "64")]),
    ("digits", &[("batch", "3")]),
    ("mobilenet_v1", &[("resolution", "64")]),
    ("mobilenet_v1", &[("alpha", "0.25"), ("resolution", "96"), ("batch", "2")]),
    ("mobilenet_v2", &[("resolution", "64")]),
    ("resnet", &[("depth", "18"), ("resolution", "64")]),
    ("resnet", &[("depth", "34"), ("resolution", "64")]),
    ("resnet", &[("depth", "50"), ("resolution", "64")]),
    ("resnet", &[("depth", "101"), ("resolution", "64")]),
    ("resnet", &[("depth", "152"), ("resolution", "64")]),
];

/// A shipped model's graph.
pub fn graph(name: &str, defines: &[(&str, &str)]) -> Graph {
    // A test binary may run on another machine than it was built on, where this variable says where the models are.
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let path = format!("{root}/models/{name}.kiln");
    let model = Model::load(&path).expect("the model parses");
    let model = defines.iter().fold(model, |model, (key, value)| model.define(*key, value));
    model.graph().expect("the model elaborates")
}
