//! Weights from a Hugging Face repository, kept in the cache that its own tools use.
//!
//! `HF_HOME` moves the cache, `HF_ENDPOINT` names another server. A file that the server calls by its SHA-256, as it
//! does all large ones, is held to it.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use sha2::{Digest, Sha256};

use super::file;
use crate::Error;

/// `hf://OWNER/NAME[/FILE][@REVISION]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HubAddress {
    /// `OWNER/NAME`
    repository: String,
    /// The path of the weight file in the repository; the usual names are tried where there is none.
    file: Option<String>,
    revision: String,
}

/// What weight files are called, the best first.
const USUAL: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

impl FromStr for HubAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("'{text}' is not of the form hf://OWNER/NAME[/FILE][@REVISION]");
        let rest = text.strip_prefix("hf://").ok_or_else(problem)?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let is_plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part.chars().all(allowed) && !part.chars().all(|c| c == '.')
        };
        let parts: Vec<&str> = path.split('/').collect();
        if parts.len() < 2 || !parts.iter().copied().chain(revision.split('/')).all(is_plain) {
            return Err(problem());
        }
        let file = (parts.len() > 2).then(|| parts[2..].join("/"));
        Ok(HubAddress { repository: parts[..2].join("/"), file, revision: revision.to_owned() })
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}", self.repository)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        if self.revision != "main" { write!(f, "@{}", self.revision) } else { Ok(()) }
    }
}

impl HubAddress {
    /// The weight file on this machine, downloaded unless it has been before; with all its shards where it is an
    /// index.
    ///
    /// # Errors
    /// Where the repository has no such file, the server cannot be reached, or it sends something else than it says.
    pub fn fetch(&self) -> Result<PathBuf, Error> {
        let repo = Repo::with_revision(self.repository.clone(), RepoType::Model, self.revision.clone());
        let cached = Cache::from_env().repo(repo.clone());
        let api = ApiBuilder::from_env().with_progress(false).with_retries(0).build();
        let remote = api.map_err(|error| self.failed(error))?.repo(repo);
        let source = Source { address: self, cached, remote };
        let path = match &self.file {
            Some(file) => source.get(file)?,
            None => source.get_usual()?,
        };
        if path.extension().is_some_and(|extension| extension == "json") {
            let folder = self.file.as_deref().and_then(|file| Some(file.rsplit_once('/')?.0));
            for shard in file::shards(&path)? {
                source.get(&folder.map_or_else(|| shard.clone(), |folder| format!("{folder}/{shard}")))?;
            }
        }
        Ok(path)
    }

    fn failed(&self, problem: impl fmt::Display) -> Error {
        Error::input(format!("{self}: {problem}"))
    }
}

struct Source<'a> {
    address: &'a HubAddress,
    cached: CacheRepo,
    remote: ApiRepo,
}

impl Source<'_> {
    fn get_usual(&self) -> Result<PathBuf, Error> {
        if let Some(path) = USUAL.iter().find_map(|name| self.cached.get(name)) {
            return Ok(path);
        }
        let info = self.remote.info().map_err(|error| self.address.failed(error))?;
        let is_there = |name: &&&str| info.siblings.iter().any(|sibling| sibling.rfilename == **name);
        let name = USUAL.iter().find(is_there).ok_or_else(|| {
            self.address.failed(format!("the repository has none of {}; name a file", USUAL.join(", ")))
        })?;
        self.get(name)
    }

    /// One file of the repository.
    fn get(&self, name: &str) -> Result<PathBuf, Error> {
        if let Some(path) = self.cached.get(name) {
            return Ok(path);
        }
        let api =
            ApiBuilder::from_env().with_retries(0).build().map_err(|error| self.address.failed(error))?;
        let metadata = api.metadata(&self.remote.url(name)).map_err(|error| self.address.failed(error))?;
        // They become names of files in the cache.
        let is_plain =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !is_plain(metadata.etag()) || !is_plain(metadata.commit_hash()) {
            return Err(self.address.failed("the server's answer names no version of the file"));
        }
        let path = self.remote.download(name).map_err(|error| self.address.failed(error))?;
        let checked = check(&path, metadata.etag(), metadata.size() as u64);
        if let Err(problem) = &checked {
            for file in std::fs::canonicalize(&path).into_iter().chain([path.clone()]) {
                // What stays behind is found damaged again.
                let _ = std::fs::remove_file(file);
            }
            return Err(self.address.failed(format!("'{name}' {problem}")));
        }
        Ok(path)
    }
}

/// That a downloaded file is the one that was announced.
fn check(path: &Path, etag: &str, size: u64) -> Result<(), String> {
    let mut file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let length = file.metadata().map_err(|error| format!("cannot be read: {error}"))?.len();
    if length != size {
        return Err(format!("was announced with {size} bytes, and {length} came"));
    }
    if etag.len() != 64 {
        // Small files are called by a hash of their place in git.
        return Ok(());
    }
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut chunk) {
            Ok(0) => break,
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
    }
    let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found.eq_ignore_ascii_case(etag) {
        Ok(())
    } else {
        Err(format!("has the SHA-256 {found}, not {etag} as announced"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for (text, repository, file, revision) in [
            ("hf://timm/resnet18", "timm/resnet18", None, "main"),
            ("hf://a/b/sub/w.pth", "a/b", Some("sub/w.pth"), "main"),
            ("hf://a/b@v1.0", "a/b", None, "v1.0"),
            ("hf://a/b/w.safetensors@refs/pr/1", "a/b", Some("w.safetensors"), "refs/pr/1"),
        ] {
            let address: HubAddress = text.parse().unwrap();
            assert_eq!(address.repository, repository);
            assert_eq!(address.file.as_deref(), file);
            assert_eq!(address.revision, revision);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn addresses_that_leave_the_repository_are_refused() {
        for text in
            ["hf://a", "hf:///a/b", "a/b", "hf://a/b/../c", "hf://a/b/c@../x", "hf://a/b?x=1", "hf://a//b"]
        {
            assert!(text.parse::<HubAddress>().is_err(), "{text}");
        }
    }
}
