//! Answers, and what a run takes from the driver for them.

use std::path::Path;

use kiln::io::npy::NpyFile;
use kiln::tensor::Tensor;
use serde_json::Value;

use crate::support::kiln;

/// The output of `kiln run` on a backend.
fn answer(folder: &Path, model: &str, backend: &str, variables: &[(&str, &str)]) -> (Tensor, Option<Value>) {
    let path = folder.join(backend.split(' ').next().unwrap()).with_extension("npy");
    let run = kiln(&format!("run {model} --backend {backend} --output {}", path.display()), variables);
    let report = if backend.starts_with("cuda") { Some(run.ok().1.clone()) } else { None };
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    (NpyFile::open(&path).unwrap().read().unwrap(), report)
}

/// Holds a model's answers on the simulated device to the interpreter's.
fn check(model: &str, ways: &[(&str, f64)], variables: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let (reference, _) = answer(folder.path(), model, "interpreter", &[]);
    for (precision, tolerance) in ways {
        let backend = format!("cuda --precision {precision}");
        let (output, report) = answer(folder.path(), model, &backend, variables);
        let error = output.relative_error(&reference);
        assert!(error <= *tolerance, "{model} {precision}: {error:e}");
        // One graph, replayed: every launch of the model was captured, none made one by one.
        let report = report.unwrap();
        assert_eq!(report["graphs"], 1, "{report:#}");
        assert_eq!(report["calls"]["cuLaunchKernel"], report["launches"], "{report:#}");
    }
}

const ALL: &[(&str, f64)] = &[("f32", 1e-5), ("tf32", 2e-3), ("f16", 5e-3)];

#[test]
fn digits_in_every_precision() {
    check("models/digits.kiln -D batch=3", ALL, &[]);
}

#[test]
fn digits_on_old_and_new_devices() {
    check("models/digits.kiln", &ALL[..1], &[("KILN_DRIVER_CAPABILITY", "70"), ("KILN_DRIVER_POOLS", "0")]);
    check("models/digits.kiln", ALL, &[("KILN_DRIVER_CAPABILITY", "120")]);
}

#[test]
fn mobilenet_in_every_precision() {
    check("models/mobilenet_v1.kiln -D alpha=0.25 -D resolution=64 --random-weights 1", ALL, &[]);
}

#[test]
fn a_residual_network() {
    check("models/resnet.kiln -D depth=18 -D resolution=32 --random-weights 1", &ALL[..1], &[]);
}

#[test]
fn several_batches_upload_weights_once() {
    let folder = tempfile::tempdir().unwrap();
    let model = "models/digits.kiln -D batch=225 --input models/digits_test_images.npy";
    let (reference, _) = answer(folder.path(), model, "interpreter", &[]);
    let (output, report) = answer(folder.path(), model, "cuda", &[]);
    assert!(output.relative_error(&reference) <= 1e-5);
    let calls = &report.unwrap()["calls"];
    // Weights, and the images of two batches.
    assert_eq!((&calls["cuMemcpyHtoDAsync_v2"], &calls["cuGraphLaunch"]), (&3.into(), &2.into()), "{calls}");
    assert_eq!(calls["cuMemAllocAsync"], 2, "{calls}");
}

#[test]
fn bench_takes_turns_between_arenas() {
    let run = kiln("bench models/digits.kiln --backend cuda --seconds 0 --json", &[]);
    let (text, report) = run.ok();
    let document: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        (&document["target"], &document["precision"]),
        (&"sm_80".into(), &"f32".into()),
        "{document:#}"
    );
    assert_eq!(document["device"], "simulated device");
    for key in ["fused_ms", "unfused_ms", "speedup", "compile_ms"] {
        assert!(document[key].as_f64().unwrap() > 0.0, "{key} in {document:#}");
    }
    assert!(document["max_rel_diff"].as_f64().unwrap() < 1e-5, "{document:#}");
    let copies = document["copies"].as_u64().unwrap();
    assert!(copies > 1, "{document:#}");
    // The fused model's arenas and those of the unfused one, which are as large or larger.
    let graphs = report["graphs"].as_u64().unwrap();
    assert!(copies < graphs && graphs <= 2 * copies, "{report:#}");
    let text = kiln("bench models/digits.kiln --backend cuda --seconds 0", &[]);
    assert!(text.ok().0.contains("fused runs"), "{}", text.stdout);
}

#[test]
fn profile_times_every_launch() {
    let run = kiln("profile models/digits.kiln --backend cuda --seconds 0 --json", &[]);
    let document: Value = serde_json::from_str(run.ok().0).unwrap();
    let kernels = document["kernels"].as_array().unwrap();
    assert!(document["ms"].as_f64().unwrap() > 0.0 && kernels.len() > 4, "{document:#}");
    let share: f64 = kernels.iter().map(|kernel| kernel["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-6 && kernels.iter().all(|kernel| kernel["ms"].as_f64() > Some(0.0)));
    let text = kiln("profile models/digits.kiln --backend cuda --seconds 0", &[]);
    assert!(text.ok().0.contains("as one graph"), "{}", text.stdout);
}
