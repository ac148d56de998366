//! Passes, by the graphs they are given and the graphs they make.
//!
//! Each `.txt` file here is about one pass, or about several together. Its first line, `passes: NAME…`, says which
//! run; without it all do. Then come cases:
//!
//! ```text
//! === what the case shows
//! --disable NAME            (options of the driver, as on kiln's command line)
//! model …                   (the graph before)
//! --- becomes
//! model …                   (the graph after)
//! --- because
//! 1  drop_identity  taken    dropout
//! rewrites: 1 taken, 0 refused
//! ```
//!
//! `KILN_BLESS=1` rewrites what follows each `--- becomes`. Every case is also run by the interpreter, before, after
//! and between any two rewrites: the answer must stay the same.

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod models;
mod properties;

use std::fmt::Write;
use std::{env, fs};

use answers::assert_same_answers;
use kiln::graph::Graph;
use kiln::passes::{self, Explanation, Options};

#[test]
fn text_files() {
    let bless = env::var_os("KILN_BLESS").is_some();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/passes");
    let mut cases = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let actual = run_file(name, &text, &mut cases);
        if bless {
            fs::write(&path, actual).unwrap();
        } else if actual != text {
            let line = text.lines().zip(actual.lines()).take_while(|(a, b)| a == b).count() + 1;
            panic!(
                "{name}, line {line}: expected\n{text}\nbut the passes made\n{actual}\nKILN_BLESS=1 accepts it"
            );
        }
    }
    assert!(cases > 50, "only {cases} cases were found");
}

/// The file as it should be: every case with the result that passes have now.
fn run_file(name: &str, text: &str, cases: &mut usize) -> String {
    let (head, rest) = text.split_once("\n=== ").unwrap_or_else(|| panic!("{name} has no case"));
    let under_test: Option<Vec<&str>> = head
        .lines()
        .find_map(|line| line.strip_prefix("passes:"))
        .map(|names| names.split_whitespace().collect());
    let mut result = head.to_owned();
    for case in rest.split("\n=== ") {
        *cases += 1;
        let before = case.split("\n--- becomes").next().unwrap();
        let (title, body) = before.split_once('\n').unwrap_or_else(|| panic!("{name}: '{before}' is empty"));
        let (flags, model): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.starts_with("--"));
        let graph: Graph =
            model.join("\n").parse().unwrap_or_else(|error| panic!("{name}, '{title}': {error}"));
        let options = options(&flags, under_test.as_deref());
        let _ = write!(result, "\n=== {}\n--- becomes\n", before.trim_end());
        match passes::run(graph.clone(), &options) {
            Ok((after, mut explanation)) => {
                if let Some(names) = &under_test {
                    explanation.decisions.retain(|decision| names.contains(&decision.pass));
                }
                result.push_str(&outcome(&after, &explanation));
                assert_same_answers(&graph, &options, true, &format!("{name}, '{title}'"));
            }
            Err(error) => {
                let _ = writeln!(result, "error: {error}");
            }
        }
    }
    result
}

fn options(flags: &[&str], under_test: Option<&[&str]>) -> Options {
    let mut options = Options::default();
    if let Some(names) = under_test {
        let others = passes::names().map(|(name, _)| name).filter(|name| !names.contains(name));
        options.disabled.extend(others.map(str::to_owned));
    }
    for flag in flags {
        match flag.split_whitespace().collect::<Vec<_>>()[..] {
            ["--no-fuse"] => options.fuse = false,
            ["--disable", name] => options.disabled.push(name.to_owned()),
            ["--stop-after", count] => options.stop_after = Some(count.parse().unwrap()),
            _ => panic!("unknown option '{flag}'"),
        }
    }
    options
}

fn outcome(graph: &Graph, explanation: &Explanation) -> String {
    format!("{graph}--- because\n{explanation}")
}

#[test]
fn an_unknown_pass_is_an_error_that_names_the_nearest() {
    let options = Options { disabled: vec!["fold_batchnorm".into()], ..Options::default() };
    let error = passes::run(Graph::new("m"), &options).unwrap_err();
    assert_eq!(error.to_string(), "there is no pass 'fold_batchnorm'; did you mean 'fold_batch_norm'?");
    let options = Options { disabled: vec!["zebra".into()], ..Options::default() };
    let error = passes::run(Graph::new("m"), &options).unwrap_err();
    assert_eq!(error.to_string(), "there is no pass 'zebra'");
}

#[test]
fn explanations_are_json() {
    let graph: Graph =
        "model \"m\" %x = input : [1, 4] %d = identity(%x) %r = relu(%d) output \"y\" = %r".parse().unwrap();
    let (_, explanation) = passes::run(graph, &Options::default()).unwrap();
    assert_eq!(
        serde_json::to_string(&explanation).unwrap(),
        r#"[{"pass":"drop_identity","layers":["d"],"verdict":"taken"},{"pass":"fuse_activation","layers":["x","r"],"verdict":"refused","reason":"'x' (input) has no epilogue"}]"#
    );
}
