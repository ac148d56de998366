//! Output files, and weights that are not there or not the model's.

use crate::support::{Workspace, npy, npy_values, safetensors};

#[test]
fn a_failed_run_leaves_existing_outputs_as_they_were() {
    let workspace = Workspace::with_small_model();
    workspace.write("y.npy", "precious");
    workspace.write("x.npy", npy("(1, 1, 3, 3)", &[0.0; 9]));
    let before = workspace.files();
    workspace.kiln("run small.kiln --input x.npy --output y.npy").blames(&[
        "x.npy",
        "[1, 1, 3, 3]",
        "'image'",
    ]);
    workspace.kiln("run small.kiln --output y.npy --output z.npy").blames(&["one output too many", "scores"]);
    workspace
        .kiln("run small.kiln --output y.npy --weights absent.safetensors")
        .blames(&["absent.safetensors"]);
    workspace
        .kiln("run small.kiln --output y.npy --save-weights no/w.safetensors")
        .blames(&["no/w.safetensors"]);
    assert_eq!(std::fs::read(workspace.path("y.npy")).unwrap(), b"precious");
    assert_eq!(workspace.files(), before, "nothing half-written is left behind");
    workspace.kiln("run small.kiln --output y.npy").ok();
    assert_eq!(npy_values(&workspace.path("y.npy")).len(), 2);
}

#[test]
fn outputs_that_cannot_be_written_are_named() {
    let workspace = Workspace::with_small_model();
    std::fs::create_dir(workspace.path("folder")).unwrap();
    workspace.kiln("run small.kiln --output absent/y.npy").blames(&["absent/y.npy"]);
    workspace.kiln("run small.kiln --output folder").blames(&["folder"]);
    workspace.kiln("bench small.kiln --seconds 0 --plot absent/layers.svg").blames(&["absent/layers.svg"]);
}

#[cfg(unix)]
#[test]
fn a_device_is_written_to_and_stays_a_device() {
    use std::os::unix::fs::FileTypeExt;
    let workspace = Workspace::with_small_model();
    workspace.kiln("run small.kiln --output /dev/null").ok();
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn without_weights_run_says_what_to_pass() {
    let workspace = Workspace::with_small_model();
    std::fs::remove_file(workspace.path("small.safetensors")).unwrap();
    let message = ["--weights", "--random-weights", "small.safetensors"];
    workspace.kiln("run small.kiln").blames(&message);
    let text = workspace.kiln("bench small.kiln --seconds 0").ok();
    assert!(text.contains("random weights"), "{text}");
}

#[test]
fn all_weights_at_fault_are_listed() {
    let workspace = Workspace::with_small_model();
    workspace.write("w.safetensors", safetensors(&[("other", &[1], &[0.0])]));
    workspace.kiln("run small.kiln --weights w.safetensors").blames(&[
        "w.safetensors",
        "conv.weight",
        "conv.bias",
    ]);
    let right: [(&str, &[usize], &[f32]); 2] =
        [("conv.weight", &[2, 1, 1, 1], &[1.0, 2.0]), ("conv.bias", &[2], &[0.0, 1.0])];
    let with = |key| safetensors(&[right[0], right[1], (key, &[1], &[0.0])]);
    workspace.write("w.safetensors", with("extra"));
    workspace.kiln("run small.kiln --weights w.safetensors").blames(&["extra      extra", "--allow-extra"]);
    workspace.kiln("run small.kiln --weights w.safetensors --allow-extra").ok();
    workspace.write("w.safetensors", with("bn.num_batches_tracked"));
    workspace.kiln("run small.kiln --weights w.safetensors").ok();
}
