//! The ONNX project's own backend tests: every test that `tests/onnx/tests.txt` names passes, interpreted and
//! compiled for each instruction set of this CPU, as imported and after all rewrites, within the suite's tolerances.
//!
//! `tests/onnx/fetch` gets the suite; `cargo test --release --test onnx_conformance` then runs it, or those tests alone
//! whose names contain the arguments. The tests of `tests/onnx/skipped.txt` must fail, each for the reason given there.

use std::collections::BTreeMap;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln::codegen::target::InstructionSet;
use kiln::import::onnx::{Bindings, Imported, Known, Network, PortValue, read_tensor};
use kiln::interpreter::evaluate;
use kiln::runtime::{Isa, compile};
use kiln::{Options, Tensor, passes};

/// Those of the suite's runner.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let suite = root.join("target/onnx-backend-tests");
    if !suite.join("complete").exists() {
        eprintln!("the ONNX backend tests are not in '{}'; run tests/onnx/fetch", suite.display());
        return ExitCode::FAILURE;
    }
    let read =
        |name: &str| fs::read_to_string(root.join("tests/onnx").join(name)).expect("it is in the repository");
    let skipped = read("skipped.txt");
    let skipped: BTreeMap<&str, &str> =
        skipped.lines().map(|line| line.split_once(": ").expect("a test and the reason")).collect();
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    // Panics are reported as failures of their test.
    panic::set_hook(Box::new(|_| {}));
    let (mut passed, mut failed, mut left_out) = (0, Vec::new(), 0);
    let tests = read("tests.txt");
    for name in tests.lines() {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part)) {
            continue;
        }
        let result = panic::catch_unwind(|| run(&suite.join(name))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(format!(
                "panicked: {}",
                text.or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
            ))
        });
        match (result, skipped.get(name)) {
            (Ok(()), None) => passed += 1,
            (Err(_), Some(reason)) => {
                left_out += 1;
                println!("skipped {name}: {reason}");
            }
            (Ok(()), Some(_)) => failed.push(format!("{name}: it passes, but is in skipped.txt")),
            (Err(problem), None) => failed.push(format!("{name}: {problem}")),
        }
    }
    for line in &failed {
        println!("FAILED {line}");
    }
    println!("{passed} passed, {left_out} skipped, {} failed", failed.len());
    let unknown = skipped.keys().any(|name| !tests.lines().any(|test| test == *name));
    if failed.is_empty() && !unknown && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a test on all of its data sets.
fn run(folder: &Path) -> Result<(), String> {
    let network = Network::load(folder.join("model.onnx")).map_err(|error| error.to_string())?;
    for number in 0.. {
        let set = folder.join(format!("test_data_set_{number}"));
        if !set.is_dir() {
            return if number == 0 { Err("there are no data".to_owned()) } else { Ok(()) };
        }
        let (inputs, expected) = (arrays(&set, "input")?, arrays(&set, "output")?);
        check(&network, inputs, &expected)?;
    }
    Ok(())
}

fn arrays(set: &Path, kind: &str) -> Result<Vec<Known>, String> {
    let file = |number: usize| -> PathBuf { set.join(format!("{kind}_{number}.pb")) };
    let files = (0..).map(file).take_while(|file| file.exists());
    files.map(|file| read_tensor(&file).map_err(|error| error.to_string())).collect()
}

/// One answer, however it was computed.
struct Answer {
    way: String,
    outputs: Vec<Tensor>,
}

fn check(network: &Network, inputs: Vec<Known>, expected: &[Known]) -> Result<(), String> {
    let mut given: BTreeMap<String, Known> = network.inputs().map(str::to_owned).zip(inputs).collect();
    // What are no numbers to compute with is bound: shapes, axes, starts, and what else must be known.
    let mut bindings = Bindings::default();
    let integers = given.iter().filter(|(_, value)| matches!(value, Known::Int(_)));
    let mut bound: Vec<String> = integers.map(|(name, _)| name.clone()).collect();
    loop {
        for name in bound.drain(..) {
            bindings.define(&name, given.remove(&name).ok_or(format!("there is no input '{name}'"))?);
        }
        bound = network.unbound(&bindings);
        if bound.is_empty() {
            break;
        }
    }
    let imported = network.import(&bindings).map_err(|error| error.to_string())?;
    let inputs: Vec<Tensor> = imported
        .inputs
        .iter()
        .filter(|port| port.value != PortValue::Empty)
        .map(|port| given[&port.name].to_tensor().as_ref().clone())
        .collect();
    for Answer { way, outputs } in answers(&imported, &inputs)? {
        compare(&imported, &outputs, expected).map_err(|problem| format!("{way}: {problem}"))?;
    }
    Ok(())
}

fn answers(imported: &Imported, inputs: &[Tensor]) -> Result<Vec<Answer>, String> {
    let Imported { graph, weights, .. } = imported;
    if graph.outputs().is_empty() {
        // No output has any elements: the shapes are the answer.
        return Ok(vec![Answer { way: "imported".to_owned(), outputs: Vec::new() }]);
    }
    let interpret = |graph| evaluate(graph, weights, inputs).map_err(|error| error.to_string());
    let mut answers = vec![Answer { way: "interpreted".to_owned(), outputs: interpret(graph)? }];
    let (fused, _) =
        passes::run(graph.clone(), &passes::Options::default()).map_err(|error| error.to_string())?;
    answers.push(Answer { way: "interpreted after all rewrites".to_owned(), outputs: interpret(&fused)? });
    let sets = InstructionSet::ALL.into_iter().filter(|set| set.is_available());
    for (set, fuse) in sets.flat_map(|set| [(set, true), (set, false)]) {
        let way = format!("compiled for {set} with{} fusion", if fuse { "" } else { "out" });
        let options = Options { fuse, isa: Isa::Exactly(set), threads: 1, ..Options::default() };
        let compiled = compile(graph, &options);
        let mut executable = compiled
            .map_err(kiln::Error::from)
            .and_then(|compiled| compiled.bind(weights))
            .map_err(|e| format!("{way}: {e}"))?;
        let outputs = executable.run(inputs).map_err(|error| format!("{way}: {error}"))?;
        answers.push(Answer { way, outputs });
    }
    Ok(answers)
}

fn compare(imported: &Imported, outputs: &[Tensor], expected: &[Known]) -> Result<(), String> {
    if imported.outputs.len() != expected.len() {
        return Err(format!("{} outputs, expected {}", imported.outputs.len(), expected.len()));
    }
    for (port, wanted) in imported.outputs.iter().zip(expected) {
        if port.shape != *wanted.shape() {
            return Err(format!("'{}' is {}, expected {}", port.name, port.shape, wanted.shape()));
        }
        let PortValue::Graph(position) = port.value else { continue };
        let found = &outputs[position];
        let wanted = wanted.to_tensor();
        for (at, (&found, &wanted)) in found.data().iter().zip(wanted.data()).enumerate() {
            let (found, wanted) = (f64::from(found), f64::from(wanted));
            let same = found == wanted || found.is_nan() && wanted.is_nan();
            let near = (found - wanted).abs() <= ABSOLUTE + RELATIVE * wanted.abs();
            if !(same || near) {
                return Err(format!("'{}'[{at}] is {found}, expected {wanted}", port.name));
            }
        }
    }
    Ok(())
}
