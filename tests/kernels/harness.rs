//! Running a kernel family on tensors that are laid out as its views say.

use kiln::codegen::target::InstructionSet;
use kiln::codegen::vector::{Access, Kernel, interpret, verify};
use kiln::kernels::{Family, View};
use kiln::tensor::{Shape, Tensor};

use crate::emitters;

/// The vector widths that emitters have.
pub const LANES: [usize; 3] = [4, 8, 16];

/// What a buffer holds where no view reaches: reading it shows in the result.
const GAP: f32 = f32::NAN;

/// A value in memory that no kernel may touch.
const UNTOUCHED: f32 = -12345.0;

/// Reproducible values in `(-2, 2)`, different for each `seed`.
pub fn random(shape: impl Into<Shape>, seed: u32) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    Tensor::from_fn(shape, |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    })
}

/// Views of one array: row-major, channels innermost, both with a border, and as a slice of wider pixels.
pub fn views(dims: [usize; 4]) -> Vec<View> {
    let [n, c, h, w] = dims;
    let wide = View::channels_last([n, c + 5, h, w], [1, 0, 0, 2]);
    vec![
        View::row_major(&Shape::from(dims)),
        View::channels_last(dims, [0; 4]),
        View::channels_last(dims, [1, 2, 1, 1]),
        View::planar(dims, [0, 1, 1, 0]),
        View { dims: dims.to_vec(), offset: wide.offset + 3, ..wide },
    ]
}

/// The element that a view has at a multi-index.
fn place(view: &View, at: &[usize]) -> usize {
    view.offset + at.iter().zip(&view.strides).map(|(i, stride)| i * stride).sum::<usize>()
}

/// `tensor` in memory as `view` says.
pub fn scatter(tensor: &Tensor, view: &View) -> Vec<f32> {
    assert_eq!(tensor.shape().dims(), view.dims);
    let mut buffer = vec![GAP; view.end()];
    Tensor::from_fn(tensor.shape().clone(), |at| {
        let index = at.iter().zip(tensor.shape().strides()).map(|(i, stride)| i * stride).sum::<usize>();
        buffer[place(view, at)] = tensor.data()[index];
        0.0
    });
    buffer
}

/// Builds the kernel for each vector width, verifies it, and runs it on `inputs` (its read buffers, in order): as
/// interpreted, and as compiled by each emitter that this machine runs. Compares what it writes to `output` with
/// `expected`.
pub fn check(family: &dyn Family, inputs: &[Vec<f32>], output: &View, expected: &Tensor) {
    check_packed(family, |_| inputs.to_vec(), output, expected);
}

/// The same with inputs that depend on the vector width, as packed weights do.
pub fn check_packed(
    family: &dyn Family,
    inputs: impl Fn(usize) -> Vec<Vec<f32>>,
    output: &View,
    expected: &Tensor,
) {
    for lanes in LANES {
        let kernel = family.build(lanes);
        assert_eq!(kernel.name, family.name());
        verify(&kernel).unwrap_or_else(|error| panic!("{error}\n{kernel}"));
        let written: Vec<usize> =
            (0..kernel.buffers.len()).filter(|&id| kernel.buffers[id].access == Access::Write).collect();
        let [written] = written[..] else { panic!("{} writes other than one buffer", kernel.name) };
        let buffers = buffers(&kernel, &inputs(lanes));
        let compare = |how: &str, mut buffers: Vec<Vec<f32>>| {
            let mut result = buffers.swap_remove(written);
            let actual = Tensor::from_fn(expected.shape().clone(), |at| {
                std::mem::replace(&mut result[place(output, at)], UNTOUCHED)
            });
            let outside = result.iter().all(|&value| value == UNTOUCHED);
            assert!(outside, "{}, {how}, {lanes} lanes, writes beside its output\n{kernel}", kernel.name);
            let error = actual.relative_error(expected);
            assert!(error <= 1e-5, "{}, {how}, {lanes} lanes: error {error:e}\n{kernel}", kernel.name);
        };
        let mut interpreted = buffers.clone();
        interpret(&kernel, &mut interpreted);
        compare("interpreted", interpreted);
        let sets = InstructionSet::ALL.into_iter().filter(|set| set.is_available());
        for set in sets.filter(|set| set.lanes() == lanes) {
            let mut compiled = buffers.clone();
            emitters::run(set, &kernel, &mut compiled).unwrap_or_else(|error| panic!("{error}\n{kernel}"));
            compare(set.name(), compiled);
        }
    }
}

/// Memory for a kernel: its inputs, and what it writes as yet untouched.
fn buffers(kernel: &Kernel, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut inputs = inputs.iter();
    let memory = kernel.buffers.iter().map(|buffer| match buffer.access {
        Access::Read => {
            let input = inputs.next().expect("an input for each buffer that is read");
            assert_eq!(input.len(), buffer.elements, "{} reads '{}'", kernel.name, buffer.name);
            input.clone()
        }
        Access::Write => vec![UNTOUCHED; buffer.elements],
        Access::Scratch => vec![GAP; buffer.elements],
    });
    let memory = memory.collect();
    assert_eq!(inputs.next(), None, "{} reads fewer buffers", kernel.name);
    memory
}
