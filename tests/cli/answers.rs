//! What `run` and `classify` answer on good input.

use std::path::Path;

use crate::support::{Workspace, kiln, npy, npy_values};

const DIGITS: &str = "--input models/digits_test_images.npy --expect models/digits_test_labels.npy";

/// The share of right answers, as `--json` has it.
fn accuracy(options: &str) -> f64 {
    kiln(&format!("run models/digits.kiln {DIGITS} --json {options}")).json()["accuracy"].as_f64().unwrap()
}

#[test]
fn the_shipped_digits_network_is_right_on_held_out_images() {
    let text = kiln(&format!("run models/digits.kiln {DIGITS}")).ok();
    assert!(text.contains("accuracy 9"), "{text}");
    assert!(text.contains("of 450)"), "{text}");
    assert!(accuracy("") >= 0.97);
    assert_eq!(accuracy("--no-fuse"), accuracy(""));
    assert_eq!(accuracy("--backend interpreter"), accuracy(""));
    assert_eq!(accuracy("-D batch=9"), accuracy(""), "fifty batches of nine");
}

#[test]
fn photographs_are_classified_with_their_labels() {
    for digit in [0, 3, 8] {
        let text = kiln(&format!("classify models/digits/{digit}.png --model models/digits.kiln")).ok();
        let first = text.lines().nth(1).unwrap().trim();
        assert!(first.starts_with(&format!("{digit} ")) && first.contains('█'), "{text}");
        let json = kiln(&format!("run models/digits.kiln --input models/digits/{digit}.png --json")).json();
        let best = &json["outputs"][0]["top"][0][0];
        assert_eq!(best["class"], digit);
        assert_eq!(best["label"], digit.to_string());
    }
}

#[test]
fn arrays_go_in_and_come_out() {
    let workspace = Workspace::with_small_model();
    workspace.write("x.npy", npy("(1, 1, 2, 2)", &[1.0, 2.0, 3.0, 4.0]));
    for input in ["x.npy", "image=x.npy"] {
        for output in ["y.npy", "scores=y.npy"] {
            workspace.kiln(&format!("run small.kiln --input {input} --output {output}")).ok();
            assert_eq!(npy_values(&workspace.path("y.npy")), [2.5, 6.0]);
        }
    }
}

#[test]
fn several_images_are_run_one_after_another() {
    let workspace = Workspace::with_small_model();
    workspace.write("two.npy", npy("(2, 1, 2, 2)", &[1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0]));
    workspace.write("one.npy", npy("(1, 1, 2, 2)", &[5.0, 5.0, 5.0, 5.0]));
    workspace.kiln("run small.kiln --input two.npy --input one.npy --output y.npy").ok();
    assert_eq!(npy_values(&workspace.path("y.npy")), [1.0, 3.0, 3.0, 7.0, 5.0, 11.0]);
}

#[test]
fn random_inputs_and_weights_are_the_same_every_time() {
    let workspace = Workspace::with_small_model();
    let values = |options: &str| {
        workspace.kiln(&format!("run small.kiln --output y.npy {options}")).ok();
        npy_values(&workspace.path("y.npy"))
    };
    assert_eq!(values("--random-weights 1"), values("--random-weights 1"));
    assert_ne!(values("--random-weights 1"), values("--random-weights 2"));
    assert_ne!(values("--input-seed 1"), values("--input-seed 2"));
}

#[test]
fn saved_weights_load_under_the_names_that_are_expected() {
    let workspace = Workspace::with_small_model();
    workspace.kiln("run small.kiln --random-weights 7 --save-weights w.safetensors --output a.npy").ok();
    workspace.kiln("run small.kiln --weights w.safetensors --output b.npy").ok();
    assert_eq!(npy_values(&workspace.path("a.npy")), npy_values(&workspace.path("b.npy")));
    workspace.kiln("weights small.kiln w.safetensors").ok();
}

