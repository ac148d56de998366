//! Compiled code against the reference interpreter, on every instruction set that this CPU has, fused and unfused.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::problem::Problem;
use common::random_graph::{graphs, seed};
use kiln::codegen::target::{Core, Cpu, InstructionSet};
use kiln::graph::Graph;
use kiln::interpreter;
use kiln::kernels::KernelSpec;
use kiln::kernels::packed::WeightType;
use kiln::kernels::polyphase::PolyphaseKernel;
use kiln::kernels::winograd::{Filters, WinogradKernel};
use kiln::lower::{LowerOptions, lower};
use kiln::ops::{Binary, BinaryFunction, Init, Input, Op, Parameter};
use kiln::runtime::{CompileOptions, Isa, compile};
use kiln::tensor::Tensor;
use kiln::weights::{self, WeightFile, Weights, random_inputs};
use proptest::prelude::*;

/// The largest relative error of a single layer or a small graph.
const TOLERANCE: f64 = 1e-5;

/// The same where a convolution may be computed by Winograd's method or minimal filtering, whose transforms cancel digits.
const WINOGRAD_TOLERANCE: f64 = 5e-5;

/// Every way of compiling that this machine can run, for each kind of core where methods with fewer multiplications depend
/// on it.
fn options() -> impl Iterator<Item = CompileOptions> {
    let targets = common::targets::all().filter(|target| target.isa.is_available());
    targets.flat_map(|Cpu { isa, core }| {
        let ways = [(false, false), (true, false), (true, true)].into_iter();
        let ways = ways.filter(move |&(_, winograd)| winograd || core == Core::Generic);
        ways.map(move |(fuse, winograd)| CompileOptions {
            fuse,
            winograd,
            isa: Isa::Exactly(isa),
            core,
            ..CompileOptions::default()
        })
    })
}

fn check(graph: &Graph, tolerance: f64) {
    let weights = weights::random(graph, 1);
    let inputs = random_inputs(graph, 2);
    let reference = interpreter::evaluate(graph, &weights, &inputs).expect("the graph evaluates");
    for options in options() {
        for threads in [1, 3] {
            let options = CompileOptions { threads, ..options.clone() };
            let outputs = run(graph, &weights, &inputs, &options);
            for (output, reference) in outputs.iter().zip(&reference) {
                let error = output.relative_error(reference);
                let tolerance = if options.winograd { tolerance.max(WINOGRAD_TOLERANCE) } else { tolerance };
                assert!(error <= tolerance, "error {error:e} with {options:?}:\n{graph}");
            }
        }
    }
}

/// The second of two runs: the first has left its values in the arena.
fn run(graph: &Graph, weights: &Weights, inputs: &[Tensor], options: &CompileOptions) -> Vec<Tensor> {
    let compiled = compile(graph, options).unwrap_or_else(|error| panic!("{error}, {options:?}:\n{graph}"));
    let mut executable = compiled.bind(weights).expect("the weights fit");
    executable.run(inputs).expect("the inputs fit");
    executable.run(inputs).expect("the inputs fit")
}

fn corpus() -> Vec<Problem> {
    let lines = include_str!("corpus/convolutions.txt").lines();
    let problems = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    problems.map(|line| Problem::parse(line).expect("the corpus is well-formed")).collect()
}

#[test]
fn convolutions_of_the_corpus() {
    for problem in corpus() {
        check(&problem.graph(), TOLERANCE);
    }
}

#[test]
fn the_corpus_holds_the_shipped_models() {
    let corpus = corpus();
    let mut missing = Vec::new();
    for (name, defines) in common::models::SHIPPED {
        let graph = common::models::graph(name, defines);
        for id in graph.topological_order() {
            if let Some(problem) = Problem::of(&graph, id)
                && !corpus.contains(&problem)
                && !missing.contains(&problem)
            {
                missing.push(problem);
            }
        }
    }
    if std::env::var_os("KILN_BLESS").is_some() && !missing.is_empty() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/convolutions.txt");
        let mut text = std::fs::read_to_string(path).expect("the corpus is there");
        text.extend(missing.iter().map(|problem| format!("{problem}\n")));
        std::fs::write(path, text).expect("the corpus can be written");
        return;
    }
    let missing: Vec<String> = missing.iter().map(Problem::to_string).collect();
    assert!(missing.is_empty(), "not in the corpus (KILN_BLESS=1 adds them):\n{}", missing.join("\n"));
}

