//! Mutated files through every reader: an answer or a message, soon, and memory in proportion to the file.
//!
//! Each reader gets a second of it. `KILN_FUZZ_SECONDS=60 cargo test --release --test fuzz` takes longer, and
//! `KILN_FUZZ_SEED` draws other mutations. What a reader fails on is kept in the folder that the message names.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln::io::image::{Preprocess, read};
use kiln::io::npy::NpyFile;
use kiln::io::npz::NpzFile;
use kiln::weights::Weights;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Counts the bytes that each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get().saturating_add(layout.size());
        HELD.set(held);
        PEAK.set(PEAK.get().max(held));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get().saturating_sub(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What reading one small file may take. Buffers for chunks are the most of it; a picture of 200 bytes may be one of
/// many pixels.
const MOST_BYTES: usize = 96 << 20;
const LONGEST: Duration = Duration::from_secs(10);

/// The files of a folder whose names end in one of `extensions`.
fn corpus(folder: &str, extensions: &[&str]) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let wanted = |path: &&PathBuf| {
        extensions.iter().any(|extension| path.extension().is_some_and(|own| own == *extension))
    };
    let files: Vec<Vec<u8>> = paths.iter().filter(wanted).map(|path| fs::read(path).unwrap()).collect();
    assert!(!files.is_empty());
    files
}

/// One to eight changes of one of `files`.
fn mutate(files: &[Vec<u8>], random: &mut impl Rng) -> Vec<u8> {
    const NUMBERS: [u64; 12] =
        [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 40, 1 << 62, u64::MAX];
    let mut bytes = files[random.random_range(0..files.len())].clone();
    for _ in 0..random.random_range(1..=8) {
        let length = bytes.len();
        let at = random.random_range(0..=length);
        match random.random_range(0..8) {
            0..3 if at < length => bytes[at] ^= 1 << random.random_range(0..8),
            3 if at < length => bytes[at] = random.random(),
            4 => {
                let number = NUMBERS[random.random_range(0..NUMBERS.len())];
                let width = [1, 2, 4, 8][random.random_range(0..4)];
                let raw = if random.random() { number.to_le_bytes() } else { number.to_be_bytes() };
                let raw = if random.random() { &raw[..width] } else { &raw[8 - width..] };
                let end = (at + width).min(length);
                bytes[at..end].copy_from_slice(&raw[..end - at]);
            }
            5 => bytes.truncate(at),
            6 => {
                let end = random.random_range(at..=length.min(at + 64));
                let part = bytes[at..end].to_vec();
                let place = random.random_range(0..=length);
                bytes.splice(place..place, part);
            }
            7 => {
                let other = &files[random.random_range(0..files.len())];
                let start = random.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend(&other[start..]);
            }
            _ => {}
        }
    }
    bytes
}

fn variable(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is a whole number")),
        Err(_) => default,
    }
}

/// Reads mutations of `files` until the time is up.
fn fuzz(name: &str, files: &[Vec<u8>], read: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join(name);
    let time = Duration::from_secs(variable("KILN_FUZZ_SECONDS", 1));
    let mut random = Pcg64Mcg::seed_from_u64(variable("KILN_FUZZ_SEED", 1));
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < time {
        let bytes = mutate(files, &mut random);
        fs::write(&place, &bytes).unwrap();
        let begun = Instant::now();
        let held = HELD.get();
        PEAK.set(held);
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&place)));
        let (took, used) = (begun.elapsed(), PEAK.get().saturating_sub(held));
        count += 1;
        let problem = match outcome {
            Err(_) => "panics on".to_owned(),
            Ok(()) if took > LONGEST => format!("takes {took:?} for"),
            Ok(()) if used > MOST_BYTES => format!("takes {used} bytes of memory for"),
            Ok(()) => continue,
        };
        let kept = folder.keep().join(name);
        panic!("the reader {problem} '{}' ({} bytes, number {count})", kept.display(), bytes.len());
    }
    println!("{name}: {count} files");
}

/// A reader's answer is right or wrong elsewhere; here it only has to come.
fn any<T>(_: T) {}

#[test]
fn safetensors() {
    fuzz("x.safetensors", &corpus("tests/weights", &["safetensors"]), |path| any(Weights::load(path)));
}

#[test]
fn pytorch_checkpoints() {
    let files: Vec<Vec<u8>> =
        corpus("tests/weights", &["pth"]).into_iter().filter(|file| file.len() < 1 << 14).collect();
    fuzz("x.pth", &files, |path| any(Weights::load(path)));
}

#[test]
fn indices_of_shards() {
    fuzz("x.json", &corpus("tests/weights", &["json"]), |path| any(Weights::load(path)));
}

#[test]
fn npy_arrays() {
    fuzz("x.npy", &corpus("tests/fuzz", &["npy"]), |path| any(NpyFile::open(path).and_then(NpyFile::read)));
}

#[test]
fn npz_archives() {
    fuzz("x.npz", &corpus("tests/fuzz", &["npz"]), |path| {
        let Ok(mut file) = NpzFile::open(path) else { return };
        for name in file.names().take(4).collect::<Vec<_>>() {
            // As `compare` does it: nothing is read whose shape is not the layer's.
            if let Ok(Some(array)) = file.array(&name)
                && array.shape().checked_elements().is_some_and(|elements| elements < 1 << 20)
            {
                any(array.read());
            }
        }
    });
}

#[test]
fn pictures() {
    fuzz("x.png", &corpus("tests/fuzz", &["png", "jpg"]), |path| {
        any(read(path, [3, 8, 8], &Preprocess::default_for(3, 8, 8)));
    });
}
