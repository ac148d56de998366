//! The protocol of `../worker.py`, for engines with a Rust API.

use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kiln::Tensor;
use kiln::io::npy::{self, NpyFile};
use serde_json::json;

/// What a worker is asked to serve.
pub struct Request {
    /// Holds `image.npy` and the network.
    pub folder: PathBuf,
    pub threads: usize,
    pub image: Tensor,
}

/// Serves the network that `load` returns a run of, as `ENGINE FOLDER THREADS` on the command line ask.
pub fn serve<R>(engine: &str, version: &str, load: impl FnOnce(&Request) -> Result<R>) -> Result<()>
where
    R: FnMut() -> Result<Tensor>,
{
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(threads)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: {engine}-worker FOLDER THREADS");
    };
    let folder = PathBuf::from(folder);
    let image = NpyFile::open(&folder.join("image.npy"))?.read()?;
    let request = Request { threads: threads.parse().context("THREADS")?, image, folder };

    let before = peak_resident_bytes()?;
    let start = Instant::now();
    let mut run = load(&request)?;
    let answer = run()?;
    let first_answer = start.elapsed();
    npy::write(&mut File::create(request.folder.join(format!("{engine}.npy")))?, &answer)?;
    let ready = json!({
        "version": version,
        "first_answer_ms": milliseconds(first_answer),
        "memory_bytes": peak_resident_bytes()? - before,
    });
    reply(&ready)?;

    for line in io::stdin().lock().lines() {
        let slice = Duration::from_secs_f64(line?.trim().parse()?);
        let begin = Instant::now();
        run()?;
        let mut times = Vec::new();
        while times.is_empty() || begin.elapsed() < slice {
            let start = Instant::now();
            run()?;
            times.push(milliseconds(start.elapsed()));
        }
        reply(&json!(times))?;
    }
    Ok(())
}

fn reply(value: &serde_json::Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn peak_resident_bytes() -> Result<u64> {
    let status = fs::read_to_string(Path::new("/proc/self/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}
