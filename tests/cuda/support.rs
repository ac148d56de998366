//! Running the program with the simulated driver.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// How a run ended, and what the driver saw.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    report: Option<Value>,
}

/// The folder of the simulated driver.
pub fn driver() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_kiln")).with_file_name("examples");
    let library = folder.join("libcuda.so");
    assert!(library.exists(), "{} is not there: cargo build --release --example cuda", library.display());
    folder
}

/// Runs `kiln` with words separated by spaces, in the repository's root.
pub fn kiln(words: &str, variables: &[(&str, &str)]) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("LD_LIBRARY_PATH", driver())
        .env("KILN_DRIVER_REPORT", &report)
        .envs(variables.iter().copied())
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let report = std::fs::read(report).ok().map(|text| serde_json::from_slice(&text).expect("JSON"));
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr), report }
}

impl Run {
    /// What the driver saw of a run that kept to its rules and gave everything back.
    #[track_caller]
    fn clean(&self) -> &Value {
        let report = self.report.as_ref().unwrap_or_else(|| panic!("no report: {}", self.stderr));
        assert_eq!(report["violations"], serde_json::json!([]), "{report:#}");
        assert_eq!(report["leaked"], serde_json::json!({}), "{report:#}");
        report
    }

    /// The standard output and the driver's report of a run that must succeed.
    #[track_caller]
    pub fn ok(&self) -> (&str, &Value) {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        (&self.stdout, self.clean())
    }

    /// The message of a run that must fail with this code, and leave nothing with the driver.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.clean();
        self.stderr.trim_end()
    }
}
