//! Weights from a repository, served by a thread of the test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::support::{Run, Workspace, small_weights};
use sha2::{Digest, Sha256};

/// A server of files by path, which answers as the Hugging Face hub does.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// What is served at a path: the bytes, and the version that the server says they are.
type Files = HashMap<String, (Vec<u8>, String)>;

impl Server {
    fn new(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        // Ends with the process: nobody connects to it any more.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                let Some(Ok(request)) = lines.next() else { continue };
                let headers: Vec<String> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push(path.clone());
                let range = headers.iter().find_map(|line| {
                    let line = line.to_ascii_lowercase();
                    let (first, last) = line.strip_prefix("range: bytes=")?.split_once('-')?;
                    Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()))
                });
                let answer = match files.get(&path) {
                    None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
                    Some((bytes, etag)) => {
                        let (first, last) = range.unwrap_or((0, None));
                        let last = last.unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
                        let part = &bytes[first.min(bytes.len())..=last];
                        let head = format!(
                            "HTTP/1.1 206 Partial Content\r\nETag: \"{etag}\"\r\nX-Repo-Commit: c0ffee\r\n\
                             Content-Range: bytes {first}-{last}/{}\r\nContent-Length: {}\r\n\
                             Connection: close\r\n\r\n",
                            bytes.len(),
                            part.len()
                        );
                        [head.as_bytes(), part].concat()
                    }
                };
                let _ = stream.write_all(&answer);
            }
        });
        Server { address, requests }
    }

    fn kiln(&self, workspace: &Workspace, words: &str) -> Run {
        let home = workspace.path("cache").display().to_string();
        let variables =
            [("HF_ENDPOINT", self.address.as_str()), ("HF_HOME", &home), ("NO_PROXY", "127.0.0.1")];
        workspace.kiln_with(words, &variables)
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn listing(files: &[&str]) -> (String, (Vec<u8>, String)) {
    let siblings: Vec<_> = files.iter().map(|file| serde_json::json!({ "rfilename": file })).collect();
    let text = serde_json::json!({ "siblings": siblings, "sha": "c0ffee" }).to_string();
    ("/api/models/someone/small/revision/main".to_owned(), (text.into_bytes(), "list".to_owned()))
}

fn at(file: &str) -> String {
    format!("/someone/small/resolve/main/{file}")
}

#[test]
fn weights_are_fetched_once_and_checked() {
    let workspace = Workspace::with_small_model();
    let weights = small_weights();
    let hash = sha256(&weights);
    let server = Server::new(
        [listing(&["README.md", "model.safetensors"]), (at("model.safetensors"), (weights, hash))].into(),
    );
    let text = server.kiln(&workspace, "run small.kiln --weights hf://someone/small").ok();
    assert!(text.contains("small with hf://someone/small"), "{text}");
    let requests = server.requests();
    assert!(requests >= 3, "{requests}");
    for words in [
        "run small.kiln --weights hf://someone/small",
        "weights small.kiln hf://someone/small/model.safetensors",
    ] {
        server.kiln(&workspace, words).ok();
    }
    assert_eq!(server.requests(), requests, "the cache is used");
}

#[test]
fn all_shards_of_an_index_are_fetched() {
    let workspace = Workspace::with_small_model();
    let index = br#"{"weight_map": {"conv.weight": "a.safetensors", "conv.bias": "a.safetensors"}}"#.to_vec();
    let weights = small_weights();
    let hash = sha256(&weights);
    let name = "model.safetensors.index.json";
    let server = Server::new(
        [listing(&[name]), (at(name), (index, "abc".to_owned())), (at("a.safetensors"), (weights, hash))]
            .into(),
    );
    server.kiln(&workspace, "run small.kiln --weights hf://someone/small").ok();
}

#[test]
fn what_is_not_what_the_server_says_is_refused_and_not_kept() {
    let workspace = Workspace::with_small_model();
    let wrong = sha256(b"something else");
    let server = Server::new([(at("w.safetensors"), (small_weights(), wrong.clone()))].into());
    for _ in 0..2 {
        server.kiln(&workspace, "run small.kiln --weights hf://someone/small/w.safetensors").blames(&[
            "hf://someone/small/w.safetensors",
            "SHA-256",
            &wrong,
        ]);
    }
    let outside = "../../../outside".to_owned();
    let server = Server::new([(at("w.safetensors"), (small_weights(), outside))].into());
    server
        .kiln(&workspace, "run small.kiln --weights hf://someone/small/w.safetensors")
        .blames(&["names no version"]);
}

#[test]
fn what_is_not_there_is_named() {
    let workspace = Workspace::with_small_model();
    let server = Server::new([listing(&["README.md"])].into());
    server.kiln(&workspace, "run small.kiln --weights hf://someone/small").blames(&[
        "hf://someone/small",
        "model.safetensors",
        "name a file",
    ]);
    server
        .kiln(&workspace, "run small.kiln --weights hf://someone/small/x.pth")
        .blames(&["hf://someone/small/x.pth"]);
    server.kiln(&workspace, "run small.kiln --weights hf://someone").fails(2);
    let home = workspace.path("cache").display().to_string();
    // A port that nobody listens at.
    let nowhere =
        [("HF_ENDPOINT", "http://127.0.0.1:9"), ("HF_HOME", home.as_str()), ("NO_PROXY", "127.0.0.1")];
    workspace
        .kiln_with("run small.kiln --weights hf://someone/small", &nowhere)
        .blames(&["hf://someone/small"]);
}
