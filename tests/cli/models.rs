//! `check`, `show`, `fmt`, `weights`, and usage.

use std::io::Read;
use std::process::{Command, Stdio};

use kiln::codegen::target::InstructionSet;

use crate::support::{SMALL, Workspace, kiln, safetensors};

#[test]
fn check_prints_one_line_with_the_papers_numbers() {
    let text = kiln("check models/mobilenet_v1.kiln").ok();
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in ["4.23 M parameters", "569 M multiply-adds", "[1, 3, 224, 224]", "[1, 1000]"] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    let half = kiln("check models/mobilenet_v1.kiln -D alpha=0.5 -D resolution=160").ok();
    assert!(half.contains("[1, 3, 160, 160]") && !half.contains("569 M"), "{half}");
}

#[test]
fn check_lists_layers_and_speaks_json() {
    let text = kiln("check models/digits.kiln --layers").ok();
    assert!(text.lines().any(|line| line.starts_with("conv2") && line.contains("[1, 32, 8, 8]")), "{text}");
    let json = kiln("check models/digits.kiln --json").json();
    assert_eq!(json["outputs"][0]["shape"], serde_json::json!([1, 10]));
    assert!(json["parameters"].as_u64().unwrap() > 20_000);
}

#[test]
fn every_stage_is_shown_in_every_format() {
    for stage in ["graph", "fused"] {
        let text = kiln(&format!("show models/digits.kiln --stage {stage}")).ok();
        assert!(text.contains("conv2"), "{text}");
        kiln(&format!("show models/digits.kiln --stage {stage} --format json")).json();
        let dot = kiln(&format!("show models/digits.kiln --stage {stage} --format dot")).ok();
        assert!(dot.starts_with("digraph"), "{dot}");
        let svg = kiln(&format!("show models/digits.kiln --stage {stage} --format svg")).ok();
        assert!(svg.contains("<svg") && svg.contains("fc"), "{svg}");
    }
    let graph = kiln("show models/digits.kiln").ok();
    let fused = kiln("show models/digits.kiln --stage fused").ok();
    assert!(graph.contains("batch_norm") && fused.lines().count() != graph.lines().count());
    for stage in ["plan", "kernels", "clif", "asm"] {
        let text = kiln(&format!("show models/digits.kiln --stage {stage}")).ok();
        assert!(text.contains("_ic16ih8iw8oc32"), "the kernel of conv2 is not in {stage}: {text}");
    }
    let plan = kiln("show models/digits.kiln --stage plan --format json").json();
    assert_eq!(plan["steps"][0]["buffers"][0], "image");
    kiln("show models/digits.kiln --stage asm --format json").fails(2);
    assert!(kiln("show models/digits.kiln --stage ast").ok().contains("conv1"));
    kiln("show models/digits.kiln --stage ast --format json").json();
}

#[test]
fn explanations_say_what_was_taken_and_what_a_switch_refuses() {
    let text = kiln("show models/digits.kiln --explain").ok();
    assert!(text.contains("fold_batch_norm") && text.contains("taken"), "{text}");
    let text = kiln("show models/digits.kiln --explain --disable fold_batch_norm").ok();
    assert!(!text.lines().any(|line| line.contains("fold_batch_norm") && line.contains("taken")), "{text}");
    kiln("show models/digits.kiln --explain --format json").json();
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["show", "models/resnet.kiln", "-D", "depth=152", "--format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["show", "models/resnet.kiln"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}

#[test]
fn fmt_formats_in_place_once() {
    let workspace = Workspace::new();
    let untidy = "// a comment\nmodel   m() {\n input x :f32[1,4]\n     output y = x->relu // kept\n}\n";
    workspace.write("m.kiln", untidy);
    assert_eq!(workspace.kiln("fmt --check m.kiln").code, Some(1));
    assert_eq!(std::fs::read_to_string(workspace.path("m.kiln")).unwrap(), untidy);
    workspace.kiln("fmt m.kiln").ok();
    let tidy = std::fs::read_to_string(workspace.path("m.kiln")).unwrap();
    assert!(tidy != untidy && tidy.contains("// a comment") && tidy.contains("// kept"), "{tidy}");
    workspace.kiln("fmt --check m.kiln").ok();
    workspace.write("bad.kiln", "model {");
    workspace.write("m.kiln", untidy);
    workspace.kiln("fmt m.kiln bad.kiln").blames(&["bad.kiln"]);
    assert_eq!(std::fs::read_to_string(workspace.path("m.kiln")).unwrap(), untidy, "none or all");
}

#[test]
fn mistakes_in_a_model_are_drawn_over_its_text() {
    let workspace = Workspace::new();
    workspace.write("m.kiln", SMALL.replace("conv(", "convv("));
    workspace.kiln("check m.kiln").blames(&["m.kiln", "convv", "conv"]);
    workspace.write("m.kiln", SMALL);
    workspace.kiln("check m.kiln -D chanels=3").blames(&["chanels", "channels"]);
}

#[test]
fn weights_reports_what_does_not_fit() {
    let workspace = Workspace::with_small_model();
    assert!(workspace.kiln("weights small.kiln small.safetensors").ok().contains("2 matched"));
    let file = safetensors(&[("conv.weight", &[3, 1, 1, 1], &[1.0; 3]), ("conv.bais", &[2], &[0.0; 2])]);
    workspace.write("w.safetensors", file);
    let run = workspace.kiln("weights small.kiln w.safetensors");
    assert_eq!(run.code, Some(1));
    for part in
        ["missing", "conv.bias [2]", "is it 'conv.bais'?", "[3, 1, 1, 1], the model's is [2, 1, 1, 1]"]
    {
        assert!(run.stdout.contains(part), "'{part}' is not in: {}", run.stdout);
    }
}

#[test]
fn wrong_usage_exits_with_2_and_absent_devices_with_3() {
    for words in [
        "",
        "frobnicate",
        "check",
        "check models/digits.kiln -D batch",
        "run models/digits.kiln --weights a --random-weights 1",
        "run models/digits.kiln --threads 0",
        "run models/digits.kiln --backend gpu",
        "run models/digits.kiln --std 0,1,1",
        "show models/digits.kiln --explain --disable no_such_pass",
        "bench models/digits.kiln --no-fuse",
        "bench models/digits.kiln --plot layers.gif",
    ] {
        kiln(words).fails(2);
    }
    kiln("run models/digits.kiln --backend cuda").fails(3);
    for isa in InstructionSet::ALL {
        let run = kiln(&format!("run models/digits.kiln --isa {isa}"));
        if isa.is_available() {
            run.ok()
        } else {
            run.fails(3)
        };
    }
    kiln("--help").ok();
}
