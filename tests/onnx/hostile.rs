//! Damaged and hostile ONNX files: an error that names the culprit, soon, in bounded memory, whatever the bytes.
//!
//! `KILN_FUZZ_SECONDS=60 cargo test --release --test onnx_files` mutates for a minute instead of a few seconds.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::build::{Attribute, Model, Node, tensor};
use kiln::graph::verify;
use kiln::import::onnx::{Bindings, Network};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// The error of importing a file of these bytes, empty where there is none.
fn import(bytes: &[u8]) -> String {
    let network = Network::parse("net.onnx", bytes.to_vec());
    let imported = network.and_then(|network| network.import(&Bindings::default()));
    match imported {
        Ok(imported) if imported.graph.outputs().is_empty() => String::new(),
        Ok(imported) => verify(&imported.graph).map_or_else(|error| panic!("{error}"), |()| String::new()),
        Err(error) => error.to_string(),
    }
}

/// A convolution with its activation, pooling and a classifier whose shape is computed.
fn network() -> Model {
    Model::new(13)
        .input("image", &[1, 3, 8, 8])
        .initializer(tensor("conv.weight", &[4, 3, 3, 3], &[0.25; 108]))
        .initializer(tensor("fc.weight", &[2, 4], &[0.5; 8]))
        .node(
            Node::new("Conv", &["image", "conv.weight"], &["a"])
                .attribute("pads", Attribute::Ints(&[1, 1, 1, 1])),
        )
        .node(Node::new("Relu", &["a"], &["b"]))
        .node(Node::new("GlobalAveragePool", &["b"], &["c"]))
        .node(Node::new("Shape", &["c"], &["shape"]))
        .node(Node::new("Constant", &[], &["zero"]).attribute("value_ints", Attribute::Ints(&[0])))
        .node(Node::new("Gather", &["shape", "zero"], &["batch"]))
        .node(Node::new("Constant", &[], &["rest"]).attribute("value_ints", Attribute::Ints(&[-1])))
        .node(Node::new("Concat", &["batch", "rest"], &["wanted"]).attribute("axis", Attribute::Int(0)))
        .node(Node::new("Reshape", &["c", "wanted"], &["rows"]))
        .node(Node::new("Gemm", &["rows", "fc.weight"], &["y"]).attribute("transB", Attribute::Int(1)))
        .output("y")
}

#[test]
fn the_undamaged_network_is_imported() {
    assert_eq!(import(&network().bytes()), "");
}

#[test]
fn every_truncation_is_an_error_or_a_network() {
    let bytes = network().bytes();
    for length in 0..bytes.len() {
        import(&bytes[..length]);
    }
    assert!(import(&bytes[..bytes.len() / 2]).contains("net.onnx"));
    assert!(import(&[]).contains("no graph"));
    assert!(import(b"\x89PNG\r\n\x1a\n").contains("not an ONNX model"));
}

