//! `bench-kernel`: kernels by their problem strings.

use crate::support::kiln;

const CONV: &str = "conv_ic8ih12iw12oc16oh12ow12kh3kw3ph1pw1_relu_t1x4x1_b4x16_px_nhwch112+120_nhwc";
const PAIR: &str = "depthwise_pointwise_ic16ih4iw4oc64oh4ow4kh1kw1_pw_t4_t1x4x2_b1x32_px";

#[test]
fn every_kernel_of_a_profile_runs_alone() {
    let profile = kiln("profile models/digits.kiln --threads 1 --seconds 0 --json").json();
    for kernel in profile["kernels"].as_array().unwrap() {
        let name = kernel["kernel"].as_str().unwrap();
        let json = kiln(&format!("bench-kernel {name} --threads 2 --seconds 0 --json")).json();
        assert_eq!(json["kernel"], kernel["kernel"]);
        for key in ["algorithm", "tile", "multiply_adds", "activation_bytes"] {
            assert_eq!(json[key], kernel[key], "{key} of {name}");
        }
        assert!(json["error"].as_f64().unwrap() <= 1e-4, "{json}");
        assert!(json["ms"].as_f64().unwrap() > 0.0, "{json}");
    }
}

#[test]
fn the_text_says_how_fast_and_how_right() {
    let text = kiln(&format!("bench-kernel {CONV} --isa baseline --threads 1 --seconds 0")).ok();
    for part in [CONV, "baseline, 1 thread", "time", "GFLOP/s", " % of the ", "GB/s", "error", "interpreter"]
    {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_bad_name_is_shown_with_the_place() {
    let run = kiln("bench-kernel conv_ic8ih12xx12oc16 --seconds 0");
    assert_eq!(run.stdout, "");
    run.blames(&["'iw' (input width) was expected here", "  conv_ic8ih12xx12oc16\n              ^"]);
    kiln("bench-kernel gemm_m1n1k1").blames(&["a kernel family (conv, winograd4x4, polyphase4,"]);
    let cut = &CONV[..CONV.len() - "_nhwc".len()];
    kiln(&format!("bench-kernel {cut}")).blames(&["the next array's layout", "at its end"]);
}

/// The names of kernels that cannot be: what the string leaves open to be wrong is refused, not run.
#[test]
fn impossible_kernels_are_refused() {
    for (name, problem) in [
        // The blocks of channels are no whole panels.
        (CONV.replace("_b4x16", "_b4x3"), "no multiple of"),
        (PAIR.replace("_b1x32", "_b1x12"), "no multiple of"),
        // More rows than there are.
        (CONV.replace("_b4x16", "_b2147483647x16"), "a block of at most"),
        (PAIR.replace("_b1x32", "_b100000x32"), "a block of at most 4 rows"),
        // No border for the padding.
        (CONV.replace("_nhwch112+120_nhwc", ""), "cannot be run alone: Read of elements -104 to"),
        // More accumulators than any register file holds.
        (CONV.replace("t1x4x1", "t8x8x8"), "a tile of at most"),
        (CONV.replace("ic8", "ic8000000000"), "a number from 1"),
        (CONV.replace("ic8", "ic2000000000"), "arrays of at most"),
    ] {
        kiln(&format!("bench-kernel {name} --threads 1 --isa baseline --seconds 0")).blames(&[problem]);
    }
}

/// A layout in which elements lie on top of each other gives another answer, and that is said.
#[test]
fn a_wrong_answer_is_a_failure() {
    let overlapping = CONV.replace("_nhwch112+120_nhwc", "_nhwch112+120_nhwch64");
    let run = kiln(&format!("bench-kernel {overlapping} --threads 1 --isa baseline --seconds 0"));
    assert!(run.stdout.contains("error"), "{}", run.stdout);
    run.blames(&["differs from the interpreter's by"]);
}
