//! Running the program, and making files for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a run of the program ended.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `kiln` in `folder` with words separated by spaces.
pub fn kiln_in(folder: &Path, words: &str) -> Run {
    kiln_with(folder, words, &[])
}

/// Runs `kiln` in `folder` with a folder of its own for what it remembers.
pub fn kiln_with_cache(cache: &Path, folder: &Path, words: &str) -> Run {
    kiln_with(folder, words, &[("XDG_CACHE_HOME", cache.to_str().expect("UTF-8"))])
}

/// [`kiln_in`] with environment variables.
pub fn kiln_with(folder: &Path, words: &str, variables: &[(&str, &str)]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .current_dir(folder)
        // What the program remembers between runs stays in the build folder.
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .envs(variables.iter().copied())
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Runs `kiln` in the repository's root.
pub fn kiln(words: &str) -> Run {
    kiln_in(Path::new(env!("CARGO_MANIFEST_DIR")), words)
}

impl Run {
    /// The output of a run that must succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The JSON of a run that must succeed.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// The message of a run that must fail with this code, with no trace of a panic.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert!(!self.stderr.trim().is_empty(), "a failure says why");
        self.stderr
    }

    /// The message of a run that must fail because of its input, and that must say each of `parts`.
    #[track_caller]
    pub fn blames(self, parts: &[&str]) {
        let message = self.fails(1);
        for part in parts {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
    }
}

/// A folder that is removed at the end, with files of a small model in it.
pub struct Workspace(tempfile::TempDir);

/// A model of one convolution on `[1, 1, 2, 2]` and its weights.
pub const SMALL: &str = "model small(channels = 2) {
  input image: f32[1, 1, 2, 2]
  output scores = image -> conv(channels, 1) as conv -> global_avg_pool -> flatten
}
";

impl Workspace {
    pub fn new() -> Self {
        Workspace(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A folder with `small.kiln` and `small.safetensors` in it: channels 1·x + 0 and 2·x + 1.
    pub fn with_small_model() -> Self {
        let workspace = Workspace::new();
        workspace.write("small.kiln", SMALL);
        workspace.write("small.safetensors", small_weights());
        workspace
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("the temporary folder is writable");
    }

    pub fn kiln(&self, words: &str) -> Run {
        kiln_in(self.0.path(), words)
    }

    pub fn kiln_with(&self, words: &str, variables: &[(&str, &str)]) -> Run {
        kiln_with(self.0.path(), words, variables)
    }

    /// The names of all files.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the folder is there");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

pub fn small_weights() -> Vec<u8> {
    safetensors(&[("conv.weight", &[2, 1, 1, 1], &[1.0, 2.0]), ("conv.bias", &[2], &[0.0, 1.0])])
}

/// A safetensors file of F32 arrays.
pub fn safetensors(arrays: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (key, shape, values) in arrays {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert((*key).to_owned(), entry);
    }
    raw_safetensors(&serde_json::Value::Object(header).to_string(), &data)
}

pub fn raw_safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A `.npy` file of `<f4` with this shape, written as in Python.
pub fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    raw_npy(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"), &data)
}

pub fn raw_npy(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

/// The values of a `.npy` file of `<f4`.
pub fn npy_values(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("the file is there");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].chunks(4).map(|raw| f32::from_le_bytes(raw.try_into().expect("4 bytes"))).collect()
}
