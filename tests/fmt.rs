//! `kiln fmt`: `tests/fmt/NAME.txt` is `NAME.kiln` formatted; whatever the layout before, meaning and comments stay.

mod text_cases;

use std::fs;
use std::path::Path;

use kiln::dsl::{self, Source};
use proptest::prelude::*;

fn source(text: &str) -> Source {
    Source { name: "test.kiln".to_owned(), text: text.to_owned() }
}

fn tree(text: &str) -> String {
    dsl::parse(&source(text)).unwrap_or_else(|errors| panic!("{errors}\n{text}")).to_string()
}

fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.find("//").map(|at| line[at..].trim_end())).collect()
}

/// The text formatted, having checked that nothing but the layout is different.
fn formatted(text: &str) -> String {
    let formatted = dsl::format(&source(text)).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(tree(&formatted), tree(text), "the meaning changed:\n{formatted}");
    assert_eq!(comments(&formatted), comments(text), "comments changed:\n{formatted}");
    let again = dsl::format(&source(&formatted)).expect("parsed just now");
    assert_eq!(again, formatted, "formatting twice differs");
    formatted
}

#[test]
fn layouts() {
    text_cases::check("fmt", 3, |_, text| formatted(text));
}

/// The shipped models, by name.
fn models() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let entries = fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let models = paths.filter(|path| path.extension().is_some_and(|extension| extension == "kiln"));
    models.map(|path| (path.display().to_string(), fs::read_to_string(path).expect("readable"))).collect()
}

#[test]
fn shipped_models_are_formatted() {
    let models = models();
    assert!(models.len() >= 6);
    for (name, text) in models {
        assert_eq!(formatted(&text), text, "{name} is not formatted");
    }
}

#[test]
fn a_syntax_error_is_reported() {
    let errors = dsl::format(&source("model m( {")).expect_err("not a model");
    assert!(errors.to_string().contains("never closed"), "{errors}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Other blanks, line ends and comments: the same model.
    #[test]
    fn any_layout_is_restored(model in 0..6usize, seed in prop::collection::vec(0..12u8, 64)) {
        let text = &models()[model].1;
        let mut choices = seed.iter().cycle();
        let mut mangled = String::new();
        for line in text.lines() {
            if line.contains("//") {
                mangled.push_str(line);
            } else {
                for c in line.chars() {
                    match (c, choices.next()) {
                        (' ', Some(0..=3)) => mangled.push_str("  \t"),
                        _ => mangled.push(c),
                    }
                }
            }
            match choices.next() {
                Some(0) if !line.contains("//") => mangled.push_str("// a remark"),
                Some(1) => mangled.push_str("\n\n  \n"),
                Some(2) => mangled.push_str("\n// a line of its own"),
                Some(3) => mangled.push('\r'),
                _ => {}
            }
            mangled.push('\n');
        }
        formatted(&mangled);
    }
}
