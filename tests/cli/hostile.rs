//! Damaged, absurd and hostile files: a message that names the culprit, exit code 1, and never a panic, a hang
//! or memory taken on the file's word.

use std::io::Cursor;

use crate::support::{SMALL, Workspace, npy, raw_npy, raw_safetensors, small_weights};

#[test]
fn files_of_the_wrong_kind_are_named() {
    let workspace = Workspace::with_small_model();
    std::fs::create_dir(workspace.path("folder.kiln")).unwrap();
    std::fs::create_dir(workspace.path("folder.npy")).unwrap();
    workspace.write("empty.kiln", "");
    workspace.write("latin1.kiln", b"model m\xe9 {}");
    workspace.write("empty.npy", "");
    workspace.write("text.png", "no picture");
    for model in ["absent.kiln", "folder.kiln", "empty.kiln", "latin1.kiln"] {
        for command in ["check", "show", "run", "bench", "fmt"] {
            workspace.kiln(&format!("{command} {model}")).blames(&[model]);
        }
    }
    for input in ["absent.npy", "folder.npy", "empty.npy", "text.png", "absent.jpg", "small.kiln"] {
        workspace.kiln(&format!("run small.kiln --input {input}")).blames(&[input]);
    }
    for weights in ["absent", "folder.kiln", "empty.npy", "small.kiln"] {
        workspace.kiln(&format!("run small.kiln --weights {weights}")).blames(&[weights]);
        workspace.kiln(&format!("weights small.kiln {weights}")).blames(&[weights]);
    }
    for labels in ["absent", "folder.npy", "empty.npy", "latin1.kiln"] {
        workspace.kiln(&format!("run small.kiln --labels {labels}")).blames(&[labels]);
    }
}

#[test]
fn truncated_weights_are_refused_wherever_they_end() {
    let workspace = Workspace::with_small_model();
    let whole = small_weights();
    for length in 0..whole.len() {
        workspace.write("w.safetensors", &whole[..length]);
        workspace.kiln("run small.kiln --weights w.safetensors").blames(&["w.safetensors"]);
    }
}

#[test]
fn flipped_bits_never_crash() {
    let workspace = Workspace::with_small_model();
    let picture = image::GrayImage::from_fn(4, 4, |x, y| image::Luma([(x * 4 + y) as u8]));
    for (name, option, whole) in [
        ("w.safetensors", "--weights", small_weights()),
        ("x.npy", "--input", npy("(1, 1, 2, 2)", &[0.5, -1.0, 2.0, 3.0])),
        ("x.png", "--input", encoded(&picture, image::ImageFormat::Png)),
        ("x.jpg", "--input", encoded(&picture, image::ImageFormat::Jpeg)),
    ] {
        let step = (whole.len() * 8 / 100).max(1) | 1;
        for bit in (0..whole.len() * 8).step_by(step) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            workspace.write(name, &flipped);
            let run = workspace.kiln(&format!("run small.kiln --backend interpreter {option} {name}"));
            assert!(matches!(run.code, Some(0 | 1)), "{name}, bit {bit}: {:?} {}", run.code, run.stderr);
            assert!(!run.stderr.contains("panicked"), "{name}, bit {bit}: {}", run.stderr);
        }
    }
}

