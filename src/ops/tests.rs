//! What shape errors say. Values are checked against PyTorch in `tests/operators.rs`.

use super::Op;
use crate::graph::Graph;
use crate::tensor::Shape;

/// Checks the problem and the formula that an operator, written as in a graph's text form, gives for inputs of these
/// shapes; the two stand on a line each.
fn check(operator: &str, inputs: &[&[usize]], message: &str) {
    let declare = |(at, dims): (usize, &&[usize])| format!("%x{at} = input : {dims:?}\n");
    let declared: String = inputs.iter().enumerate().map(declare).collect();
    let labels: Vec<String> = (0..inputs.len()).map(|at| format!("%x{at}")).collect();
    let (word, attributes) = operator.split_once(' ').unwrap_or((operator, ""));
    let text = format!("model \"m\"\n{declared}%y = {word}({}) {attributes}", labels.join(", "));
    let error = text.parse::<Graph>().expect_err("the shapes do not fit");
    let line = inputs.len() + 2;
    assert_eq!(error.to_string(), format!("line {line}: %y = {word}: {message}"));
}

#[test]
fn convolutions_say_what_does_not_fit() {
    let x: &[usize] = &[1, 64, 8, 8];
    check("conv", &[x], "conv takes 2 to 3 inputs (x, weight, bias), not 1");
    check("conv", &[&[1, 64], &[8, 64, 3, 3]], "conv takes [n, c, h, w], not [1, 64]");
    check(
        "conv",
        &[x, &[8, 32, 3, 3]],
        "input [1, 64, 8, 8] does not fit weights [8, 32, 3, 3] (64 / 1 groups = 64 channels per group, the weights have 32)",
    );
    check(
        "conv {groups=3}",
        &[x, &[9, 21, 3, 3]],
        "3 groups do not divide 64 input and 9 output channels (64 mod 3 = 0 and 9 mod 3 = 0)",
    );
    check(
        "conv",
        &[x, &[8, 64, 9, 3]],
        "a window that reaches over 9 does not fit a padded height of 8 ((8 + 0 + 0 - (9 - 1)·1 - 1) / 1 + 1 must be at least 1)",
    );
    check("conv", &[x, &[8, 64, 1, 1], &[9]], "the bias of 8 channels must be [8], not [9]");
    check(
        "conv {stride=[0, 1]}",
        &[x, &[8, 64, 1, 1]],
        "kernel, stride and dilation must be positive, but along the height they are 1, 0 and 1",
    );
    check(
        "dense",
        &[&[1, 64, 1, 1], &[10, 64]],
        "dense takes [n, features], not [1, 64, 1, 1]; flatten it first",
    );
    check(
        "dense",
        &[&[1, 64], &[10, 32]],
        "input [1, 64] does not fit weights [10, 32] (the input has 64 features, the weights take 32)",
    );
}

#[test]
fn other_operators_say_what_does_not_fit() {
    check(
        "add",
        &[&[1, 64, 8, 8], &[1, 32, 8, 8]],
        "add of [1, 64, 8, 8] and [1, 32, 8, 8]: the shapes do not broadcast (aligned at the last axis, extents must be equal or one of them 1)",
    );
    check(
        "concat {axis=1}",
        &[&[1, 4, 8, 8], &[1, 4, 7, 8]],
        "[1, 4, 8, 8] and [1, 4, 7, 8] do not concatenate along axis 1 (the shapes must be equal on every axis but 1)",
    );
    check("concat {axis=2}", &[&[1, 4]], "[1, 4] has no axis 2 to concatenate along");
    check(
        "batch_norm",
        &[&[1, 4, 2, 2], &[4], &[4], &[3], &[4]],
        "batch_norm of [1, 4, 2, 2] does not take a mean of shape [3] (the input has 4 channels, so the mean must be [4])",
    );
    check(
        "batch_norm",
        &[&[1, 4], &[4], &[4]],
        "batch_norm takes 5 inputs (x, scale, shift, mean, variance), not 3",
    );
    check(
        "batch_norm {statistics=\"batch\"}",
        &[&[1, 4], &[4], &[4], &[4], &[4]],
        "batch_norm takes 3 inputs (x, scale, shift), not 5",
    );
    check(
        "reshape {shape=[1, 30]}",
        &[&[1, 4, 8]],
        "[1, 4, 8] cannot be reshaped to [1, 30]: the numbers of elements differ (1·4·8 = 32 must equal 1·30 = 30)",
    );
    check(
        "transpose {permutation=[0, 1, 1]}",
        &[&[1, 4, 8]],
        "[0, 1, 1] does not permute the axes of [1, 4, 8] (each axis of 0..3 must occur exactly once)",
    );
    check(
        "pad {before=[0, 1], after=[0, 1]}",
        &[&[1, 4, 8]],
        "padding [0, 1] before and [0, 1] after does not fit [1, 4, 8] (both need one number for each of the 3 axes)",
    );
    check(
        "max_pool {kernel=[2, 2], padding=[2, 0, 0, 0]}",
        &[&[1, 4, 8, 8]],
        "a pooling window that reaches over 2 would see nothing but padding (padding 2 must be less than (2 - 1)·1 + 1)",
    );
    check("softmax {axis=2}", &[&[1, 4]], "[1, 4] has no axis 2 for a softmax");
    check("lrn {size=0, alpha=1, beta=1, bias=1}", &[&[1, 4]], "lrn needs a size of at least 1");
    check("global_max_pool", &[&[1, 4]], "global_pool takes [n, c, h, w], not [1, 4]");
}

#[test]
fn absurd_sizes_are_refused() {
    const HUGE: usize = usize::MAX / 2;
    let refused = |text: &str, inputs: &[&[usize]]| {
        let op: Op = serde_json::from_str(text).unwrap();
        let shapes: Vec<Shape> = inputs.iter().map(|&dims| Shape::new(dims)).collect();
        let shapes: Vec<&Shape> = shapes.iter().collect();
        assert!(op.infer(&shapes).is_err(), "{text} of {shapes:?}");
    };
    let window = format!(r#""padding": [{HUGE}, {HUGE}, {HUGE}, {HUGE}], "stride": [{HUGE}, {HUGE}]"#);
    refused(&format!(r#"{{"op": "conv", {window}}}"#), &[&[1, 1, 4, 4], &[1, 1, 1, 1]]);
    refused(
        &format!(r#"{{"op": "pool", "reduce": "max", "kernel": [{HUGE}, {HUGE}], {window}}}"#),
        &[&[1, 1, 4, 4]],
    );
    refused(
        &format!(r#"{{"op": "pool", "reduce": "max", "kernel": [2, 2], "dilation": [{HUGE}, {HUGE}]}}"#),
        &[&[1, 1, 4, 4]],
    );
    refused(&format!(r#"{{"op": "pad", "before": [{HUGE}], "after": [{HUGE}]}}"#), &[&[4]]);
    refused(&format!(r#"{{"op": "reshape", "shape": [{HUGE}, 4]}}"#), &[&[4]]);
    refused(&format!(r#"{{"op": "input", "shape": [{HUGE}, {HUGE}]}}"#), &[]);
    refused(r#"{"op": "input", "shape": [1, 0, 4]}"#, &[]);
    refused(r#"{"op": "conv"}"#, &[&[1, 1, 4, 4], &[2_000_000_000, 1, 1, 1]]);
    refused(r#"{"op": "concat", "axis": 0}"#, &[&[1 << 30, 1], &[1 << 30, 1], &[1 << 30, 1]]);
}
