//! Weight files in every format, and what is said of those that do not fit. The files are those of
//! `scripts/weight_files.py`.

use std::path::PathBuf;

use crate::support::{Workspace, kiln_in};

/// The model of the arrays in `tests/weights`, as far as layers ask for them.
const MODEL: &str = "model tiny() {
  input image: f32[1, 1, 4, 4]
  x = image -> conv(2, 2) as conv -> global_avg_pool -> flatten
  output y = x
}
";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/weights")
}

#[test]
fn every_format_is_read_and_gives_the_same_answer() {
    let workspace = Workspace::new();
    workspace.write("tiny.kiln", MODEL);
    let run = |file: &str| {
        let path = folder().join(file);
        workspace
            .kiln(&format!("run tiny.kiln --weights {} --allow-extra --output y.npy", path.display()))
            .ok();
        std::fs::read(workspace.path("y.npy")).unwrap()
    };
    let expected = run("f32.safetensors");
    for file in ["mixed.safetensors", "sharded.safetensors.index.json", "zip.pth", "legacy_nested.pth"] {
        assert_eq!(run(file), expected, "{file}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_rather_than_waited_for() {
    let workspace = Workspace::new();
    workspace.write("tiny.kiln", MODEL);
    let made = std::process::Command::new("mkfifo").arg(workspace.path("pipe")).status();
    assert!(made.expect("mkfifo is there").success());
    workspace.kiln("run tiny.kiln --weights pipe").blames(&["pipe", "regular file"]);
}

#[test]
fn checkpoints_are_listed_like_any_weight_file() {
    let workspace = Workspace::new();
    workspace.write("tiny.kiln", MODEL.replace("as conv", "as convv"));
    for file in ["zip.pth", "legacy.pth", "sharded.safetensors.index.json"] {
        let path = folder().join(file);
        let run = workspace.kiln(&format!("weights tiny.kiln {}", path.display()));
        assert_eq!(run.code, Some(1));
        for part in [
            "0 matched, 2 missing, 0 misshapen, 9 extra",
            "missing    convv.weight [2, 1, 2, 2]; is it 'conv.weight'?",
            "extra      fc.weight",
        ] {
            assert!(run.stdout.contains(part), "'{part}' is not in: {}", run.stdout);
        }
    }
}

#[test]
fn checkpoints_that_would_run_something_are_refused_and_run_nothing() {
    let workspace = Workspace::new();
    workspace.write("tiny.kiln", MODEL);
    for (file, part) in [
        ("bad_command.pth", "'posix.system'"),
        ("bad_command_legacy.pth", "'posix.system'"),
        ("bad_module.pth", "torch.nn.modules.linear.Linear"),
        ("bad_bomb.pth", "zip bomb"),
        ("bad_byteorder.pth", "byte order 'big'"),
    ] {
        let path = folder().join(file);
        workspace.kiln(&format!("weights tiny.kiln {}", path.display())).blames(&[file, part]);
        workspace.kiln(&format!("run tiny.kiln --weights {}", path.display())).blames(&[file, part]);
    }
    assert_eq!(workspace.files(), ["tiny.kiln"], "nothing was executed");
}

#[test]
fn an_index_leads_to_no_file_outside_its_folder() {
    let workspace = Workspace::with_small_model();
    std::fs::create_dir(workspace.path("inner")).unwrap();
    let index =
        |file: &str| format!(r#"{{"weight_map": {{"conv.weight": "{file}", "conv.bias": "{file}"}}}}"#);
    let absolute = workspace.path("small.safetensors").display().to_string();
    for file in ["../small.safetensors", absolute.as_str(), "", ".", "..", "a/b.safetensors", "index.json"] {
        workspace.write("inner/index.json", index(file));
        workspace
            .kiln("run small.kiln --weights inner/index.json")
            .blames(&["inner/index.json", "no weight file of the index's own folder"]);
    }
    workspace.write("index.json", index("small.safetensors"));
    workspace.kiln("run small.kiln --weights index.json").ok();
    workspace.write("index.json", index("absent.safetensors"));
    workspace.kiln("run small.kiln --weights index.json").blames(&["absent.safetensors"]);
    workspace.write("index.json", r#"{"weight_map": {"conv.weigth": "small.safetensors"}}"#);
    workspace.kiln("run small.kiln --weights index.json").blames(&["'conv.weigth'", "small.safetensors"]);
    for text in ["", "[]", "{}", r#"{"weight_map": 3}"#, &"[".repeat(100_000)] {
        workspace.write("index.json", text);
        workspace.kiln("run small.kiln --weights index.json").blames(&["index.json", "not an index"]);
    }
}

#[test]
fn damaged_checkpoints_never_crash() {
    let workspace = Workspace::new();
    workspace.write("tiny.kiln", MODEL);
    for name in ["zip.pth", "legacy.pth"] {
        let whole = std::fs::read(folder().join(name)).unwrap();
        for bit in (0..whole.len() * 8).step_by((whole.len() * 8 / 60) | 1) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            workspace.write("x.pth", &flipped);
            let run = kiln_in(
                &workspace.path(""),
                "run tiny.kiln --backend interpreter --weights x.pth --allow-extra",
            );
            assert!(matches!(run.code, Some(0 | 1)), "{name}, bit {bit}: {:?} {}", run.code, run.stderr);
            assert!(!run.stderr.contains("panicked"), "{name}, bit {bit}: {}", run.stderr);
        }
    }
}
