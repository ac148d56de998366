//! Shipped models against PyTorch's answers (`scripts/golden.py`) on the same random weights and input.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kiln::io::npy::NpyFile;
use kiln::weights::{random, random_input};
use kiln::{Model, Options, interpreter};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    seed: u64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    model: String,
    parameters: BTreeMap<String, serde_json::Value>,
}

/// Both ways of computing agree with PyTorch: the interpreter up to the rounding of each layer's result to
/// `f32`, compiled code up to the tolerance that kiln promises.
fn check(name: &str) {
    let file = folder("tests/golden/cases.json");
    let golden: Golden = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let case = golden.cases.iter().find(|case| case.name == name).expect("the case is listed");

    let mut model = Model::load(folder("models").join(format!("{}.kiln", case.model))).unwrap();
    for (parameter, value) in &case.parameters {
        model = model.define(parameter, value);
    }
    let graph = model.graph().unwrap();
    let weights = random(&graph, golden.seed);
    let input = graph.node(graph.inputs()[0]);
    let image = random_input(&input.name, &input.shape, golden.seed);
    let expected =
        NpyFile::open(&folder("tests/golden").join(format!("{name}.npy"))).unwrap().read().unwrap();
    assert_eq!(expected.shape().dims(), [1, 1000]);

    let interpreted = interpreter::evaluate(&graph, &weights, std::slice::from_ref(&image)).unwrap();
    let error = interpreted[0].relative_error(&expected);
    assert!(error <= 1e-5, "{name} interpreted: relative error {error:.1e}");

    for fuse in [true, false] {
        let options = Options { fuse, ..Options::default() };
        let mut executable = model.compile(&weights, &options).unwrap();
        let error = executable.run(std::slice::from_ref(&image)).unwrap()[0].relative_error(&expected);
        assert!(error <= 1e-4, "{name} compiled, fuse = {fuse}: relative error {error:.1e}");
    }
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn alexnet_agrees_with_torchvision() {
    check("alexnet");
}

#[test]
fn resnet18_agrees_with_torchvision() {
    check("resnet18");
}

#[test]
fn resnet50_agrees_with_torchvision() {
    check("resnet50");
}

#[test]
fn mobilenet_v2_agrees_with_torchvision() {
    check("mobilenet_v2");
}

#[test]
fn mobilenet_v1_agrees_with_timm() {
    check("mobilenetv1_100");
}
