//! Tests that are folders of small texts: `NAME.kiln`, and beside it in `NAME.txt` what is expected of it.

use std::fs;
use std::path::Path;

/// Compares what `actual` makes of each case of a folder in `tests` with what is expected. `KILN_BLESS=1` rewrites
/// the expected texts; the diff is what a reviewer reads.
///
/// # Panics
/// Where a case differs, or the folder holds fewer than `least` cases.
pub fn check(folder: &str, least: usize, actual: impl Fn(&str, &str) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "kiln"))
        .collect();
    cases.sort();
    assert!(cases.len() >= least, "only {} cases in {}", cases.len(), folder.display());
    let mut failures = Vec::new();
    for case in cases {
        let name = case.file_name().expect("a file").to_string_lossy().into_owned();
        let text = actual(&name, &fs::read_to_string(&case).expect("readable"));
        let expected = case.with_extension("txt");
        if bless {
            fs::write(&expected, text).expect("writable");
        } else if fs::read_to_string(&expected).unwrap_or_default() != text {
            failures.push(format!("{name} now gives:\n{text}"));
        }
    }
    assert!(failures.is_empty(), "{}\nKILN_BLESS=1 accepts this", failures.join("\n"));
}
