//! What the driver refuses: one clear sentence, the exit code, nothing left with the driver, no file left behind.

use crate::support::kiln;

/// The message of each command that uses a GPU, when the driver has a fault.
fn messages(fault: &str, code: i32) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.npy");
    let run = format!("run models/digits.kiln --backend cuda --output {}", output.display());
    let commands = [
        run.as_str(),
        "bench models/digits.kiln --backend cuda --seconds 0",
        "profile models/digits.kiln --backend cuda --seconds 0",
    ];
    let messages = commands.map(|command| {
        let run = kiln(command, &[("KILN_DRIVER_FAULT", fault)]);
        assert_eq!(run.stdout, "", "{command}");
        run.fails(code).to_owned()
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a file is left behind");
    messages.to_vec()
}

/// Checks that all commands say the same sentence, and no more.
#[track_caller]
fn check(fault: &str, code: i32, sentence: &str) {
    for message in messages(fault, code) {
        assert_eq!(message, format!("error: {sentence}"), "{fault}");
    }
}

#[test]
fn a_machine_without_a_usable_gpu() {
    check(
        "no_device",
        3,
        "no NVIDIA GPU can be used: no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE)",
    );
    let [message, ..] = &messages("init", 3)[..] else { panic!("three commands") };
    assert!(
        message.contains("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH") && message.lines().count() == 1,
        "{message}"
    );
}

#[test]
fn a_gpu_that_is_too_old() {
    let run = kiln("run models/digits.kiln --backend cuda", &[("KILN_DRIVER_CAPABILITY", "61")]);
    assert_eq!(run.fails(3), "error: simulated device has compute capability 6.1; kiln needs 7.0");
}

#[test]
fn a_precision_that_the_gpu_lacks() {
    let old = [("KILN_DRIVER_CAPABILITY", "70")];
    let run = kiln("run models/digits.kiln --backend cuda --precision tf32", &old);
    let message = run.fails(1);
    assert!(message.contains("sm_70") && message.contains("tf32") && message.contains("sm_80"), "{message}");
}

#[test]
fn memory_that_does_not_suffice() {
    // Nothing fits; weights fit and activations do not.
    for (memory, what) in [("memory=1000", "weights"), ("memory=100000", "activations")] {
        for message in messages(memory, 1) {
            assert!(message.starts_with("error: the GPU could not reserve "), "{message}");
            let end = format!("bytes for {what}: out of memory (CUDA_ERROR_OUT_OF_MEMORY)");
            assert!(message.ends_with(&end) && message.lines().count() == 1, "{message}");
        }
    }
}

#[test]
fn ptx_that_the_driver_does_not_compile() {
    for message in messages("compile", 1) {
        let (sentence, log) = message.split_once('\n').unwrap();
        assert_eq!(
            sentence,
            "error: the driver cannot compile the kernels: a PTX JIT compilation failed (CUDA_ERROR_INVALID_PTX)"
        );
        assert_eq!(log, "ptxas application ptx input, line 1; fatal   : refused on request");
    }
}

#[test]
fn kernels_that_are_not_there() {
    for message in messages("function", 1) {
        assert!(message.starts_with("error: the GPU could not find the kernel "), "{message}");
        assert!(message.ends_with(": named symbol not found (CUDA_ERROR_NOT_FOUND)"), "{message}");
    }
}

#[test]
fn launches_and_graphs_that_are_refused() {
    check(
        "launch",
        1,
        "the GPU could not launch a kernel: too many resources requested for launch (CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES)",
    );
    check(
        "graph",
        1,
        "the GPU could not make a graph of the launches: out of memory (CUDA_ERROR_OUT_OF_MEMORY)",
    );
}

#[test]
fn kernels_that_fail_while_they_run() {
    let sentence = "the GPU could not run the kernels: an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS)";
    check("kernel=0", 1, sentence);
    check("kernel=3", 1, sentence);
    // While times are taken.
    for command in ["bench", "profile"] {
        let words = format!("{command} models/digits.kiln --backend cuda --seconds 0");
        let run = kiln(&words, &[("KILN_DRIVER_FAULT", "kernel=50")]);
        let message = run.fails(1);
        assert!(
            message.ends_with("(CUDA_ERROR_ILLEGAL_ADDRESS)") && message.lines().count() == 1,
            "{message}"
        );
        let run = kiln(&words, &[("KILN_DRIVER_FAULT", "event")]);
        let message = "error: the GPU could not record an event: out of memory (CUDA_ERROR_OUT_OF_MEMORY)";
        assert_eq!(run.fails(1), message);
    }
}