#[test]
fn mutations_are_errors_or_networks() {
    let seconds = std::env::var("KILN_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let end = Instant::now() + Duration::from_secs(seconds);
    let original = network().bytes();
    let mut rng = Pcg64Mcg::seed_from_u64(5);
    let (mut runs, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < end {
        let mut bytes = original.clone();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..5) {
                0 => bytes[at] ^= 1 << rng.random_range(0..8),
                1 => bytes[at] = rng.random_range(0..=255),
                2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
                3 => {
                    let length = rng.random_range(1..9).min(bytes.len() - at);
                    bytes.drain(at..at + length);
                }
                _ => {
                    let length = rng.random_range(1..17).min(bytes.len() - at);
                    let copy = bytes[at..at + length].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        let start = Instant::now();
        import(&bytes);
        slowest = slowest.max(start.elapsed());
        runs += 1;
    }
    println!("{runs} mutations, the slowest took {slowest:?}");
    assert!(runs > 100, "only {runs} mutations");
    assert!(slowest < Duration::from_secs(2), "a mutation took {slowest:?}");
    assert!(peak_bytes().is_none_or(|bytes| bytes < 1 << 30), "{:?} bytes were in use", peak_bytes());
}

/// The most memory that the process has had.
fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

#[track_caller]
fn refused(model: Model, message: &str) {
    let error = import(&model.bytes());
    assert!(error.contains(message), "expected '{message}' in '{error}'");
}

#[test]
fn hostile_networks_are_refused_with_their_reason() {
    let plain = || Model::new(13).input("x", &[1, 3, 8, 8]).output("y");
    refused(
        plain().node(Node::new("Relu", &["b"], &["a"])).node(Node::new("Relu", &["a"], &["b"])),
        "out of order or run in a circle",
    );
    refused(
        plain().node(Node::new("Relu", &["x"], &["y"])).node(Node::new("Relu", &["x"], &["y"])),
        "'y' is defined twice",
    );
    refused(
        plain().initializer(tensor("w", &[1 << 40, 1 << 40], &[])).node(Node::new("Relu", &["x"], &["y"])),
        "tensor 'w'",
    );
    refused(
        plain().initializer(tensor("w", &[1 << 30], &[1.0])).node(Node::new("Relu", &["x"], &["y"])),
        "tensor 'w': [1073741824] takes 4294967296 bytes, but there are 4",
    );
    refused(Model::new(13).input("x", &[-3]).node(Node::new("Relu", &["x"], &["y"])).output("y"), "'x.0'");
    refused(plain(), "no node yields the output 'y'");
    refused(Model::new(1_000_000).output("y"), "operator set 1000000");
    // Integer arrays are made while importing, so they stay small.
    let mut bomb = plain().node(
        Node::new("Constant", &[], &["shape"]).attribute("value_ints", Attribute::Ints(&[1 << 31, 1 << 31])),
    );
    bomb = bomb.node(Node::new("Expand", &["shape", "shape"], &["huge"]));
    refused(bomb.node(Node::new("Add", &["huge", "huge"], &["y"])), "broadcast");
    let range = plain()
        .node(Node::new("Constant", &[], &["low"]).attribute("value_int", Attribute::Int(0)))
        .node(Node::new("Constant", &[], &["high"]).attribute("value_int", Attribute::Int(i64::MAX)))
        .node(Node::new("Constant", &[], &["step"]).attribute("value_int", Attribute::Int(1)))
        .node(Node::new("Range", &["low", "high", "step"], &["huge"]))
        .node(Node::new("Reshape", &["x", "huge"], &["y"]));
    refused(range, "too large to be computed when the network is imported");
}

#[test]
fn everything_that_is_not_supported_is_listed_at_once() {
    let model = Model::new(13)
        .input("x", &[1, 3, 8, 8])
        .node(Node::new("LSTM", &["x"], &["a"]))
        .node(Node::new("Relu", &["a"], &["b"]))
        .node(Node::new("Relu", &["x"], &["c"]).attribute("sharpness", Attribute::Int(1)))
        .node(
            Node::new("MaxPool", &["x"], &["d", "indices"])
                .attribute("kernel_shape", Attribute::Ints(&[2, 2])),
        )
        .node(Node::new("Neg", &["indices"], &["e"]))
        .output("b");
    let error = import(&model.bytes());
    for part in [
        "3 nodes cannot be imported",
        "node 'a', LSTM of ai.onnx version 13: the operator is not supported",
        "node 'c', Relu of ai.onnx version 13: the attribute 'sharpness'",
        "node 'e', Neg of ai.onnx version 13: it reads the indices of a max pooling",
    ] {
        assert!(error.contains(part), "expected '{part}' in '{error}'");
    }
}

#[test]
fn open_dimensions_say_how_to_bind_them() {
    let model = Model::new(13)
        .named_input("x", &["batch", "3"])
        .node(Node::new("Relu", &["x"], &["y"]))
        .output("y")
        .bytes();
    let error = import(&model);
    assert!(error.contains("-D 'batch=1'"), "{error}");
    let network = Network::parse("net.onnx", model).unwrap();
    let bind = |text: &str| Bindings::parse(&[("batch".to_owned(), text.to_owned())]).unwrap();
    let imported = network.import(&bind("4")).unwrap();
    assert_eq!(imported.inputs[0].shape.dims(), [4, 3]);
    assert!(network.import(&bind("-4")).is_err());
}

/// Runs `kiln check` on a model with external data at `location`; what it says, which must come with exit code 1.
fn check_external(folder: &Path, location: &str, length: usize) -> String {
    let path = folder.join("net.onnx");
    let model = Model::new(13)
        .input("x", &[1, 4])
        .external("w", &[length as i64], location)
        .node(Node::new("Add", &["x", "w"], &["y"]))
        .output("y");
    fs::write(&path, model.bytes()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kiln")).arg("check").arg(&path).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    message
}

#[test]
fn external_data_stay_in_the_models_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    fs::create_dir(&folder).unwrap();
    fs::write(root.path().join("secret"), [0; 16]).unwrap();
    fs::write(folder.join("short"), [0; 8]).unwrap();
    for (location, message) in [
        ("../secret", "must lie in the model's folder"),
        ("/etc/passwd", "must lie in the model's folder"),
        ("", "must lie in the model's folder"),
        ("missing", "cannot read"),
        (".", "is no file"),
        ("short", "beyond its 8 bytes"),
    ] {
        let error = check_external(&folder, location, 4);
        assert!(error.contains(message), "{location}: expected '{message}' in '{error}'");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(root.path().join("secret"), folder.join("link")).unwrap();
        let error = check_external(&folder, "link", 4);
        assert!(error.contains("leads out of it"), "{error}");
    }
}
