//! Whole shipped models at reduced resolution, each in every precision.

use std::fs;

use half::f16;
use kiln::codegen::ptx::Target;
use kiln::graph::Graph;
use kiln::kernels::gpu::gemm::Precision;
use kiln::tensor::Tensor;
use kiln::weights::{self, Weights};
use kiln::{Model, interpreter};

use super::{disagreements, options, report, tolerance};
use kiln::weights::random_inputs;

/// A model file, what is defined in it, and what is replaced in its text: some fix their images' extents.
type Reduced = (&'static str, &'static [(&'static str, &'static str)], Option<(&'static str, &'static str)>);

const MODELS: &[Reduced] = &[
    ("age_net", &[], Some(("227, 227", "67, 67"))),
    ("alexnet", &[], Some(("227, 227", "67, 67"))),
    ("alexnet_torchvision", &[], Some(("224, 224", "63, 63"))),
    ("bn_inception", &[("resolution", "64")], None),
    ("digits", &[("batch", "3")], None),
    ("mobilenet_v1", &[("resolution", "64")], None),
    ("mobilenet_v1", &[("alpha", "0.25"), ("resolution", "96"), ("batch", "2")], None),
    ("mobilenet_v2", &[("resolution", "64")], None),
    ("resnet", &[("depth", "18"), ("resolution", "64")], None),
    ("resnet", &[("depth", "34"), ("resolution", "32")], None),
    ("resnet", &[("depth", "50"), ("resolution", "64")], None),
    ("resnet", &[("depth", "101"), ("resolution", "32")], None),
    ("resnet", &[("depth", "152"), ("resolution", "32")], None),
];

/// More nodes than ResNet-50 has.
const DEEP: usize = 300;

/// Models whose random weights amplify rounding: MobileNetV2's linear bottlenecks pass it on undamped.
const AMPLIFYING: &[&str] = &["mobilenet_v2"];

fn graph((name, defines, replaced): Reduced) -> Graph {
    let path = format!("{}/models/{name}.kiln", env!("CARGO_MANIFEST_DIR"));
    let mut text = fs::read_to_string(path).expect("the model is there");
    if let Some((from, to)) = replaced {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    let model = Model::parse(&text).expect("the model parses");
    let model = defines.iter().fold(model, |model, (key, value)| model.define(*key, value));
    model.graph().expect("the model elaborates")
}

/// The reference interpreter's own error when nothing but the weights is rounded to the precision.
fn error_of_rounded_weights(graph: &Graph, inputs: &[Tensor], precision: Precision) -> f64 {
    let weights = weights::random(graph, 1);
    let round = |value: f32| match precision {
        Precision::F32 => value,
        Precision::Tf32 => f32::from_bits(value.to_bits().wrapping_add(0x1000) & !0x1fff),
        Precision::F16 => f16::from_f32(value).to_f32(),
    };
    let mut rounded = Weights::default();
    for (name, values) in weights.iter() {
        let data = values.data().iter().map(|&value| round(value)).collect();
        rounded.insert(name, Tensor::new(values.shape().clone(), data));
    }
    let evaluate = |weights| interpreter::evaluate(graph, weights, inputs).expect("the graph evaluates");
    let (reference, outputs) = (evaluate(&weights), evaluate(&rounded));
    outputs.iter().zip(&reference).map(|(a, b)| a.relative_error(b)).fold(0.0, f64::max)
}

#[test]
fn shipped_models_at_reduced_resolution() {
    let ways = [
        options(Target::Sm70, Precision::F32, true),
        options(Target::Sm80, Precision::Tf32, true),
        options(Target::Sm90, Precision::F16, true),
        options(Target::Sm89, Precision::F32, false),
        options(Target::Sm86, Precision::Tf32, false),
        options(Target::Sm75, Precision::F16, false),
    ];
    let mut problems = Vec::new();
    for (index, &model) in MODELS.iter().enumerate() {
        let graph = graph(model);
        let inputs = random_inputs(&graph, 2);
        // The deepest networks have ResNet-50's kernels, so what is new in them is the plan.
        let count = if graph.len() > DEEP { 1 } else { 3 };
        let chosen: Vec<_> = ways.iter().cycle().skip(count * index).take(count).cloned().collect();
        let tolerance = |precision| {
            if AMPLIFYING.contains(&model.0) && precision != Precision::F32 {
                // Rounded values between the layers err about as much again as rounded weights.
                (2.0 * error_of_rounded_weights(&graph, &inputs, precision)).max(tolerance(precision))
            } else {
                tolerance(precision)
            }
        };
        let found = disagreements(&graph, &inputs, &chosen, tolerance);
        problems.extend(found.into_iter().map(|found| format!("{model:?}: {found}")));
    }
    report(&problems);
}
