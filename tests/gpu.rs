//! Every shipped model at full size on a GPU, held to the reference interpreter. Where there is no GPU these tests hold
//! that saying so is what happens instead.

mod common;

use common::models::{self, SHIPPED};
use kiln::interpreter;
use kiln::kernels::gpu::gemm::Precision;
use kiln::passes;
use kiln::runtime::cuda::{CudaError, CudaExecutable, Device};
use kiln::runtime::gpu::{GpuCompileOptions, compile};
use kiln::weights::{self, random_inputs};

/// The GPU of this machine, if it has one.
fn device() -> Option<Device> {
    match Device::open() {
        Ok(device) => Some(device),
        Err(CudaError::NoDevice(message)) => {
            assert!(message.contains("NVIDIA"), "{message}");
            eprintln!("not run on a GPU: {message}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn shipped_models_agree_with_the_interpreter() {
    let Some(device) = device() else { return };
    let target = device.target();
    let mut precisions = vec![(Precision::F32, 1e-5)];
    precisions.extend(target.has_tf32().then_some((Precision::Tf32, 2e-3)));
    precisions.extend(target.has_f16().then_some((Precision::F16, 5e-3)));
    for (name, defines) in SHIPPED {
        let graph = models::graph(name, defines);
        let (weights, inputs) = (weights::random(&graph, 1), random_inputs(&graph, 2));
        let reference = interpreter::evaluate(&graph, &weights, &inputs).expect("the model evaluates");
        for &(precision, tolerance) in &precisions {
            for fuse in [true, false] {
                let passes = passes::Options { fuse, ..passes::Options::default() };
                let module =
                    compile(&graph, &GpuCompileOptions { target, precision, passes }).expect("compiles");
                let mut executable = CudaExecutable::new(&device, &module, &weights).expect("loads");
                // Twice: the first run must leave nothing behind that changes the second.
                let first = executable.run(&inputs).expect("runs");
                let second = executable.run(&inputs).expect("runs again");
                assert_eq!(first, second, "{name} {defines:?}: runs differ");
                for (output, reference) in first.iter().zip(&reference) {
                    let error = output.relative_error(reference);
                    eprintln!("{name} {defines:?} {} fuse={fuse}: {error:.1e}", precision.name());
                    assert!(error <= tolerance, "{name} {defines:?} {precision:?} {fuse}: {error:e}");
                }
            }
        }
    }
}
