//! Choices that tuning makes: whatever they are, the answer stays right, and the same for any number of threads.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::models::graph;
use kiln::Model;
use kiln::codegen::target::InstructionSet;
use kiln::graph::Graph;
use kiln::interpreter;
use kiln::lower::{self, Choice, Tuning};
use kiln::runtime::{CompileOptions, Isa, compile};
use kiln::tensor::Tensor;
use kiln::tune::tune;
use kiln::weights::{self, random_inputs};

/// The candidates of every problem of a graph.
fn candidates(graph: &Graph, options: &CompileOptions) -> BTreeMap<String, Vec<Choice>> {
    let compiled = compile(graph, options).expect("the graph compiles");
    let plan = compiled.plan();
    let of = |spec| Some((lower::problem(spec)?, lower::candidates(spec, options.lowering(plan.target))));
    plan.kernels.iter().filter_map(of).collect()
}

fn answer(graph: &Graph, options: &CompileOptions) -> Vec<Tensor> {
    let weights = weights::random(graph, 1);
    let compiled = compile(graph, options).unwrap_or_else(|error| panic!("{error}, {options:?}"));
    let mut executable = compiled.bind(&weights).expect("the weights fit");
    executable.run(&random_inputs(graph, 2)).expect("the inputs fit")
}

/// Every candidate takes part in a compilation that gives the interpreter's answer.
fn check(graph: &Graph) {
    let reference =
        interpreter::evaluate(graph, &weights::random(graph, 1), &random_inputs(graph, 2)).unwrap();
    for isa in InstructionSet::ALL.into_iter().filter(|isa| isa.is_available()) {
        let untuned = CompileOptions { isa: Isa::Exactly(isa), threads: 1, ..CompileOptions::default() };
        let candidates = candidates(graph, &untuned);
        let rounds = candidates.values().map(Vec::len).max().unwrap_or(0);
        assert!(rounds > 3, "there is something to choose");
        for round in 0..rounds {
            let nth = |(name, choices): (&String, &Vec<Choice>)| Some((name.clone(), *choices.get(round)?));
            let tuning = Arc::new(Tuning(candidates.iter().filter_map(nth).collect()));
            let options = CompileOptions { tuning, ..untuned.clone() };
            let ours = answer(graph, &options);
            for (ours, reference) in ours.iter().zip(&reference) {
                let error = ours.relative_error(reference);
                assert!(error <= 1e-4, "{error:e} for {isa} with {:?}", options.tuning);
            }
            assert_eq!(ours, answer(graph, &CompileOptions { threads: 3, ..options.clone() }), "{isa}");
        }
    }
}

#[test]
fn every_candidate_gives_the_right_answer() {
    check(&graph("digits", &[]));
    check(&graph("mobilenet_v1", &[("alpha", "0.25"), ("resolution", "64")]));
    let grouped = "model grouped() {
      input image: f32[2, 24, 17, 13]
      x = image -> conv(48, 3, padding = 1, groups = 3) -> relu -> conv(32, 3, padding = 1)
      output y = x -> depthwise_conv(5, stride = 2, padding = 2) -> global_avg_pool -> flatten -> dense(300)
    }";
    check(&Model::parse(grouped).unwrap().graph().unwrap());
}

/// What a candidate says is what is compiled, and lowering twice gives the same plan.
#[test]
fn choices_are_made_as_they_are_given() {
    let graph = graph("mobilenet_v1", &[("alpha", "0.25"), ("resolution", "64")]);
    let untuned = CompileOptions { threads: 1, ..CompileOptions::default() };
    let mut made = 0;
    for (name, choices) in candidates(&graph, &untuned) {
        for choice in choices {
            let tuning = Arc::new(Tuning([(name.clone(), choice)].into()));
            let options = CompileOptions { tuning, ..untuned.clone() };
            let names = || -> Vec<String> {
                let compiled = compile(&graph, &options).unwrap();
                compiled.plan().kernels.iter().map(kiln::kernels::Family::name).collect()
            };
            assert_eq!(names(), names());
            let compiled = compile(&graph, &options).unwrap();
            let kernels = compiled.plan().kernels.iter();
            let ours: Vec<Option<Choice>> = kernels
                .filter(|spec| lower::problem(spec).as_ref() == Some(&name))
                .map(lower::choice)
                .collect();
            if choice == Choice::Separate {
                assert!(ours.is_empty(), "{name} is still one kernel");
            } else {
                assert!(
                    !ours.is_empty() && ours.iter().all(|made| *made == Some(choice)),
                    "{name}: {ours:?}"
                );
            }
            made += 1;
        }
        if made > 60 {
            break;
        }
    }
    assert!(made > 20);
}

/// The report is of the model's problems, and what it calls better was measured as better.
#[test]
fn tuning_reports_each_problem() {
    let graph = graph("digits", &[]);
    let weights = weights::random(&graph, 0);
    let options = CompileOptions { threads: 1, ..CompileOptions::default() };
    let mut progress = Vec::new();
    let time = Duration::from_millis(200);
    let report =
        tune(&graph, &weights, &random_inputs(&graph, 0), &options, time, |done| progress.push(done))
            .unwrap();
    let names: Vec<&str> = report.problems.iter().map(|problem| problem.name.as_str()).collect();
    let expected = candidates(&graph, &options);
    assert_eq!(names.len(), expected.len(), "{names:?}");
    assert!(names.iter().all(|name| expected.contains_key(*name)), "{names:?}");
    for problem in &report.problems {
        assert!(problem.before > 0.0 && problem.after > 0.0 && problem.launches > 0, "{problem:?}");
        assert_ne!(problem.new, Some(problem.old));
    }
    assert!(progress.is_sorted() && progress.iter().all(|done| (0.0..=1.0).contains(done)), "{progress:?}");
}
