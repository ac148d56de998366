//! Model files that try to hang, exhaust memory or overflow the stack get an error, in reasonable time.

use std::time::{Duration, Instant};

use kiln::dsl::{self, Source};
use proptest::prelude::*;

/// What kiln says about a text, or `None` if it is a model.
fn refusal(text: &str) -> Option<String> {
    let source = Source { name: "hostile.kiln".to_owned(), text: text.to_owned() };
    let model = match dsl::parse(&source) {
        Ok(model) => model,
        Err(errors) => return Some(errors.to_string()),
    };
    dsl::elaborate(&source, &model, &Vec::new()).err().map(|errors| errors.to_string())
}

fn model(body: &str) -> String {
    format!("model m() {{\n  input x: f32[1, 3, 8, 8]\n{body}\n  output y = x\n}}\n")
}

#[track_caller]
fn refused(text: &str, because: &str) {
    let start = Instant::now();
    let message = refusal(text).expect("refused");
    assert!(message.contains(because), "{message}");
    assert!(start.elapsed() < Duration::from_secs(30), "took {:?}", start.elapsed());
}

#[test]
fn nesting() {
    let pairs = [("(\n", ")"), ("[\n", "]"), ("relu(\n", ")"), ("if true {\n", "} else { 1 }\n")];
    for (open, close) in pairs {
        let text = format!("  a = {}1{}", open.repeat(20_000), close.repeat(500));
        refused(&model(&text), "deep");
    }
    refused(&model(&format!("  {}x = x{}", "if true {\n".repeat(20_000), "}\n".repeat(20_000))), "deep");
    refused(&model(&format!("  a = {}1{}", "\"{".repeat(500), "}\"".repeat(500))), "deep");
    refused(&model(&format!("  a = {}1", "(".repeat(3000))), "deep");
    refused(&model(&format!("  a = {}1", "not ".repeat(900))), "expected a value");
    refused(&model(&format!("  a = {}1", "- ".repeat(1900))), "expected a value");
}

#[test]
fn the_deepest_nesting_allowed_is_elaborated() {
    let depth = 59;
    let calls = format!("  a = {}1{}", "max(1, ".repeat(depth), ")".repeat(depth));
    assert_eq!(refusal(&model(&calls)), None);
    let blocks: String = (0..depth)
        .map(|i| {
            format!(
                "  block b{i}(x) {{ return x -> {} }}\n",
                if i == 0 { "relu".into() } else { format!("b{}", i - 1) }
            )
        })
        .collect();
    assert_eq!(refusal(&model(&format!("{blocks}  x = x -> b{}", depth - 1))), None);
}

#[test]
fn long_chains_and_sums() {
    let sum = format!("  a = 1{}", "\n + 1".repeat(50_000));
    assert_eq!(refusal(&model(&sum)), None);
    let chain = format!("  x = x{}", "\n -> relu".repeat(20_000));
    assert_eq!(refusal(&model(&chain)), None);
    let fields = format!("  a = x{}", ".shape".repeat(500));
    refused(&model(&fields), "has no `shape`");
    let branches = format!("  if false {{ }}{}", "\n else if false { }".repeat(10_000));
    assert_eq!(refusal(&model(&branches)), None);
}

#[test]
fn loops() {
    refused(&model("  repeat 2_000_000_000 { }"), "steps");
    refused(&model("  repeat 2_000_000_000 { x = x -> relu }"), "layers");
    refused(&model("  repeat 100_000 { repeat 100_000 { a = 1 } }"), "steps");
    refused(&model("  repeat 1_000_000_000_000 { }"), "larger than");
    refused(&model("  for i in 0..2_000_000_000 { }"), "range");
}

#[test]
fn blocks_that_call_each_other() {
    refused(&model("  block a(x) { return x -> a }\n  x = x -> a"), "calls itself");
    refused(&model("  block a(x, f) { return x -> f(f) }\n  x = x -> a(a)"), "a → a");
    let doubling: String =
        (1..60).map(|i| format!("  block b{i}(x) {{ return x -> b{} -> b{} }}\n", i - 1, i - 1)).collect();
    refused(&model(&format!("  block b0(x) {{ return x }}\n{doubling}  x = x -> b59")), "steps");
    let deep: String = (1..2000).map(|i| format!("  block b{i}(x) {{ return x -> b{} }}\n", i - 1)).collect();
    refused(&model(&format!("  block b0(x) {{ return x }}\n{deep}  x = x -> b1999")), "too deep");
}

