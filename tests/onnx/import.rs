//! ONNX files as users meet them: `kiln run` and `kiln import`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::build::{Attribute, Model, Node, tensor};

fn kiln(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln")).args(arguments).current_dir(folder).output().unwrap()
}

#[track_caller]
fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = kiln(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Numbers that look random, from -0.5 to 0.5.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A stem, three residual blocks that are alike, and a classifier with arithmetic on weights.
fn residual_network() -> Model {
    let mut model = Model::new(17)
        .input("image.1", &[1, 3, 8, 8])
        .initializer(tensor("stem.weight", &[4, 3, 3, 3], &numbers(108, 1)))
        .initializer(tensor("factor", &[4, 1, 1], &numbers(4, 2)))
        .initializer(tensor("half", &[], &[0.1]))
        .initializer(tensor("fc", &[4, 5], &numbers(20, 3)))
        .initializer(tensor("fc.bias", &[5], &numbers(5, 4)))
        .node(convolution("image.1", "stem", "x0"));
    for block in 0..3 {
        let name = |what: &str| format!("layer{block}.{what}");
        for conv in ["conv1", "conv2"] {
            let seed = 10 + block + if conv == "conv1" { 0 } else { 100 };
            model = model.initializer(tensor(
                &name(&format!("{conv}.weight")),
                &[4, 4, 3, 3],
                &numbers(144, seed),
            ));
        }
        let (x, next) = (format!("x{block}"), format!("x{}", block + 1));
        model = model
            .node(convolution(&x, &name("conv1"), &name("a")))
            .node(Node::new("Relu", &[&name("a")], &[&name("b")]))
            .node(convolution(&name("b"), &name("conv2"), &name("c")))
            .node(Node::new("Add", &[&name("c"), &x], &[&name("d")]))
            .node(Node::new("Relu", &[&name("d")], &[&next]));
    }
    model
        .node(Node::new("Mul", &["x3", "factor"], &["scaled"]))
        .node(Node::new("Add", &["scaled", "half"], &["moved"]))
        .node(Node::new("GlobalAveragePool", &["moved"], &["pooled"]))
        .node(Node::new("Flatten", &["pooled"], &["rows"]))
        .node(Node::new("Gemm", &["rows", "fc", "fc.bias"], &["output"]))
        .output("output")
}

fn convolution(x: &str, name: &str, y: &str) -> Node {
    Node::new("Conv", &[x, &format!("{name}.weight")], &[y]).attribute("pads", Attribute::Ints(&[1, 1, 1, 1]))
}

#[test]
fn an_imported_network_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.onnx"), residual_network().bytes()).unwrap();
    succeed(folder, &["import", "net.onnx", "-o", "written.kiln"]);
    let text = fs::read_to_string(folder.join("written.kiln")).unwrap();
    assert_eq!(text.matches("block ").count(), 1, "{text}");
    assert_eq!(text.matches("-> unit as").count(), 3, "{text}");
    assert!(text.contains("as \"layer0\"") && text.contains("as \"conv1\""), "{text}");
    succeed(folder, &["fmt", "--check", "written.kiln"]);
    for options in [&[][..], &["--no-fuse"], &["--backend", "interpreter"], &["--isa", "baseline"]] {
        let run = |model: &str, input: &str, output: &str| {
            let named = format!("{input}=image.npy");
            let output = format!("{output}.npy");
            let arguments = ["run", model, "--input", &named, "--output", &output];
            succeed(folder, &[&arguments[..], options].concat());
            fs::read(folder.join(output)).unwrap()
        };
        image(&folder.join("image.npy"));
        let answers = [run("net.onnx", "image.1", "a"), run("written.kiln", "image_1", "b")];
        assert_eq!(answers[0], answers[1], "with {options:?}");
    }
}

/// Writes an input of random numbers.
fn image(path: &Path) {
    let image = kiln::Tensor::new([1, 3, 8, 8], numbers(192, 7));
    let mut file = kiln::io::AtomicFile::create(path).unwrap();
    kiln::io::npy::write(&mut file, &image).unwrap();
    file.commit().unwrap();
}

#[test]
fn every_command_takes_an_onnx_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.onnx"), residual_network().bytes()).unwrap();
    let line = succeed(folder, &["check", "net.onnx"]);
    assert!(line.contains("image.1 f32[1, 3, 8, 8] → output f32[1, 5]"), "{line}");
    assert!(succeed(folder, &["show", "net.onnx", "--stage", "plan"]).contains("conv_ic3"));
    assert!(succeed(folder, &["run", "net.onnx"]).contains("its own weights"));
    assert!(succeed(folder, &["run", "net.onnx", "--random-weights", "1"]).contains("random weights"));
    assert_eq!(kiln(folder, &["show", "net.onnx", "--stage", "ast"]).status.code(), Some(2));
    assert_eq!(kiln(folder, &["import", "net.onnx", "-o", "net.txt"]).status.code(), Some(2));
}

#[test]
fn older_versions_broadcast_where_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let model = Model::new(6)
        .input("x", &[1, 3, 2, 2])
        .initializer(tensor("shift", &[3], &[1.0, 2.0, 3.0]))
        .node(
            Node::new("Add", &["x", "shift"], &["y"])
                .attribute("broadcast", Attribute::Int(1))
                .attribute("axis", Attribute::Int(1)),
        )
        .output("y");
    fs::write(folder.join("old.onnx"), model.bytes()).unwrap();
    assert!(succeed(folder, &["check", "old.onnx"]).contains("y f32[1, 3, 2, 2]"));
}
