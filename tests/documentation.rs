//! What the documents say about the code, held against the code.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files below a file or folder.
fn sources(path: &str) -> Vec<PathBuf> {
    let path = root().join(path);
    if path.is_file() {
        return vec![path];
    }
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let children = entries.map(|entry| entry.unwrap().path());
    let sources = children.flat_map(|child| match child.extension() {
        Some(extension) if extension == "rs" => vec![child],
        None => sources(child.to_str().unwrap()),
        Some(_) => Vec::new(),
    });
    sources.collect()
}

#[test]
fn named_paths_exist() {
    let mut checked = 0;
    for document in ["README.md", "ARCHITECTURE.md"] {
        for name in read(document).split('`').skip(1).step_by(2) {
            let is_path =
                name.contains('/') && !name.contains([' ', '<', '…', '\n', '*']) && !name.contains("NAME");
            if is_path && !name.starts_with("target/") {
                assert!(root().join(name).exists(), "{document} names `{name}`, which is not there");
                checked += 1;
            }
        }
    }
    assert!(checked > 60, "only {checked} paths were found");
}

#[test]
fn every_source_folder_is_on_the_map() {
    let map = read("ARCHITECTURE.md");
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = format!("src/{}/", path.file_name().unwrap().to_str().unwrap());
            assert!(map.contains(&format!("### `{name}`")), "ARCHITECTURE.md lacks a section on {name}");
        }
    }
}

#[test]
fn the_readme_shows_the_model_as_it_is() {
    assert!(read("README.md").contains(&format!("```text\n{}```", read("models/mobilenet_v1.kiln"))));
}

#[test]
fn the_readme_shows_the_tested_example() {
    let library = read("src/lib.rs");
    let lines = library.lines().map(|line| line.trim_start_matches("//!").trim_start_matches(' '));
    let example = lines.skip_while(|line| *line != "```").skip(1).take_while(|line| *line != "```");
    // Indentation counts for nothing here.
    let example: Vec<&str> = example.filter(|line| !line.starts_with("# ")).map(str::trim).collect();
    let readme = read("README.md").lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert!(example.len() > 5 && readme.contains(&format!("```rust\n{}\n```", example.join("\n").trim())));
}

#[test]
fn modules_know_only_what_the_map_allows() {
    for (folder, unknown) in [
        (
            "src/dsl",
            &["passes", "interpreter", "lower", "kernels", "codegen", "runtime", "weights", "cli"][..],
        ),
        ("src/import", &["dsl", "passes", "interpreter", "lower", "kernels", "codegen", "runtime", "cli"]),
        (
            "src/graph",
            &["dsl", "passes", "interpreter", "lower", "kernels", "codegen", "runtime", "weights", "cli"],
        ),
        (
            "src/passes",
            &["dsl", "interpreter", "lower", "kernels", "codegen", "runtime", "weights", "io", "cli"],
        ),
        ("src/interpreter", &["dsl", "passes", "lower", "kernels", "codegen", "runtime", "io", "cli"]),
        (
            "src/kernels",
            &["dsl", "graph", "passes", "interpreter", "lower", "runtime", "weights", "io", "cli"],
        ),
        (
            "src/codegen",
            &["dsl", "graph", "ops", "passes", "interpreter", "lower", "kernels", "runtime", "cli"],
        ),
        ("src/lower", &["dsl", "passes", "interpreter", "runtime", "weights", "io", "cli"]),
        ("src/runtime", &["dsl", "io", "cli"]),
        ("src/trial", &["dsl", "passes", "io", "cli"]),
        ("src/tune", &["dsl", "passes", "kernels", "codegen::vector", "cli"]),
        (
            "src/machine",
            &["dsl", "graph", "ops", "passes", "interpreter", "lower", "kernels", "weights", "cli"],
        ),
    ] {
        for path in sources(folder) {
            let text = fs::read_to_string(&path).unwrap();
            for module in unknown {
                let is_named = text.contains(&format!("crate::{module}::"))
                    || text.contains(&format!("crate::{module};"));
                assert!(!is_named, "{} knows of {module}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_stands_where_the_map_says() {
    for path in sources("src") {
        let text = fs::read_to_string(&path).unwrap();
        let is_unsafe =
            text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("unsafe "));
        let allowed = path.starts_with(root().join("src/runtime")) || path.ends_with("src/codegen/jit.rs");
        assert!(!is_unsafe || allowed, "{} has unsafe code", path.display());
    }
}
