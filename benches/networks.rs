//! Each paper's network, batch 1 on one thread, fused and unfused: `cargo bench --bench networks [FILTER]`.
//!
//! Criterion times one after the other; `kiln bench` interleaves the two and is the fairer comparison on a busy
//! machine. This one is for comparing a change with what was measured before it.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use kiln::weights::{random, random_input};
use kiln::{Model, Options, Tensor};

/// A name, the file in `models/` and what its parameters are set to.
type Network = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const NETWORKS: [Network; 6] = [
    ("AlexNet", "alexnet", &[]),
    ("ResNet-18", "resnet", &[("depth", "18")]),
    ("ResNet-50", "resnet", &[("depth", "50")]),
    ("MobileNetV1 1.0-224", "mobilenet_v1", &[]),
    ("MobileNetV1 0.5-160", "mobilenet_v1", &[("alpha", "0.5"), ("resolution", "160")]),
    ("BN-Inception", "bn_inception", &[]),
];

fn networks(criterion: &mut Criterion) {
    for (name, file, parameters) in NETWORKS {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
        for (variant, fuse) in [("fused", true), ("unfused", false)] {
            group.bench_function(variant, |bencher| {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("models/{file}.kiln"));
                let model = Model::load(path).expect("a shipped model");
                let model = parameters.iter().fold(model, |model, (name, value)| model.define(*name, *value));
                let graph = model.graph().expect("a shipped model");
                let options = Options { fuse, threads: 1, ..Options::default() };
                let mut executable =
                    model.compile(random(&graph, 0), &options).expect("a shipped model compiles");
                executable.settle();
                let inputs: Vec<Tensor> = executable
                    .inputs()
                    .iter()
                    .map(|input| random_input(&input.name, &input.shape, 0))
                    .collect();
                bencher.iter(|| executable.run(black_box(&inputs)).expect("the inputs fit"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, networks);
criterion_main!(benches);
