//! `compare`: which layer is wrong.

use std::io::{Read, Write};

use crate::support::{Workspace, kiln, npy};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// A copy of an archive in which element `at` of the array `name` is `value` larger.
fn altered(archive: &[u8], name: &str, at: usize, value: f32) -> Vec<u8> {
    let mut old = ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    let mut new = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for index in 0..old.len() {
        let mut entry = old.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let entry_name = entry.name().unwrap().into_owned();
        if entry_name == format!("{name}.npy") {
            let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) + 4 * at;
            let raw = &mut bytes[start..start + 4];
            let sum = f32::from_le_bytes(raw.try_into().unwrap()) + value;
            raw.copy_from_slice(&sum.to_le_bytes());
        }
        // Compressed, as `numpy.savez_compressed` does it.
        new.start_file(entry_name, SimpleFileOptions::default()).unwrap();
        new.write_all(&bytes).unwrap();
    }
    new.finish().unwrap().into_inner()
}

#[test]
fn the_shipped_network_agrees_with_both_references() {
    for against in ["interpreter", "unfused"] {
        let text =
            kiln(&format!("compare models/digits.kiln --input models/digits/7.png --against {against}")).ok();
        for part in [
            "digits with models/digits.safetensors",
            against,
            "values compared, each within",
            "largest error",
        ] {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
    }
    let json = kiln("compare models/digits.kiln --json --no-fuse").json();
    assert_eq!(json["comparison"]["differing"], 0);
    assert!(json["comparison"]["values"].as_u64().unwrap() > 10, "{json}");
}

#[test]
fn a_reference_with_one_wrong_value_points_to_its_layer_kernel_and_rewrites() {
    let workspace = Workspace::new();
    let dump = workspace.path("all.npz");
    kiln(&format!("compare models/digits.kiln --dump-all {}", dump.display())).ok();
    let whole = std::fs::read(&dump).unwrap();
    for (layer, kernel, rewrite) in [
        ("relu_1", "_ic16ih8iw8oc32oh8ow8kh3kw3ph1pw1_relu_", "fuse_activation: conv2 + bn2 + relu_1"),
        // The value of this one passes through the same kernel's registers.
        ("bn2", "_ic16ih8iw8oc32oh8ow8kh3kw3ph1pw1_relu_", "fold_batch_norm: conv2 + bn2"),
    ] {
        workspace.write("wrong.npz", altered(&whole, layer, 5, 100.0));
        let against = workspace.path("wrong.npz");
        let run = kiln(&format!("compare models/digits.kiln --against {}", against.display()));
        assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
        let text = run.stdout;
        for part in [
            &format!("first difference: '{layer}' [1, 32, 8, 8]"),
            "at [0, 0, 0, 5]",
            kernel,
            rewrite,
            "the reference: interpreting the model agrees with the compiled code",
            "0 differ",
        ] {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
    }
    let against = dump.display();
    kiln(&format!("compare models/digits.kiln --against {against} --isa baseline --no-winograd")).ok();
}

#[test]
fn weights_other_than_the_references_differ_from_their_layer_on() {
    let workspace = Workspace::with_small_model();
    workspace.kiln("compare small.kiln --dump-all all.npz --input-seed 3").ok();
    workspace.kiln("compare small.kiln --against all.npz --input-seed 3").ok();
    let run = workspace.kiln("compare small.kiln --against all.npz --input-seed 3 --random-weights 1 --json");
    assert_eq!(run.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["comparison"]["first"]["layer"], "conv");
    let run = workspace.kiln("compare small.kiln --against all.npz --input-seed 4");
    assert!(run.stdout.contains("first difference: 'image'"), "{}", run.stdout);
}

#[test]
fn references_that_do_not_fit_are_named() {
    let workspace = Workspace::with_small_model();
    workspace.kiln("compare small.kiln --against absent.npz").blames(&["absent.npz"]);
    workspace.kiln("compare small.kiln --against small.kiln").blames(&["small.kiln", "not an .npz archive"]);
    let archive = |name: &str, array: Vec<u8>| {
        let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(&array).unwrap();
        archive.finish().unwrap().into_inner()
    };
    workspace.write("far.npz", archive("convv.npy", npy("(1, 2, 2, 2)", &[0.0; 8])));
    workspace.kiln("compare small.kiln --against far.npz").blames(&["far.npz", "'convv'", "'conv'?"]);
    workspace.write("misshapen.npz", archive("conv.npy", npy("(8,)", &[0.0; 8])));
    workspace.kiln("compare small.kiln --against misshapen.npz").blames(&["'conv' is [8]", "[1, 2, 2, 2]"]);
    workspace.write("two.npy", npy("(2, 1, 2, 2)", &[0.0; 8]));
    workspace.kiln("compare small.kiln --input two.npy").blames(&["one batch", "'image'"]);
    let before = workspace.files();
    workspace.kiln("compare small.kiln --dump-all no/all.npz").blames(&["no/all.npz"]);
    workspace.kiln("compare small.kiln --backend interpreter").fails(2);
    workspace.kiln("compare small.kiln --tolerance -1").fails(2);
    assert_eq!(workspace.files(), before);
}
