use super::cause::rewrite_or_kernel;
use super::*;
use crate::Model;
use crate::weights::{random, random_input};

const MODEL: &str = "model m() {
  input image: f32[1, 3, 12, 12]
  x = image -> conv(8, 3, padding = 1, bias = false) as conv1 -> batch_norm as bn1 -> relu as relu1
  y = x -> conv(8, 3, padding = 1, bias = false) as conv2 -> batch_norm as bn2
  z = x + y -> relu as relu2
  output scores = concat(z, x) as both -> global_avg_pool as pool -> flatten as flat -> dense(4) as fc
}";

fn check(options: &CompileOptions, body: impl Fn(&Recording, &Graph)) {
    let graph = Model::parse(MODEL).unwrap().graph().unwrap();
    let weights = random(&graph, 1);
    let inputs = [random_input("image", &[1, 3, 12, 12].into(), 1)];
    body(&Recording::new(&graph, &weights, &inputs, options).unwrap(), &graph);
}

#[test]
fn compiled_code_agrees_with_every_reference_in_every_layer() {
    for fuse in [true, false] {
        let options = CompileOptions { fuse, ..CompileOptions::default() };
        check(&options, |recording, graph| {
            let layers = activations(graph).count();
            assert_eq!(recording.values().len(), layers);
            for reference in [Reference::Interpreter, Reference::Unfused] {
                let comparison = recording.compare(&reference, 1e-5).unwrap();
                assert_eq!((comparison.differing, comparison.first), (0, None));
                assert!(comparison.values >= layers - 2, "{} of {layers}", comparison.values);
            }
        });
    }
}

#[test]
fn observed_values_are_those_of_the_interpreter() {
    check(&CompileOptions::default(), |recording, graph| {
        let trace = recording.interpret().unwrap();
        let stored: Vec<&LayerValue> = recording.values().iter().filter(|value| value.stored).collect();
        let names: Vec<&str> = stored.iter().map(|value| value.layer.as_str()).collect();
        for name in ["image", "relu1", "relu2", "both", "pool", "fc"] {
            assert!(names.contains(&name), "'{name}' is not among {names:?}");
        }
        for LayerValue { layer, value, .. } in stored {
            let error = value.relative_error(trace.get(graph.find(layer).unwrap()).unwrap());
            assert!(error <= 1e-5, "{layer}: {error:e}");
        }
    });
}

#[test]
fn an_altered_reference_points_to_its_layer_wherever_that_lies() {
    check(&CompileOptions::default(), |recording, graph| {
        for id in activations(graph) {
            let layer = &graph.node(id).name;
            let mut given: HashMap<String, Tensor> =
                recording.values().iter().map(|value| (value.layer.clone(), value.value.clone())).collect();
            let altered = given.get_mut(layer).unwrap().data_mut();
            let at = altered.len() / 2;
            altered[at] += 10.0;
            let comparison = recording.compare(&Reference::Given(given), 1e-4).unwrap();
            assert_eq!(comparison.differing, 1);
            let first = comparison.first.expect("it differs");
            assert_eq!(first.layer, *layer);
            assert_eq!(first.cause, Cause::Reference);
            assert!((first.expected - first.found - 10.0).abs() < 1e-3);
        }
    });
}

#[test]
fn a_difference_names_its_kernel_and_its_rewrites() {
    check(&CompileOptions::default(), |recording, _| {
        let mut wrong = recording.values()[3].clone();
        assert_eq!(wrong.layer, "relu1");
        wrong.value.data_mut()[0] += 1.0;
        let given = Reference::Given([(wrong.layer, wrong.value)].into());
        let first = recording.compare(&given, 1e-4).unwrap().first.expect("it differs");
        assert_eq!(first.kernel_layers, ["conv1", "bn1", "relu1"]);
        assert!(first.kernels.iter().all(|kernel| kernel.contains("_ic3ih12")), "{:?}", first.kernels);
        assert!(!first.kernels.is_empty());
        let passes: Vec<&str> = first.rewrites.iter().map(|rewrite| rewrite.pass).collect();
        assert_eq!(passes, ["fold_batch_norm", "fuse_activation"]);
        assert_eq!(first.element, [0, 0, 0, 0]);
    });
}

#[test]
fn the_first_wrong_rewrite_is_found_by_halves() {
    let rewrites: Vec<Rewrite> = [2, 3, 7, 9, 12]
        .map(|number| Rewrite { number, pass: "some_pass", layers: vec!["x".to_owned()] })
        .into();
    for culprit in &rewrites {
        let cause = rewrite_or_kernel(&rewrites, |number| Ok(number >= culprit.number)).unwrap();
        assert_eq!(cause, Cause::Rewrite(culprit.clone()));
    }
    assert_eq!(rewrite_or_kernel(&rewrites, |_| Ok(false)).unwrap(), Cause::Kernel);
    assert_eq!(rewrite_or_kernel(&[], |_| Ok(true)).unwrap(), Cause::Kernel);
}
