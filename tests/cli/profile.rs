//! `profile` and `machine`: what the figures are held against, and what they say of each other.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::{Run, Workspace, kiln, kiln_with_cache};

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

#[test]
fn kernels_are_held_against_the_machine() {
    let json = kiln("profile models/digits.kiln --seconds 0.05 --threads 1 --json").json();
    let kernels = json["kernels"].as_array().unwrap();
    assert!(kernels.len() > 3);
    let machine = &json["machine"];
    let peak = number(&machine["peak_gflops"]);
    let levels = machine["levels"].as_array().unwrap();
    let mut roofs: BTreeSet<&str> = levels.iter().map(|level| level["name"].as_str().unwrap()).collect();
    assert!(roofs.contains("memory"), "{machine}");
    roofs.insert("compute");
    for kernel in kernels {
        for key in ["name", "algorithm", "kernel", "layers"] {
            assert!(!kernel[key].is_null(), "{key} is not in {kernel}");
        }
        let [ms, share, gflops, bytes] = ["ms", "share", "gflops", "bytes"].map(|key| number(&kernel[key]));
        assert!(close(share, ms / number(&json["ms"])), "{kernel}");
        assert!(close(number(&kernel["peak_share"]), gflops / peak), "{kernel}");
        assert!(close(number(&kernel["gb_per_s"]), bytes / ms / 1e6), "{kernel}");
        assert_eq!(bytes, number(&kernel["activation_bytes"]) + number(&kernel["weight_bytes"]));
        assert!(roofs.contains(kernel["roof"].as_str().unwrap()), "{kernel}");
        assert!(close(number(&kernel["over_roof"]), ms / number(&kernel["roof_ms"])), "{kernel}");
    }
    let sum = |key: &str| -> f64 { kernels.iter().map(|kernel| number(&kernel[key])).sum() };
    assert!(close(sum("roof_ms"), number(&json["roof_ms"])), "{json}");
    assert!(close(number(&json["over_roof"]), number(&json["ms"]) / number(&json["roof_ms"])), "{json}");
    assert!(close(sum("share"), 1.0), "{json}");
}

/// Winograd's method multiplies less than the convolution that it computes, and crossed products less again; the roof knows.
#[test]
fn roofs_count_what_an_algorithm_really_multiplies() {
    let workspace = Workspace::new();
    let model = "model two() {
      input image: f32[1, 64, 32, 32]
      output y = image -> conv(64, 3, padding = 1) -> conv(64, 1)
    }";
    workspace.write("two.kiln", model);
    let json = workspace.kiln("profile two.kiln --seconds 0 --threads 1 --json").json();
    // Products are crossed on some processors: of 64 channels, 16 or 21 multiplications are spared.
    let spared = |name: &str| match () {
        () if name.contains("_crossed_thirds") => 21.0,
        () if name.contains("_crossed") => 16.0,
        () => 0.0,
    };
    let of = |algorithms: &[&str]| {
        let kernels = json["kernels"].as_array().unwrap();
        let found = kernels.iter().find(|kernel| algorithms.contains(&kernel["algorithm"].as_str().unwrap()));
        let kernel = found.unwrap_or_else(|| panic!("no kernel is one of {algorithms:?} in {json}"));
        let ratio = number(&kernel["multiply_adds"]) / number(&kernel["essential_multiply_adds"]);
        ratio * (64.0 - spared(kernel["kernel"].as_str().unwrap())) / 64.0
    };
    assert_eq!([of(&["direct", "crossed"]), of(&["winograd4x4"])], [1.0, 4.0]);
}

#[test]
fn tables_fit_a_terminal_of_120_columns() {
    let text = kiln("profile models/mobilenet_v1.kiln -D resolution=32 --seconds 0 --threads 1").ok();
    let (tables, names) = text.split_once("\nkernels, each").expect("names follow the table");
    let widest = tables.lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= 120, "{} columns: {widest}", widest.chars().count());
    for part in ["of peak", "GB/s", "roof", "compute", "total", "all kernels at their roofs"] {
        assert!(tables.contains(part), "{part} is not in: {text}");
    }
    assert!(names.contains(": depthwise_pointwise_ic"), "{text}");
}

fn machine(cache: &Path, options: &str) -> Run {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    kiln_with_cache(cache, folder, &format!("machine --isa baseline --threads 1 --json {options}"))
}

#[test]
fn the_machine_is_measured_once() {
    let workspace = Workspace::new();
    let cache = workspace.path("cache");
    let file = cache.join("kiln/machine-baseline-1.json");
    let first = machine(&cache, "").json();
    assert_eq!(first[0]["threads"], 1);
    assert_eq!(first[0]["isa"], "baseline");
    // Figures in the file are believed: these were not measured.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut remembered: Value = serde_json::from_str(&text).unwrap();
    remembered["peak_gflops"] = 12.5.into();
    std::fs::write(&file, remembered.to_string()).unwrap();
    assert_eq!(machine(&cache, "").json()[0], remembered);
    assert_ne!(machine(&cache, "--remeasure").json()[0], remembered);
}

#[test]
fn what_is_remembered_of_other_machines_or_damaged_is_measured_again() {
    let workspace = Workspace::new();
    let cache = workspace.path("cache");
    let file = cache.join("kiln/machine-baseline-1.json");
    let good = machine(&cache, "").json()[0].clone();
    let changed = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        changed.to_string()
    };
    for damaged in [
        String::new(),
        "[1, 2".to_owned(),
        changed("cpu", "another".into()),
        changed("version", "0.0.0".into()),
        changed("peak_gflops", (-1.0).into()),
        changed("peak_gflops", Value::Null),
        changed("levels", serde_json::json!([])),
        changed("extra", 1.into()),
    ] {
        std::fs::write(&file, &damaged).unwrap();
        let measured = machine(&cache, "").json();
        assert!(number(&measured[0]["peak_gflops"]) > 0.0, "{damaged}");
        let repaired: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(repaired["cpu"], good["cpu"], "{damaged}");
    }
}

#[test]
fn a_cache_that_cannot_be_written_costs_only_time() {
    let workspace = Workspace::new();
    workspace.write("cache", "a file where the folder should be");
    machine(&workspace.path("cache"), "").json();
    assert_eq!(workspace.files(), ["cache"]);
}
