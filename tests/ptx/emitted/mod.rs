//! Emitted kernels, run by the emulator as the plan's JSON says, against the reference interpreter.

mod convolutions;
mod host;
mod models;
mod mutations;
mod operators;
mod random;

use std::collections::HashSet;

use kiln::codegen::ptx::Target;
use kiln::graph::Graph;
use kiln::interpreter;
use kiln::kernels::gpu::gemm::Precision;
use kiln::passes;
use kiln::runtime::gpu::GpuCompileOptions;
use kiln::tensor::Tensor;
use kiln::weights;

use host::Host;
use kiln::weights::random_inputs;

/// The largest relative error, max|out − ref| / max|ref|.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-5,
        Precision::Tf32 => 2e-3,
        Precision::F16 => 5e-3,
    }
}

fn options(target: Target, precision: Precision, fuse: bool) -> GpuCompileOptions {
    let passes = passes::Options { fuse, ..passes::Options::default() };
    GpuCompileOptions { target, precision, passes }
}

/// Every target with every precision that it has, fused and unfused.
fn all_options() -> Vec<GpuCompileOptions> {
    let precisions = |target: Target| {
        let known = [
            (Precision::F32, true),
            (Precision::Tf32, target.has_tf32()),
            (Precision::F16, target.has_f16()),
        ];
        known.into_iter().filter(|(_, is_known)| *is_known).map(move |(precision, _)| (target, precision))
    };
    let all = Target::ALL.into_iter().flat_map(precisions);
    all.flat_map(|(target, precision)| [true, false].map(|fuse| options(target, precision, fuse))).collect()
}

/// Ways of compiling that between them use every kind of kernel.
fn some_options() -> Vec<GpuCompileOptions> {
    vec![
        options(Target::Sm70, Precision::F32, true),
        options(Target::Sm75, Precision::F16, true),
        options(Target::Sm80, Precision::Tf32, true),
        options(Target::Sm90, Precision::F32, true),
        options(Target::Sm90, Precision::F32, false),
        options(Target::Sm90, Precision::F16, true),
    ]
}

/// Compiles a graph in several ways and runs it; what does not agree with the reference interpreter.
fn disagreements(
    graph: &Graph,
    inputs: &[Tensor],
    options: &[GpuCompileOptions],
    tolerance: impl Fn(Precision) -> f64,
) -> Vec<String> {
    let weights = weights::random(graph, 1);
    let reference = interpreter::evaluate(graph, &weights, inputs).expect("the graph evaluates");
    let mut seen = HashSet::new();
    let mut problems = Vec::new();
    for options in options {
        let host = Host::new(graph, &weights, options);
        // Targets often get the same kernels.
        if !seen.insert(host.key()) {
            continue;
        }
        let GpuCompileOptions { target, precision, .. } = options;
        let fused = if options.passes.fuse { "fused" } else { "unfused" };
        let outputs = match host.run(inputs) {
            Ok(outputs) => outputs,
            Err(fault) => {
                problems.push(format!("{target} {} {fused}: {fault}", precision.name()));
                continue;
            }
        };
        for (output, reference) in outputs.iter().zip(&reference) {
            let error = output.relative_error(reference);
            if error > tolerance(*precision) {
                let layers: Vec<_> = host.plan.launches.iter().map(|launch| &launch.kernel).collect();
                problems.push(format!("{target} {} {fused}: error {error:e}, {layers:?}", precision.name()));
            }
        }
    }
    problems
}

/// Fails with the first few of what went wrong.
fn report(problems: &[String]) {
    let first = problems[..problems.len().min(10)].join("\n");
    assert!(problems.is_empty(), "{} disagreements, first:\n{first}", problems.len());
}

/// Holds a graph on random inputs to the reference interpreter.
fn check(graph: &Graph, options: &[GpuCompileOptions]) {
    let problems = disagreements(graph, &random_inputs(graph, 2), options, tolerance);
    assert!(problems.is_empty(), "{}\n{graph}", problems.join("\n"));
}