#[test]
fn labels_and_the_number_of_classes_are_options() {
    let workspace = Workspace::with_small_model();
    workspace.write("names.json", r#"["low", "high"]"#);
    let text = workspace.kiln("run small.kiln --random-weights 1 --labels names.json --top 1").ok();
    assert_eq!(text.matches("low").count() + text.matches("high").count(), 1, "{text}");
    workspace.write("names.json", r#"["low", "middle", "high"]"#);
    workspace.kiln("run small.kiln --labels names.json").blames(&["3 labels", "2 classes"]);
}

#[test]
fn timings_name_every_stage_and_the_way_to_callable_code() {
    let text = kiln("run models/digits.kiln --timings").ok();
    for stage in ["parse", "elaborate", "passes", "lower", "codegen", "text to callable code", "load weights"]
    {
        assert!(text.contains(stage), "{stage} is not in: {text}");
    }
}

#[test]
fn bench_compares_and_its_json_has_the_promised_keys() {
    let json = kiln("bench models/digits.kiln --seconds 0.1 --threads 1 --layers --json").json();
    for key in ["fused_ms", "unfused_ms", "speedup", "max_rel_diff", "compile_ms", "arena_bytes", "threads"] {
        assert!(json[key].is_number(), "{key} is not in {json}");
    }
    assert!(json["max_rel_diff"].as_f64().unwrap() <= 1e-4);
    let layers = json["layers"].as_array().unwrap();
    assert!(layers.iter().any(|layer| layer["layers"].as_str().unwrap().contains("conv2")), "{json}");
    let text = kiln("bench models/digits.kiln --seconds 0.1 --layers").ok();
    for part in ["fused", "unfused", "GFLOP/s", "activations moved", "largest difference", "conv3"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn rounded_weights_report_their_error() {
    let workspace = Workspace::new();
    let text = "model wide() { input x: f32[1, 400]\n output y = x -> dense(300) }";
    workspace.write("dense.kiln", text);
    let half = "dense.kiln --random-weights 1 --weights-dtype f16";
    let json = workspace.kiln(&format!("run {half} --json")).json();
    let error = json["weights_rel_diff"].as_f64().expect("a number");
    assert!((1e-6..1e-2).contains(&error), "{json}");
    let said = workspace.kiln(&format!("bench {half} --seconds 0.05")).ok();
    assert!(said.contains("f16 weights change the answer by"), "{said}");
    let whole = workspace.kiln("run dense.kiln --random-weights 1 --json").json();
    assert!(whole["weights_rel_diff"].is_null(), "{whole}");
}

#[test]
fn bench_draws_a_picture() {
    let workspace = Workspace::new();
    for (name, start) in [("layers.svg", &b"<svg"[..]), ("layers.png", b"\x89PNG")] {
        let path = workspace.path(name);
        kiln(&format!("bench models/digits.kiln --seconds 0.05 --plot {}", path.display())).ok();
        assert!(std::fs::read(path).unwrap().starts_with(start), "{name}");
    }
}

#[test]
fn classify_takes_the_installed_model_or_says_how_to_install_one() {
    let workspace = Workspace::new();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let classify = format!("classify {} --top 1", models.join("digits/7.png").display());
    workspace.kiln(&classify).blames(&["no model is installed", "models/install/mobilenet_v2.py", "--model"]);

    // Relative to the settings' own folder, which is not the current one.
    std::fs::create_dir_all(workspace.path("models/installed")).unwrap();
    std::fs::copy(models.join("digits.safetensors"), workspace.path("models/installed/w.safetensors"))
        .unwrap();
    let settings = |key: &str| {
        serde_json::json!({
            "model": models.join("digits.kiln"), "weights": "w.safetensors",
            "labels": models.join("digits.labels.txt"), key: {"batch": "1"}, "mean": [0.0], "std": [1.0],
        })
        .to_string()
    };
    workspace.write("models/installed/mobilenet_v2.json", settings("define"));
    for (words, variables) in [
        (classify.clone(), vec![]),
        (format!("{classify} --model models/installed/mobilenet_v2.json"), vec![("KILN_MODELS", "absent")]),
    ] {
        let text = workspace.kiln_with(&words, &variables).ok();
        assert!(text.lines().nth(1).unwrap().trim().starts_with("7 "), "{text}");
    }
    workspace.kiln_with(&classify, &[("KILN_MODELS", "absent")]).blames(&["'absent'"]);
    // What the command line says stands.
    workspace.kiln(&format!("{classify} -D batch=2")).blames(&["[2, 1, 8, 8]"]);
    workspace.write("models/installed/mobilenet_v2.json", settings("defines"));
    workspace.kiln(&classify).blames(&["mobilenet_v2.json", "`defines`"]);
}
