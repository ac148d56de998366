//! The host in Python that the documents show, with the simulated driver.

use std::path::Path;
use std::process::Command;

use kiln::io::npy::NpyFile;
use serde_json::Value;

use crate::support::{driver, kiln};

/// Runs `kiln` outside of any driver.
fn plain(words: &str) {
    let run = kiln(words, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "continuous integration needs python3");
        eprintln!("not run: there is no python3");
    }
    found
}

/// Runs a script in a folder; what the driver saw.
fn python(folder: &Path, script: &str) -> Value {
    let report = folder.join("report.json");
    std::os::unix::fs::symlink(driver().join("libcuda.so"), folder.join("libcuda.so.1")).unwrap();
    let done = Command::new("python3")
        .current_dir(folder)
        .env("LD_LIBRARY_PATH", folder)
        .env("KILN_DRIVER_REPORT", &report)
        .args(["-c", script])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap()
}

/// A host that breaks one rule after the other: each is noticed, and answered as a driver would.
#[test]
fn a_careless_host_is_found_out() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let report = python(
        folder.path(),
        r#"
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
u64, size, void = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p
answers = [cuda.cuCtxGetCurrent(ctypes.byref(void()))]
cuda.cuInit(0)
address, context, stream, module, function = u64(), void(), void(), void(), void()
answers.append(cuda.cuMemAlloc_v2(ctypes.byref(address), size(64)))
cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
cuda.cuCtxSetCurrent(context)
cuda.cuMemAlloc_v2(ctypes.byref(address), size(64))
data = bytes(128)
answers.append(cuda.cuMemcpyHtoD_v2(u64(address.value + 32), data, size(64)))
answers.append(cuda.cuMemcpyDtoH_v2(ctypes.create_string_buffer(64), address, size(64)))
cuda.cuStreamCreate(ctypes.byref(stream), 1)
cuda.cuStreamBeginCapture_v2(stream, 1)
answers.append(cuda.cuStreamSynchronize(stream))
cuda.cuStreamEndCapture(stream, ctypes.byref(void()))
text = b""".version 7.0
.target sm_80
.address_size 64
.visible .entry store(.param .u64 out) {
.reg .b64 %rd<1>;
ld.param.u64 %rd0, [out];
st.global.b32 [%rd0], 0;
ret;
}
"""
cuda.cuModuleLoadData(ctypes.byref(module), text)
cuda.cuModuleGetFunction(ctypes.byref(function), module, b"store")
place = u64(address.value + 60)
arguments = (void * 1)(ctypes.addressof(place))
launch = lambda: cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, arguments, None)
answers.append(launch())
answers.append(cuda.cuStreamSynchronize(None))
cuda.cuModuleUnload(module)
answers.append(launch())
cuda.cuMemFree_v2(address)
answers.append(cuda.cuMemFree_v2(address))
cuda.cuCtxSetCurrent(void(0))
cuda.cuDevicePrimaryCtxRelease_v2(0)
assert answers == [3, 201, 1, 1, 900, 0, 0, 400, 1], answers
"#,
    );
    let found = report["violations"].as_array().unwrap();
    let expected = [
        "cuCtxGetCurrent before cuInit",
        "a call that needs a context without one",
        "are not in one allocation",
        "the host reads what nothing wrote",
        "not allowed while a stream is captured",
        "no kernel of a loaded module",
        "is freed and not allocated",
        "released with 1 streams in it",
        "released with 1 graphs in it",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.as_str().unwrap().contains(expected), "{expected} in {report:#}");
    }
    assert_eq!(found.len(), expected.len(), "{report:#}");
    assert_eq!(report["leaked"], serde_json::json!({"streams": 1, "graphs": 1}), "{report:#}");
}

#[test]
fn the_documented_host_computes_the_same() {
    if !has_python() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("src/codegen/ptx/README.md")).unwrap();
    let (_, host) = document.split_once("```python\n").expect("the document shows a host");
    let (host, _) = host.split_once("```").unwrap();

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let model = "models/digits.kiln -D batch=2";
    let files = [at("resnet.ptx"), at("resnet.json"), at("resnet.bin")];
    let [ptx, plan, blob] = &files;
    plain(&format!("ptx {model} --target sm_80 -o {ptx} --plan {plan} --weights-blob {blob}"));
    plain(&format!(
        "run {model} --input models/digits_test_images.npy --backend interpreter --output {}",
        at("out.npy")
    ));
    let expected = NpyFile::open(Path::new(&at("out.npy"))).unwrap().read().unwrap();

    // Two batches, to see that a second run takes nothing from the first.
    let images = NpyFile::open(&root.join("models/digits_test_images.npy")).unwrap().read().unwrap();
    let bytes: Vec<u8> = images.data().iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(at("images.bin"), &bytes[..2 * 2 * 64 * 4]).unwrap();
    let script = format!(
        "{host}\nimages = open('images.bin', 'rb').read()\nhalf = len(images) // 2\n\
         answer = run([images[:half]])[0] + run([images[half:]])[0]\nopen('answer.bin', 'wb').write(answer)\n"
    );
    let report = python(folder.path(), &script);
    assert_eq!(report["violations"], serde_json::json!([]), "{report:#}");
    let answer = std::fs::read(at("answer.bin")).unwrap();
    let answer: Vec<f32> =
        answer.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
    assert_eq!(answer.len(), 4 * 10);
    for (value, expected) in answer.iter().zip(expected.data()) {
        assert!((value - expected).abs() <= 1e-4, "{value} instead of {expected}");
    }
}