/// The kernels of one family that the corpus is lowered to.
fn corpus_kernels<K>(target: Cpu, family: impl Fn(KernelSpec) -> Option<K>) -> Vec<K> {
    let options = CompileOptions::default();
    let options = LowerOptions { target, ..options.lowering(target.isa) };
    let plans = corpus().into_iter().map(|problem| lower(&problem.graph(), options));
    plans.flat_map(|plan| plan.expect("the corpus can be lowered").kernels).filter_map(family).collect()
}

/// Without this, a method that the model of the core no longer chooses would go untested unnoticed.
#[test]
fn the_corpus_needs_each_of_winograds_methods_and_groups() {
    for target in common::targets::all() {
        let kernels = corpus_kernels(target, |kernel| match kernel {
            KernelSpec::Winograd(kernel) => Some(kernel),
            _ => None,
        });
        assert!(kernels.iter().any(|kernel| kernel.groups > 1 && kernel.y.dims[0] > 1), "{target:?}");
        let in_registers = |kernel: &&WinogradKernel| matches!(kernel.filters, Filters::InRegisters { .. });
        let in_registers: Vec<_> = kernels.iter().filter(in_registers).collect();
        // AVX-512 alone has registers enough.
        let has_registers = target.isa == InstructionSet::Avx512;
        assert_eq!(!in_registers.is_empty(), has_registers, "{target:?}");
        assert_eq!(in_registers.iter().any(|kernel| kernel.groups > 1), has_registers, "{target:?}");
        let mut methods: Vec<_> =
            kernels.iter().map(|kernel| (kernel.method.kernel(), kernel.method.tile())).collect();
        methods.sort();
        methods.dedup();
        let (three, five) = ([3, 3], [5, 5]);
        assert_eq!(
            methods,
            [(three, [2, 2]), (three, [4, 2]), (three, [4, 4]), (five, [2, 2])],
            "{target:?}"
        );
    }
}

/// The same for minimal filtering along rows: by each instruction set, of several strides, planes, groups and images.
#[test]
fn the_corpus_needs_minimal_filtering() {
    for target in common::targets::all() {
        let kernels = corpus_kernels(target, |kernel| match kernel {
            KernelSpec::Polyphase(kernel) => Some(kernel),
            _ => None,
        });
        assert!(kernels.iter().any(|kernel| kernel.groups > 1 && kernel.y.dims[0] > 1), "{target:?}");
        assert!(kernels.iter().any(|kernel| kernel.x.strides[3] == 1), "{target:?}");
        let rest = |kernel: &PolyphaseKernel| kernel.y.dims[2] % kernel.filtering.outputs;
        assert!(kernels.iter().any(|kernel| rest(kernel) > 0), "{target:?}");
        let mut filters: Vec<_> =
            kernels.iter().map(|kernel| (kernel.filtering.taps, kernel.filtering.stride)).collect();
        filters.sort();
        filters.dedup();
        for filter in [(3, 2), (5, 2), (7, 2), (7, 4), (8, 3), (9, 2), (11, 4)] {
            assert!(filters.contains(&filter), "{filter:?} is not among {filters:?} for {target:?}");
        }
    }
}

#[test]
fn problem_strings_read_back() {
    for problem in corpus() {
        assert_eq!(Problem::parse(&problem.to_string()), Ok(problem));
    }
}

#[test]
fn shipped_models_at_reduced_resolution() {
    for (name, defines) in common::models::REDUCED {
        check(&common::models::graph(name, defines), 1e-4);
    }
}

/// Weights are rounded to `f16` in dense layers that are read from memory for one image, and nowhere else: the answer is
/// that of the interpreter with such weights.
#[test]
fn half_weights_are_rounded_once() {
    let text = "model wide() { input x: f32[1, 3, 16, 16]
                output y = x -> conv(64, 3, stride = 2) as conv -> relu -> flatten -> dense(70) as large
                    -> relu -> dense(9) as small }";
    let graph = kiln::Model::parse(text).unwrap().graph().unwrap();
    let weights = weights::random(&graph, 1);
    let mut rounded = weights.clone();
    let large = weights.get("large.weight").expect("a parameter");
    let halves = large.data().iter().map(|&value| half::f16::from_f32(value).to_f32()).collect();
    rounded.insert("large.weight", Tensor::new(large.shape().clone(), halves));
    let inputs = random_inputs(&graph, 2);
    let [exact, reference] = [&weights, &rounded].map(|weights| {
        interpreter::evaluate(&graph, weights, &inputs).expect("the graph evaluates").remove(0)
    });
    for options in options() {
        let options = CompileOptions { weight_type: WeightType::F16, ..options };
        let output = run(&graph, &weights, &inputs, &options).remove(0);
        assert!(output.relative_error(&reference) <= TOLERANCE, "{options:?}");
        assert!(output.relative_error(&exact) > TOLERANCE, "nothing was rounded with {options:?}");
    }
}

