//! Each `tests/diagnostics/NAME.kiln` holds one mistake that a person makes; `NAME.txt` is what kiln says.
//!
//! A first line `// -D name=value …` passes parameters. `KILN_BLESS=1 cargo test --test diagnostics` rewrites the
//! expected texts; the diff is what a reviewer reads.

use std::fs;
use std::path::Path;

use kiln::dsl::{self, Defines, Source};

/// What kiln prints about a model file.
fn messages(source: &Source, defines: &Defines) -> String {
    let model = match dsl::parse(source) {
        Ok(model) => model,
        Err(errors) => return errors.to_string(),
    };
    match dsl::elaborate_with_warnings(source, &model, defines) {
        Ok((_, warnings)) => warnings.to_string(),
        Err(errors) => errors.to_string(),
    }
}

fn defines(text: &str) -> Defines {
    let Some(line) = text.lines().next().and_then(|line| line.strip_prefix("// -D ")) else {
        return Vec::new();
    };
    line.split(" -D ")
        .map(|define| define.split_once('=').expect("name=value"))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

#[test]
fn mistakes_are_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "kiln"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in cases {
        let name = case.file_name().expect("a file").to_string_lossy().into_owned();
        let text = fs::read_to_string(&case).expect("readable");
        let defines = defines(&text);
        let printed = messages(&Source { name: name.clone(), text }, &defines) + "\n";
        assert!(printed.len() > 1, "{name} is taken without a word");
        let expected = case.with_extension("txt");
        if bless {
            fs::write(&expected, printed).expect("writable");
        } else if fs::read_to_string(&expected).unwrap_or_default() != printed {
            failures.push(format!("{name} now says:\n{printed}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
