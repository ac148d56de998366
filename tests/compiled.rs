//! Compiled kernels against the reference interpreter, one small graph at a time.

use kiln::codegen::target::InstructionSet;
use kiln::graph::Graph;
use kiln::interpreter;
use kiln::ops::Op;
use kiln::runtime::{CompileOptions, Isa, compile};
use kiln::tensor::Tensor;
use kiln::weights::Weights;

/// Values that look random and are the same on every run.
fn noise(seed: usize, at: usize) -> f32 {
    let x = (seed.wrapping_mul(0x9e37_79b9) ^ at).wrapping_mul(0x85eb_ca6b) & 0xff_ffff;
    x as f32 / (1 << 23) as f32 - 1.0
}

fn random(shape: &kiln::tensor::Shape, seed: usize) -> Tensor {
    let mut at = 0;
    Tensor::from_fn(shape.clone(), |_| {
        at += 1;
        noise(seed, at)
    })
}

fn check(text: &str) {
    let graph: Graph = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut weights = Weights::default();
    let mut inputs = Vec::new();
    for (seed, id) in graph.topological_order().into_iter().enumerate() {
        match &graph.node(id).op {
            Op::Parameter(parameter) => {
                let mut value = random(&parameter.shape, seed);
                if parameter.key.ends_with("var") {
                    value.data_mut().iter_mut().for_each(|v| *v = v.abs() + 0.5);
                }
                weights.insert(parameter.key.clone(), value);
            }
            Op::Input(input) => inputs.push(random(&input.shape, seed)),
            _ => {}
        }
    }
    let reference = interpreter::evaluate(&graph, &weights, &inputs).expect("the graph evaluates");
    for set in InstructionSet::ALL.into_iter().filter(|set| set.is_available()) {
        for fuse in [false, true] {
            let mut first: Option<Vec<Tensor>> = None;
            for threads in [1, 3] {
                let options =
                    CompileOptions { fuse, threads, isa: Isa::Exactly(set), ..CompileOptions::default() };
                let mut executable =
                    compile(&graph, &options).expect("compiles").bind(&weights).expect("binds");
                let _ = executable.run(&inputs).expect("runs");
                let outputs = executable.run(&inputs).expect("runs");
                for (output, reference) in outputs.iter().zip(&reference) {
                    let error = output.relative_error(reference);
                    assert!(
                        error < 1e-5,
                        "error {error:e} on {set}, fuse {fuse}, {threads} threads:\n{text}"
                    );
                }
                if let Some(first) = &first {
                    assert!(
                        *first == outputs,
                        "bits depend on the thread count on {set}, fuse {fuse}:\n{text}"
                    );
                }
                first = Some(outputs);
            }
        }
    }
}

#[test]
fn convolutions() {
    for (x, o, i, k, attributes, y) in [
        ([1, 3, 9, 7], 16, 3, 3, "padding=[1,1,1,1]", ""),
        ([1, 8, 9, 7], 20, 8, 3, "padding=[1,1,1,1], stride=[2,2]", ""),
        ([2, 17, 14, 14], 33, 17, 1, "", ""),
        ([1, 64, 7, 7], 48, 64, 1, "stride=[2,2]", ""),
        ([1, 8, 12, 12], 16, 4, 3, "groups=2, padding=[1,1,1,1]", ""),
        ([2, 12, 10, 10], 12, 1, 3, "groups=12, padding=[1,1,1,1]", ""),
        ([1, 21, 9, 11], 21, 1, 3, "groups=21, stride=[2,2], padding=[0,0,1,1]", ""),
        ([1, 5, 13, 13], 7, 5, 3, "dilation=[2,2], padding=[2,2,2,2]", ""),
        ([1, 3, 23, 23], 10, 3, 11, "stride=[4,4]", ""),
    ] {
        let [n, c, h, w] = x;
        check(&format!(
            r#"model "g"
%x = input : [{n}, {c}, {h}, {w}]
%w = parameter : [{o}, {i}, {k}, {k}]
%b = parameter : [{o}]
%y = conv(%x, %w, %b) {{{attributes}}}
%z = relu(%y)
output "y" = %z{y}
"#
        ));
    }
}
