//! The files of `scripts/weight_files.py`, and pickles made by hand.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::{WeightFile, Weights};
use super::pickle;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/weights").join(name)
}

#[test]
fn every_format_holds_the_same_arrays() {
    let expected = Weights::load(path("f32.safetensors")).unwrap();
    assert_eq!(expected.iter().count(), 9);
    for name in [
        "mixed.safetensors",
        "sharded.safetensors.index.json",
        "zip.pth",
        "zip_deflated.pth",
        "zip_nested.pth",
        "legacy.pth",
        "legacy_nested.pth",
    ] {
        let weights = Weights::load(path(name)).unwrap_or_else(|error| panic!("{error}"));
        assert!(weights.iter().eq(expected.iter()), "{name}");
    }
}

#[test]
fn files_that_are_no_list_of_arrays_are_refused_and_nothing_is_executed() {
    for (name, expected) in [
        ("bad_module.pth", "'torch.nn.modules.linear.Linear'"),
        ("bad_module_legacy.pth", "'torch.nn.modules.linear.Linear'"),
        ("bad_command.pth", "'posix.system'"),
        ("bad_command_nested.pth", "'posix.system'"),
        ("bad_command_legacy.pth", "'posix.system'"),
        ("bad_byteorder.pth", "byte order 'big'"),
        ("bad_bomb.pth", "zip bomb"),
    ] {
        let error = WeightFile::open(path(name)).err().expect("refused").to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
    assert!(!PathBuf::from("executed").exists());
}

#[test]
fn truncated_checkpoints_are_refused_wherever_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("cut.pth");
    for name in ["zip.pth", "legacy.pth"] {
        let whole = std::fs::read(path(name)).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&place, &whole[..length]).unwrap();
            // The archive's comment is the only part that may be missing.
            assert!(Weights::load(&place).is_err(), "{name} cut to {length} bytes");
        }
    }
}

fn read(bytes: &[u8]) -> Result<(), String> {
    pickle::read(&mut &bytes[..]).map(drop)
}

fn check(bytes: &[u8], expected: &str) {
    let start = Instant::now();
    let error = read(bytes).expect_err("refused");
    assert!(error.contains(expected), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn opcodes_and_names_that_no_array_needs_are_refused() {
    check(b"cposix\nsystem\n.", "'posix.system'");
    check(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "'builtins.eval'");
    check(b"(iposix\nsystem\n.", "INST");
    check(b"(X\x01\0\0\0ao.", "OBJ");
    check(b"\x82\x01.", "EXT1");
    check(b"P1\n.", "PERSID");
    check(b"\x97.", "NEXT_BUFFER");
    check(b"\x80\x06.", "protocol 6");
    check(b"\xff", "0xff");
    check(b"K\x01)R.", "calls something");
    check(b"ctorch\nSize\nK\x01R.", "without a tuple");
    check(b"ctorch\nSize\n)R.", "a size of nothing");
    check(b"K\x01}b.", "sets attributes of a number");
}

#[test]
fn malformed_pickles_are_refused() {
    check(b"", "ends inside");
    check(b"N", "ends inside");
    check(b".", "a value that is not there");
    check(b"(.", "a value that is not there");
    check(b"N(\x85.", "a value that is not there");
    check(b"t.", "a mark that is not there");
    check(b"h\x01.", "never kept");
    check(b"K\x01(NNu.", "sets a key of a number");
    check(b"}(Nu.", "without a value");
    check(b"NNa.", "appends to None");
    check(b"X\x02\0\0\0\xff\xfe.", "not UTF-8");
    check(b"X\xff\xff\xff\xff.", "ends inside");
    check(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "ends inside");
    check(b"NQ.", "refers to a storage by None");
    check(&[b"c".as_slice(), &[b'a'; 1000]].concat(), "does not end");
    check(b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))t\x52.", "in a way that PyTorch does not");
}

#[test]
fn pickles_that_grow_without_end_are_refused() {
    // Nested a million deep, which must cost no stack either.
    check(&[b"N".as_slice(), &[0x85; 1 << 20], b"."].concat(), "opcodes");
    check(&b"(".repeat(1 << 21), "opcodes");
    // A dictionary made of one list of pairs, over and over.
    let pairs = b"KaKb\x86".repeat(1000);
    let list = [b"ccollections\nOrderedDict\nq\x000](".as_slice(), &pairs, b"e\x85q\x010"].concat();
    let copies = b"h\x00h\x01R0".repeat(100_000);
    check(&[&list[..], &copies, b"N."].concat(), "over and over");
    // A list that holds itself is a value like any other.
    assert_eq!(read(b"]q\x00h\x00a."), Ok(()));
}
