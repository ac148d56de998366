//! A kernel by itself: on random data, beside the reference interpreter's answer, timed.
//!
//! From a [`KernelSpec`] comes the graph of the layer that it computes; that is drawn random arrays, which lie in the
//! kernel's buffers in the layouts that its views say, weights packed.

mod layer;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use half::f16;

use crate::Error;
use crate::codegen::target::InstructionSet;
use crate::codegen::vector;
use crate::graph::NodeId;
use crate::interpreter;
use crate::kernels::packed::WeightType;
use crate::kernels::{Family, KernelSpec, View};
use crate::ops::Op;
use crate::runtime::KernelRunner;
use crate::tensor::{Shape, Tensor};
use crate::weights::{self, Weights, random_input};

use layer::{Buffer, Layer};

/// A compiled kernel whose buffers hold data.
pub struct Trial {
    layer: Layer,
    runner: KernelRunner,
    weights: Weights,
    /// What the interpreter reads: the very elements that lie in the kernel's buffers.
    inputs: Vec<Tensor>,
}

/// The fewest measurements that a median is taken over.
const FEWEST: usize = 11;

/// How long one measurement should take at least, so that the clock does not count.
const MEASUREMENT: f64 = 1e-3;

impl Trial {
    /// Compiles a kernel and draws its data.
    ///
    /// # Errors
    /// Where the kernel cannot be compiled for `isa`, or does not fit its own arrays.
    pub fn new(spec: &KernelSpec, isa: InstructionSet, threads: usize) -> Result<Self, Error> {
        let lanes = isa.lanes();
        let refuse = |problem| Error::input(format!("'{}' cannot be run alone: {problem}", spec.name()));
        let layer = Layer::of(spec, lanes).map_err(refuse)?;
        let kernel = spec.build(lanes);
        // What a name says of layouts and padding need not go together.
        vector::verify(&kernel).map_err(|error| refuse(error.problem))?;
        let mut runner = KernelRunner::new(kernel, isa, threads)?;
        assert_eq!(layer.buffers.len(), runner.kernel().buffers.len(), "{}", spec.name());
        let weights = stored(weights::random(&layer.graph, 0), spec);
        let packed: Vec<NodeId> = layer.sources().flat_map(|source| source.nodes()).collect();
        let values = interpreter::evaluate_constants(&layer.graph, &weights, &packed)?;
        let values: HashMap<NodeId, Arc<Tensor>> = packed.into_iter().zip(values).collect();
        let mut inputs: HashMap<NodeId, Tensor> = HashMap::new();
        for (position, buffer) in layer.buffers.iter().enumerate() {
            let target = runner.buffer(position);
            match buffer {
                Buffer::Packed(source) => source.pack(&values, target),
                Buffer::Input(id, view) => {
                    let name = &layer.graph.node(*id).name;
                    let mut values = random_input(name, layer.graph.shape(*id), 0);
                    if layer.positive {
                        values.data_mut().iter_mut().for_each(|value| *value = value.abs() + 0.25);
                    }
                    scatter(&values, view, target);
                    inputs.insert(*id, gather(view, target));
                }
                Buffer::Output(_) | Buffer::Scratch => {}
            }
        }
        let take = |id: &NodeId| inputs.remove(id).expect("every input lies in a buffer");
        let inputs = layer.graph.inputs().iter().map(take).collect();
        Ok(Trial { layer, runner, weights, inputs })
    }

    /// max|out − reference| / max|reference| of one run.
    ///
    /// # Errors
    /// Where the interpreter refuses the layer.
    pub fn error(&mut self) -> Result<f64, Error> {
        self.runner.run();
        let reference = interpreter::evaluate(&self.layer.graph, &self.weights, &self.inputs)?;
        let output = self.layer.buffers.iter().enumerate().find_map(|(position, buffer)| match buffer {
            Buffer::Output(view) => Some((position, view)),
            _ => None,
        });
        let (position, view) = output.expect("a kernel writes an array");
        let ours = gather(view, self.runner.buffer(position));
        Ok(ours.relative_error(&reference[0]))
    }

    /// The median seconds of a run over about `time`, and how many runs there were.
    pub fn time(&mut self, time: Duration) -> (f64, usize) {
        let once = self.runner.time(1);
        let times = ((MEASUREMENT / once.max(1e-9)) as usize).clamp(1, 1024);
        let start = Instant::now();
        let mut measured = Vec::new();
        while measured.len() < FEWEST || start.elapsed() < time {
            measured.push(self.runner.time(times));
        }
        measured.sort_by(f64::total_cmp);
        (measured[measured.len() / 2], measured.len() * times)
    }

    /// Bytes of activations that a run reads and writes, and bytes of weights that it reads.
    pub fn bytes(&self) -> (u64, u64) {
        let is_activation = |buffer: &Buffer| match buffer {
            Buffer::Input(id, view) => {
                matches!(self.layer.graph.node(*id).op, Op::Input(_)).then_some(view.elements())
            }
            Buffer::Output(view) => Some(view.elements()),
            Buffer::Packed(_) | Buffer::Scratch => None,
        };
        let activations: usize = self.layer.buffers.iter().filter_map(is_activation).sum();
        let weights: usize = self.layer.sources().map(|source| source.elements(&self.layer.graph)).sum();
        (4 * activations as u64, 4 * weights as u64)
    }
}

/// Weights as the kernel stores them: what storing them changes is not the kernel's error.
fn stored(weights: Weights, spec: &KernelSpec) -> Weights {
    let halves = matches!(spec, KernelSpec::Conv(kernel) if kernel.weight_type == WeightType::F16);
    let mut stored = Weights::default();
    for (key, values) in weights.iter() {
        let mut values = values.as_ref().clone();
        if halves && key == layer::WEIGHT {
            values.data_mut().iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
        }
        stored.insert(key, values);
    }
    stored
}

/// Calls `visit` with the place of each element, in row-major order.
fn places(view: &View, mut visit: impl FnMut(usize)) {
    let rank = view.dims.len();
    let mut at = vec![0; rank];
    let mut place = view.offset;
    for _ in 0..view.elements() {
        visit(place);
        for axis in (0..rank).rev() {
            at[axis] += 1;
            place += view.strides[axis];
            if at[axis] < view.dims[axis] {
                break;
            }
            place -= at[axis] * view.strides[axis];
            at[axis] = 0;
        }
    }
}

/// Writes a tensor where a view says.
fn scatter(tensor: &Tensor, view: &View, buffer: &mut [f32]) {
    let mut values = tensor.data().iter();
    places(view, |place| buffer[place] = *values.next().expect("as many as the view has"));
}

/// Reads a tensor where a view says.
fn gather(view: &View, buffer: &[f32]) -> Tensor {
    let mut data = Vec::with_capacity(view.elements());
    places(view, |place| data.push(buffer[place]));
    Tensor::new(Shape::new(view.dims.clone()), data)
}