#[test]
fn weights_beyond_f16_are_refused_by_name() {
    let text = "model wide() { input x: f32[1, 400]\n output y = x -> dense(300) as large }";
    let graph = kiln::Model::parse(text).unwrap().graph().unwrap();
    let mut weights = weights::random(&graph, 1);
    let mut values = weights.get("large.weight").expect("a parameter").data().to_vec();
    values[7] = 70000.0;
    weights.insert("large.weight", Tensor::new([300, 400], values));
    let options = CompileOptions { weight_type: WeightType::F16, ..CompileOptions::default() };
    let error = compile(&graph, &options).unwrap().bind(&weights).err().expect("70000 is no f16").to_string();
    assert!(error.contains("large.weight") && error.contains("70000"), "{error}");
}

#[test]
fn weights_read_while_they_are_packed_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    // With groups, depthwise, strided and five-by-five filters, folded and not.
    let names = ["age_net", "bn_inception", "digits", "mobilenet_v2"];
    for (name, defines) in common::models::REDUCED.iter().filter(|(name, _)| names.contains(name)) {
        let graph = common::models::graph(name, defines);
        let weights = weights::random(&graph, 1);
        weights::save(&weights, &path).unwrap();
        let inputs = random_inputs(&graph, 2);
        for options in options() {
            for (weight_type, threads) in [(WeightType::F32, 1), (WeightType::F16, 3)] {
                let options = CompileOptions { weight_type, threads, ..options.clone() };
                let compiled = compile(&graph, &options).unwrap();
                let mut executable =
                    compiled.bind(WeightFile::open(&path).unwrap()).expect("the weights fit");
                executable.settle();
                let outputs = executable.run(&inputs).unwrap();
                assert_eq!(outputs, run(&graph, &weights, &inputs, &options), "{name} with {options:?}");
            }
        }
        let index = shard(&weights, folder.path());
        let options = CompileOptions::default();
        let compiled = compile(&graph, &options).unwrap();
        let mut executable = compiled.bind(WeightFile::open(index).unwrap()).expect("the weights fit");
        assert_eq!(executable.run(&inputs).unwrap(), run(&graph, &weights, &inputs, &options), "{name}");
    }
}

/// Writes two files and their index.
fn shard(weights: &Weights, folder: &Path) -> PathBuf {
    let mut shards = [Weights::default(), Weights::default()];
    let mut map = serde_json::Map::new();
    for (number, (key, value)) in weights.iter().enumerate() {
        shards[number % 2].insert(key, Arc::clone(value));
        map.insert(key.to_owned(), format!("{}.safetensors", number % 2).into());
    }
    for (number, shard) in shards.iter().enumerate() {
        weights::save(shard, &folder.join(format!("{number}.safetensors"))).unwrap();
    }
    let path = folder.join("model.safetensors.index.json");
    std::fs::write(&path, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    path
}

/// `x + (w0 + w1 + … + wi)` for each `i`, one layer after the other.
fn sums_of_weights(layers: usize) -> Graph {
    let mut graph = Graph::new("sums");
    let add = Op::Binary(Binary { function: BinaryFunction::Add });
    let parameter = |graph: &mut Graph, number: usize| {
        let init = Init::Uniform { low: -1.0, high: 1.0 };
        let (key, shape) = (format!("w{number}"), [1, 8].into());
        graph.add(key.clone(), Op::Parameter(Parameter { key, shape, init }), &[]).unwrap()
    };
    let mut x = graph.add("x", Op::Input(Input { shape: [1, 8].into() }), &[]).unwrap();
    let mut sum = parameter(&mut graph, 0);
    for number in 1..layers {
        let weight = parameter(&mut graph, number);
        sum = graph.add(format!("sum{number}"), add.clone(), &[sum, weight]).unwrap();
        x = graph.add(format!("y{number}"), add.clone(), &[x, sum]).unwrap();
    }
    graph.add_output("y", x);
    graph
}

#[test]
fn expressions_that_arrays_share_are_evaluated_once() {
    let graph = sums_of_weights(3000);
    let options = CompileOptions { fuse: false, ..CompileOptions::default() };
    let (weights, inputs) = (weights::random(&graph, 1), random_inputs(&graph, 2));
    let compiled = compile(&graph, &options).unwrap();
    let start = Instant::now();
    let mut executable = compiled.bind(&weights).unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "binding took {:?}", start.elapsed());
    let reference = interpreter::evaluate(&graph, &weights, &inputs).unwrap();
    assert!(executable.run(&inputs).unwrap()[0].relative_error(&reference[0]) <= TOLERANCE);
}