#[test]
fn values_that_grow() {
    refused(&model("  s = \"ab\"\n  repeat 60 { s = \"{s}{s}\" }"), "characters");
    refused(&model("  l = [1, 2]\n  repeat 60 { l = [l, l] }"), "items");
    refused(&model("  l = [1, 2]\n  repeat 60 { l = [l] }"), "nest");
    refused(
        &model(
            "  l = 0..1000\n  l = [l, l, l, l, l, l, l, l, l, l]\n  l = [l, l, l, l, l, l, l, l, l, l, l]",
        ),
        "items",
    );
    refused(&model("  a = 2\n  repeat 10 { a = a * a * a }"), "64-bit");
    refused(&model("  a = 2.0\n  repeat 20 { a = a * a }"), "finite");
    refused(&model("  a = 0 / 0.0"), "zero");
    refused(&model("  a = sqrt(-1)"), "no number");
    refused(&model("  a = 99999999999999999999"), "too large");
    refused(&model("  a = 1e999"), "too large");
}

#[test]
fn sizes() {
    refused(&model("  x = x -> conv(1_000_000_000, 3)"), "too large");
    refused(&model("  x = x -> conv(8, 1_000_000_000)"), "");
    refused(&model("  x = x -> conv(8, 3, padding = 2_000_000_000)"), "");
    refused(
        &model(
            "  x = x -> conv(8, 1, stride = 2_000_000_000, dilation = 2_000_000_000, padding = same) -> conv(-1, 1)",
        ),
        "at least 1",
    );
    refused(&model("  x = x -> depthwise_conv(3, multiplier = 2_000_000_000)"), "too large");
    refused(&model("  x = x -> pad(2_000_000_000)"), "");
    refused(&model("  x = x -> lrn(size = 9_000_000_000_000_000_000)"), "");
    refused(&model("  x = x -> reshape([9_000_000_000_000_000_000, 9_000_000_000_000_000_000])"), "");
    refused(&model("  x = x -> flatten -> dense(2_000_000_000)"), "too large");
    refused("model m() { input x: f32[2_000_000_000, 2_000_000_000]\n output y = x }", "");
    refused("model m() { input x: f32[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n output y = x }", "axes");
}

#[test]
fn texts() {
    refused("", "model");
    refused("\u{feff}", "model");
    refused("\0", "model");
    refused(&"x".repeat(2 << 20), "bytes");
    refused(&"x".repeat(1 << 20), "line 1");
    refused(&format!("model {}() {{ }}", "m".repeat(1000)), "letters");
    refused(&model("  é = 1"), "é");
    refused(&model("  a = \"unfinished"), "quote");
    refused(&model(&format!("  a = {} b", "1 + ".repeat(900))), "b");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No text makes kiln panic: pieces of the language in any order.
    #[test]
    fn any_pieces_give_an_answer(pieces in prop::collection::vec(0..PIECES.len(), 0..40)) {
        let body: Vec<&str> = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        refusal(&model(&body.join(" ")));
        refusal(&body.join(" "));
    }

    #[test]
    fn any_text_gives_an_answer(text in "\\PC{0,80}") {
        refusal(&text);
        refusal(&model(&text));
    }
}

const PIECES: [&str; 60] = [
    "x",
    "y",
    "x = x",
    "\n",
    "\n",
    "\n",
    "->",
    "->",
    "conv(8, 3)",
    "relu",
    "batch_norm",
    "max_pool(2)",
    "flatten",
    "dense(4)",
    "concat(x, x)",
    "as",
    "as a",
    "\"l{i}\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "{",
    "}",
    "block b(x) {",
    "return x }",
    "repeat 3 {",
    "for i in [1, 2] {",
    "for (a, b) in zip([1], [2]) {",
    "if true {",
    "else",
    "else {",
    "match 1 {",
    "1 => 2",
    "_ => 3",
    "1",
    "2.5",
    "-",
    "+",
    "*",
    "/",
    "%",
    "**",
    "==",
    "<",
    "and",
    "or",
    "not",
    ",",
    "=",
    "..",
    "0..3",
    ".shape",
    ".channels",
    "[0]",
    "\"",
    "// c",
    "output y = x",
];