fn encoded(picture: &image::GrayImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

#[test]
fn hostile_weight_headers_are_refused() {
    let workspace = Workspace::with_small_model();
    let one = |shape: &str, end: u64| {
        format!(r#"{{"conv.weight":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let overlap = r#"{"conv.weight":{"dtype":"F32","shape":[2,1,1,1],"data_offsets":[0,8]},
                      "conv.bias":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let nested = format!("{{\"a\":{}", "[".repeat(100_000));
    let cases = [
        [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat(),
        [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
        raw_safetensors(overlap, &[0; 12]),
        raw_safetensors(&one("[1000000000000]", 4_000_000_000_000), &[0; 8]),
        raw_safetensors(&one("[18446744073709551615]", 8), &[0; 8]),
        raw_safetensors(&one("[4294967296,4294967296]", 0), &[]),
        raw_safetensors(&one("[-2]", 8), &[0; 8]),
        raw_safetensors(&nested, &[]),
        raw_safetensors("\u{feff}{}", &[]),
    ];
    for (case, bytes) in cases.iter().enumerate() {
        workspace.write("w.safetensors", bytes);
        let run = workspace.kiln("run small.kiln --weights w.safetensors");
        assert!(run.stderr.contains("not a safetensors file"), "case {case}: {}", run.stderr);
        run.blames(&["w.safetensors"]);
    }
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let workspace = Workspace::with_small_model();
    let mut bytes = small_weights();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    workspace.write("w.safetensors", &bytes);
    workspace.kiln("run small.kiln --weights w.safetensors").blames(&["w.safetensors", "'conv.", "NaN"]);
}

#[test]
fn hostile_arrays_are_refused() {
    let workspace = Workspace::with_small_model();
    let header = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let mut truncated = npy("(1, 1, 2, 2)", &[0.0; 4]);
    truncated.pop();
    let cases = [
        raw_npy(&header("(1000000000000,)"), &[0; 16]),
        raw_npy(&header("(4294967296, 4294967296, 4294967296)"), &[]),
        raw_npy(&header("(99999999999999999999999,)"), &[]),
        raw_npy(&header("(0, 1, 2, 2)"), &[]),
        raw_npy(&header("(-1, 1, 2, 2)"), &[0; 16]),
        raw_npy(&"(".repeat(60_000), &[]),
        raw_npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1, 2, 2), }", &[0; 32]),
        [b"\x93NUMPY\x02\x00\xff\xff\xff\xff".as_slice(), &[0; 64]].concat(),
        truncated,
        npy("(1, 1, 2, 2)", &[0.0, f32::NAN, 0.0, 0.0]),
        npy("(1, 1, 2, 2)", &[0.0, f32::INFINITY, 0.0, 0.0]),
    ];
    for bytes in cases {
        workspace.write("x.npy", bytes);
        workspace.kiln("run small.kiln --input x.npy").blames(&["x.npy"]);
    }
}

#[test]
fn damaged_and_exploding_pictures_are_refused() {
    let workspace = Workspace::with_small_model();
    let picture = image::GrayImage::from_fn(16, 16, |x, y| image::Luma([(x * 16 + y) as u8]));
    let png = encoded(&picture, image::ImageFormat::Png);
    workspace.write("good.png", &png);
    workspace.kiln("run small.kiln --input good.png").ok();
    for length in [1, 8, 20, png.len() / 2] {
        workspace.write("cut.png", &png[..length]);
        workspace.kiln("run small.kiln --input cut.png").blames(&["cut.png"]);
    }
    // The header declares 2^31 - 1 pixels a side; its checksum is right.
    let mut bomb = png.clone();
    bomb[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    workspace.write("bomb.png", bomb);
    workspace.kiln("run small.kiln --input bomb.png").blames(&["bomb.png"]);
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |s, _| if s & 1 == 1 { (s >> 1) ^ 0xEDB8_8320 } else { s >> 1 })
    })
}

#[test]
fn pictures_must_fit_the_input() {
    let workspace = Workspace::new();
    workspace.write("flat.kiln", "model flat() { input x: f32[1, 4]\n output y = x -> relu }");
    workspace.write("deep.kiln", "model deep() { input x: f32[1, 5, 2, 2]\n output y = x -> relu }");
    image::GrayImage::new(2, 2).save(workspace.path("x.png")).unwrap();
    workspace.kiln("run flat.kiln --input x.png").blames(&["x.png", "[1, 4]"]);
    workspace.kiln("run deep.kiln --input x.png").blames(&["x.png", "5 channels"]);
}

#[test]
fn absurd_models_are_refused() {
    let workspace = Workspace::new();
    let conv = |channels: &str| SMALL.replace("conv(channels", &format!("conv({channels}"));
    workspace.write("wide.kiln", conv("1000000000000"));
    workspace.kiln("run wide.kiln --random-weights 0").blames(&["1000000000000"]);
    let body = "input x: f32[1, 1, 40000, 40000]\n  repeat 100 { x = x -> relu }\n  output y = x";
    workspace.write("tall.kiln", format!("model tall() {{\n  {body}\n}}\n"));
    workspace.kiln("run tall.kiln --backend interpreter").blames(&["'tall' takes", "of memory"]);
    workspace.write("large.kiln", conv("1000000000"));
    workspace.kiln("run large.kiln --random-weights 0").blames(&["large"]);
    let recursive = "block b(x) { return x -> b }\n  input x: f32[1, 1]\n  output y = x -> b";
    workspace.write("recursive.kiln", format!("model m() {{\n  {recursive}\n}}\n"));
    workspace.kiln("check recursive.kiln").blames(&["recursive.kiln"]);
    workspace
        .write("deep.kiln", format!("model m() {{ x = {}1{} }}", "(".repeat(50_000), ")".repeat(50_000)));
    workspace.kiln("check deep.kiln").blames(&["deep.kiln"]);
}

#[test]
fn a_result_never_takes_the_place_of_another() {
    let workspace = Workspace::with_small_model();
    workspace.write("kept.npy", "old");
    let run = "run small.kiln --random-weights 1 --output kept.npy --save-weights kept.npy";
    workspace.kiln(run).blames(&["kept.npy", "twice"]);
    assert_eq!(std::fs::read(workspace.path("kept.npy")).unwrap(), b"old");
}

#[test]
fn padding_beyond_what_kernels_address_is_blamed_on_its_layer() {
    let workspace = Workspace::with_small_model();
    for extent in ["40000", "2147483647"] {
        let model = format!(
            "model far() {{\n  input photo: f32[1, 64, 8, 8]\n  \
             output y = photo -> conv(4, 3, padding = {extent}, stride = {extent})\n}}\n"
        );
        workspace.write("far.kiln", model);
        workspace.kiln("run far.kiln --random-weights 1").blames(&["'photo'", extent]);
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_model() {
    let workspace = Workspace::with_small_model();
    let text = std::fs::read_to_string(workspace.path("small.kiln")).unwrap();
    workspace.write("marked.kiln", format!("\u{feff}{text}"));
    workspace.kiln("check marked.kiln").ok();
}
