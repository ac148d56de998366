//! Problem strings: a kernel's name says everything about it, and is enough to run it by itself.

mod common;

use std::collections::BTreeMap;

use common::models::{REDUCED, SHIPPED, graph};
use common::random_graph::graphs;
use common::targets;
use kiln::codegen::target::Cpu;
use kiln::graph::Graph;
use kiln::kernels::packed::WeightType;
use kiln::kernels::{Family, KernelSpec};
use kiln::lower::{self, LowerOptions, Tuning};
use kiln::passes;
use kiln::trial::Trial;
use proptest::prelude::*;

/// The kernels of a graph, by name.
fn kernels(graph: &Graph, target: Cpu, fuse: bool) -> BTreeMap<String, KernelSpec> {
    let options = passes::Options { fuse, ..passes::Options::default() };
    let (graph, _) = passes::run(graph.clone(), &options).expect("the passes run");
    let mut kernels = BTreeMap::new();
    for (winograd, weight_type) in [(true, WeightType::F16), (false, WeightType::F32)] {
        let tuning = &Tuning::default();
        let options = LowerOptions { target, winograd, weight_type, threads: 2, tuning };
        let plan = lower::lower(&graph, options).expect("the graph is lowered");
        // What runs inside models only.
        let alone = |spec: &KernelSpec| {
            !matches!(spec, KernelSpec::MatMul(_) | KernelSpec::Reduce(_) | KernelSpec::Sampling(_))
        };
        kernels.extend(plan.kernels.into_iter().filter(alone).map(|spec| (spec.name(), spec)));
    }
    kernels
}

/// Each name gives back a kernel of the same name and code.
fn check_names(graph: &Graph, target: Cpu) {
    for fuse in [true, false] {
        for (name, spec) in kernels(graph, target, fuse) {
            let parsed = KernelSpec::parse(&name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.name(), name);
            let lanes = target.lanes();
            assert!(parsed.build(lanes) == spec.build(lanes), "'{name}' names two kernels");
        }
    }
}

#[test]
fn names_of_the_shipped_models_kernels_determine_them() {
    for (name, defines) in SHIPPED.iter().chain(REDUCED) {
        for target in targets::all() {
            check_names(&graph(name, defines), target);
        }
    }
}

#[test]
fn kernels_run_alone_compute_their_layers() {
    for (name, defines) in [("digits", &[][..]), ("mobilenet_v1", &[("alpha", "0.25"), ("resolution", "64")])]
    {
        check_alone(&graph(name, defines), true);
    }
}

fn check_alone(graph: &Graph, fuse: bool) {
    for target in targets::all().filter(|target| target.isa.is_available()) {
        for (name, spec) in kernels(graph, target, fuse) {
            let mut trial = Trial::new(&spec, target.isa, 2).unwrap_or_else(|error| panic!("{error}"));
            let error = trial.error().unwrap_or_else(|error| panic!("{error}"));
            assert!(error <= 1e-4, "{name} for {target:?}: {error:e}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn names_of_random_graphs_kernels_determine_them(graph in graphs()) {
        for target in targets::all() {
            check_names(&graph, target);
        }
    }

    #[test]
    fn kernels_of_random_graphs_run_alone(graph in graphs(), fuse in any::<bool>()) {
        check_alone(&graph, fuse);
    }
}