#[test]
fn packed_arrays_lie_apart() {
    let graph = common::models::graph("resnet", &[("depth", "50")]);
    let plan = lower(&graph, CompileOptions::default().lowering(InstructionSet::detect())).unwrap();
    let mut end = 0;
    for array in &plan.packed {
        assert!(array.offset >= end && array.offset.is_multiple_of(16), "{:?}", array.source);
        assert!(array.elements < 1 << 18 || !array.offset.is_multiple_of(1024), "{:?}", array.source);
        end = array.offset + array.elements;
    }
    assert!(end <= plan.weight_elements);
}

#[test]
fn weight_files_that_fail_while_they_are_packed_are_named() {
    let text = "model wide() { input x: f32[1, 400]\n output y = x -> dense(300) as large }";
    let graph = kiln::Model::parse(text).unwrap().graph().unwrap();
    let weights = weights::random(&graph, 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let open = |weights: &Weights| {
        weights::save(weights, &path).unwrap();
        WeightFile::open(&path).unwrap()
    };
    let fail = |file: WeightFile, weight_type: WeightType, expected: &[&str]| {
        let options = CompileOptions { weight_type, threads: 2, ..CompileOptions::default() };
        let error = compile(&graph, &options).unwrap().bind(file).err().expect("refused").to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    };
    let cut = open(&weights);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(200_000).unwrap();
    fail(cut, WeightType::F32, &["cannot read", "w.safetensors"]);

    let with = |at: usize, value: f32| {
        let mut values = weights.get("large.weight").expect("a parameter").data().to_vec();
        values[at] = value;
        let mut weights = weights.clone();
        weights.insert("large.weight", Tensor::new([300, 400], values));
        weights
    };
    let last = 300 * 400 - 1;
    let place = format!("'large.weight' holds inf at element {last}");
    fail(open(&with(last, f32::INFINITY)), WeightType::F32, &[&place]);
    fail(open(&with(last, 70000.0)), WeightType::F16, &["large.weight", "70000"]);

    let mut narrow = weights.clone();
    narrow.insert("large.weight", Tensor::zeros([300, 200]));
    fail(open(&narrow), WeightType::F32, &["large.weight", "[300, 400]", "[300, 200]"]);
    narrow.remove("large.weight");
    fail(open(&narrow), WeightType::F32, &["have no 'large.weight'"]);
}

#[test]
fn answers_do_not_depend_on_the_number_of_threads() {
    for (name, defines) in common::models::REDUCED {
        let graph = common::models::graph(name, defines);
        let weights = weights::random(&graph, 1);
        let inputs = random_inputs(&graph, 2);
        for options in options() {
            let answers: Vec<Vec<Tensor>> = [1, 2, 5]
                .iter()
                .map(|&threads| {
                    run(&graph, &weights, &inputs, &CompileOptions { threads, ..options.clone() })
                })
                .collect();
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{name} with {options:?}");
        }
    }
}

#[test]
fn answers_of_direct_convolution_do_not_depend_on_the_width_of_vectors() {
    for (name, defines) in common::models::REDUCED {
        let graph = common::models::graph(name, defines);
        // Its sums run along the vector, so they are added up in another order.
        if graph.topological_order().iter().any(|&id| matches!(graph.node(id).op, Op::Softmax(_))) {
            continue;
        }
        let weights = weights::random(&graph, 1);
        let inputs = random_inputs(&graph, 2);
        for fuse in [false, true] {
            let answers: Vec<Vec<Tensor>> = options()
                .filter(|options| options.fuse == fuse && !options.winograd)
                .map(|options| run(&graph, &weights, &inputs, &options))
                .collect();
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{name}, fuse {fuse}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, rng_seed: seed(), ..ProptestConfig::default() })]

    #[test]
    fn random_graphs(graph in graphs()) {
        check(&graph, TOLERANCE);
    }
}
