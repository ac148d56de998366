//! Graph to GPU plan.
//!
//! Activations of rank 4 lie channels-last, inputs and outputs as the model has them. What an operator becomes is in
//! [`operators`], convolutions and dense layers in [`products`], their tiles in [`tiles`].

mod estimate;
mod operators;
mod plan;
mod products;
mod rearrange;
mod tiles;
mod weights;

use std::collections::HashMap;

pub use estimate::{Estimate, Roofs};
pub use plan::{Access, Argument, GpuPlan, GpuPort, GpuStepPlan, Memory};
pub use weights::{FilterTiles, GpuPackSource, GpuPackedArray};

use super::concat::Homes;
use super::{ArenaPlan, Lifetime, PackSource, Work};
use crate::codegen::ptx::{Element, Target};
use crate::graph::{Graph, NodeId, NodeSet};
use crate::kernels::View;
use crate::kernels::gpu::gemm::Precision;
use crate::kernels::gpu::{Array, GpuFamily, GpuKernel};
use crate::ops::Op;

/// What a graph is lowered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GpuOptions {
    pub target: Target,
    pub precision: Precision,
}

/// Why a graph could not be lowered for a GPU.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GpuLowerError {
    #[error("{target} has no tensor cores that take {}; {}", precision.name(), precision_hint(*precision))]
    Precision { target: Target, precision: Precision },
    #[error("layer '{layer}' is too large for a GPU: {what}")]
    TooLarge { layer: String, what: String },
    #[error("layer '{layer}' cannot be compiled for a GPU: {reason}")]
    Unsupported { layer: String, reason: String },
}

fn precision_hint(precision: Precision) -> &'static str {
    match precision {
        Precision::Tf32 => "tf32 needs sm_80 or newer",
        Precision::F16 => "f16 needs sm_75 or newer",
        Precision::F32 => "f32 runs everywhere",
    }
}

/// Positions in an array are signed 32-bit numbers.
const MAX_ELEMENTS: usize = (1 << 31) - 1;

/// Lowers a graph for a GPU.
///
/// # Errors
/// Where the target lacks the precision, an array is too large, or an operator has no GPU kernel.
pub fn lower(graph: &Graph, options: GpuOptions) -> Result<GpuPlan, GpuLowerError> {
    let GpuOptions { target, precision } = options;
    let has_precision = match precision {
        Precision::F32 => true,
        Precision::Tf32 => target.has_tf32(),
        Precision::F16 => target.has_f16(),
    };
    if !has_precision {
        return Err(GpuLowerError::Precision { target, precision });
    }
    let constants = graph.weight_expressions();
    let mut lowering = Lowering {
        graph,
        options,
        homes: Homes::of(graph, &constants),
        constants,
        values: HashMap::new(),
        owned: HashMap::new(),
        buffers: Vec::new(),
        kernels: Vec::new(),
        kernel_ids: HashMap::new(),
        steps: Vec::new(),
        packed: Vec::new(),
        packed_ids: HashMap::new(),
        weight_bytes: 0,
        too_large: None,
    };
    for id in graph.topological_order() {
        if !lowering.constants.contains(id) {
            lowering.check_size(id, "a result", graph.shape(id).checked_elements())?;
            lowering.check_padding(id)?;
            operators::lower_node(&mut lowering, id)?;
        }
    }
    lowering.finish()
}

/// Where a value lies.
#[derive(Clone, Debug)]
struct Value {
    array: Array,
    place: Place,
}

/// A block of the arena, or an array of weights, while the plan is being made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Arena {
        buffer: usize,
        /// Bytes from the buffer's begin.
        offset: usize,
    },
    Weights(usize),
}

/// A step whose arguments have no addresses yet.
struct Step {
    kernel: usize,
    /// Places, and how many bytes from there the kernel may reach.
    places: Vec<(Place, usize)>,
    layers: Vec<String>,
    work: Work,
}

/// A lowering under way.
struct Lowering<'a> {
    graph: &'a Graph,
    options: GpuOptions,
    homes: Homes,
    constants: NodeSet,
    values: HashMap<NodeId, Value>,
    /// The buffer of each value that owns one.
    owned: HashMap<NodeId, usize>,
    /// Bytes of each.
    buffers: Vec<usize>,
    kernels: Vec<GpuKernel>,
    kernel_ids: HashMap<String, usize>,
    steps: Vec<Step>,
    packed: Vec<GpuPackedArray>,
    packed_ids: HashMap<GpuPackSource, usize>,
    weight_bytes: usize,
    /// The first launch that no device takes.
    too_large: Option<GpuLowerError>,
}

/// Blocks of a grid along its second and third axis.
const MAX_BLOCKS: usize = 65535;
/// Places of arrays are multiples of this, in bytes.
const ALIGNMENT: usize = 256;
/// The arena planner counts in these.
const ARENA_UNIT: usize = 4;

impl Lowering<'_> {
    fn check_size(&self, id: NodeId, what: &str, elements: Option<usize>) -> Result<(), GpuLowerError> {
        match elements {
            Some(elements) if elements <= MAX_ELEMENTS => Ok(()),
            _ => {
                let what = format!("{what} has more than the {MAX_ELEMENTS} elements that kernels address");
                Err(GpuLowerError::TooLarge { layer: self.graph.node(id).name.clone(), what })
            }
        }
    }

    /// Windows count positions from the begin of the padding.
    fn check_padding(&self, id: NodeId) -> Result<(), GpuLowerError> {
        let window = match &self.graph.node(id).op {
            Op::Conv(conv) => conv.window,
            Op::ConvChain(chain) => chain.stages[0].conv.window,
            Op::Pool(pool) => pool.window,
            _ => return Ok(()),
        };
        let [n, c, h, w] = self.graph.shape(self.graph.operands(id)[0]).dims()[..] else { return Ok(()) };
        let [top, left, bottom, right] = window.padding;
        let extent =
            |before: usize, inner: usize, after: usize| inner.checked_add(before)?.checked_add(after);
        let padded =
            || extent(top, h, bottom)?.checked_mul(extent(left, w, right)?)?.checked_mul(n)?.checked_mul(c);
        self.check_size(id, &format!("its input with padding {:?}", window.padding), padded())
    }

    fn unsupported<T>(&self, id: NodeId, reason: impl Into<String>) -> Result<T, GpuLowerError> {
        let layer = self.graph.node(id).name.clone();
        Err(GpuLowerError::Unsupported { layer, reason: reason.into() })
    }

    /// Adds a launch for the layer `id`. `values` are the kernel's arguments, the last written by it.
    fn step(&mut self, id: NodeId, kernel: GpuKernel, values: &[Value], multiply_adds: u64) {
        let bytes = |of_weights: bool| -> u64 {
            let values = values.iter().filter(|value| matches!(value.place, Place::Weights(_)) == of_weights);
            values.map(|value| (value.array.view.elements() * value.array.element.bytes()) as u64).sum()
        };
        let work = Work { multiply_adds, activation_bytes: bytes(false), weight_bytes: bytes(true) };
        let layers = self.graph.node(id).layers().map(str::to_owned).collect();
        let kernels = &mut self.kernels;
        let kernel = *self.kernel_ids.entry(kernel.name()).or_insert_with(|| {
            kernels.push(kernel);
            kernels.len() - 1
        });
        let reach = |value: &Value| match value.place {
            Place::Weights(id) => self.packed[id].bytes,
            Place::Arena { .. } => value.array.view.end() * value.array.element.bytes(),
        };
        let [x, y, z] = self.kernels[kernel].launch().grid;
        if x > MAX_ELEMENTS || y > MAX_BLOCKS || z > MAX_BLOCKS {
            let what = format!("a grid of {x}×{y}×{z} blocks exceeds the devices' limit");
            self.too_large
                .get_or_insert(GpuLowerError::TooLarge { layer: self.graph.node(id).name.clone(), what });
        }
        let places = values.iter().map(|value| (value.place, reach(value))).collect();
        self.steps.push(Step { kernel, places, layers, work });
    }

    /// An array in the blob of weights.
    fn pack(&mut self, source: GpuPackSource, array: Array) -> Value {
        let (graph, packed, total) = (self.graph, &mut self.packed, &mut self.weight_bytes);
        let id = *self.packed_ids.entry(source).or_insert_with_key(|source| {
            let bytes = source.bytes(graph);
            packed.push(GpuPackedArray { source: source.clone(), offset: *total, bytes });
            *total += bytes.next_multiple_of(ALIGNMENT);
            packed.len() - 1
        });
        Value { array, place: Place::Weights(id) }
    }

    /// A weight as it is.
    fn plain(&mut self, node: NodeId) -> Value {
        let array = Array::f32(View::row_major(self.graph.shape(node)));
        self.pack(GpuPackSource::Common(PackSource::Plain { node }), array)
    }

    /// A new buffer in the arena.
    fn buffer(&mut self, elements: usize, element: Element) -> usize {
        self.buffers.push(elements * element.bytes());
        self.buffers.len() - 1
    }

    /// Where a value lies; weight expressions are brought into the blob.
    fn value(&mut self, id: NodeId) -> Value {
        if self.constants.contains(id) {
            return self.plain(id);
        }
        self.values[&id].clone()
    }

    /// How a value is stored: results as `f32`, images between them as the precision asks for.
    fn element(&self, id: NodeId) -> Element {
        let is_output = self.graph.outputs().iter().any(|output| output.node == id);
        if is_output || self.graph.shape(id).rank() != 4 {
            return Element::F32;
        }
        self.options.precision.element()
    }

    /// The layout of a value that owns its buffer.
    fn layout(&self, id: NodeId) -> View {
        let shape = self.graph.shape(id);
        match shape.nchw() {
            Some((n, c, h, w)) if !self.wants_row_major(id) => View::channels_last([n, c, h, w], [0; 4]),
            _ => View::row_major(shape),
        }
    }

    /// Whether a value's kernel writes any layout and all its readers ask for a row-major one.
    fn wants_row_major(&self, id: NodeId) -> bool {
        let any_layout =
            !matches!(self.graph.node(id).op, Op::Conv(_) | Op::ConvChain(_) | Op::Concat(_) | Op::Input(_));
        let readers = self.graph.consumers(id);
        any_layout && readers.iter().all(|&reader| matches!(self.graph.node(reader).op, Op::Reshape(_)))
    }

    /// Gives a value its place.
    fn allocate(&mut self, id: NodeId) -> Value {
        let (owner, channel) = self.homes.of_value(id);
        let element = self.element(owner);
        let buffer = match self.owned.get(&owner) {
            Some(&buffer) => buffer,
            None => {
                let buffer = self.buffer(self.graph.shape(owner).elements(), element);
                self.owned.insert(owner, buffer);
                buffer
            }
        };
        let mut view = self.layout(owner);
        if owner != id {
            view.dims[1] = self.graph.shape(id).dims()[1];
            view.offset += channel;
        }
        let value = Value { array: Array { view, element }, place: Place::Arena { buffer, offset: 0 } };
        self.values.insert(id, value.clone());
        value
    }

    /// A value between two kernels of one layer.
    fn temporary(&mut self, view: View, element: Element) -> Value {
        let buffer = self.buffer(view.elements(), element);
        Value { array: Array { view, element }, place: Place::Arena { buffer, offset: 0 } }
    }

    fn finish(mut self) -> Result<GpuPlan, GpuLowerError> {
        let graph = self.graph;
        if let Some(error) = self.too_large {
            return Err(error);
        }
        let results: Vec<Value> =
            graph.outputs().iter().map(|output| operators::result(&mut self, output.node)).collect();
        let last = self.steps.len();
        let mut lifetimes: Vec<Lifetime> = self
            .buffers
            .iter()
            .map(|bytes| Lifetime {
                elements: bytes.next_multiple_of(ALIGNMENT) / ARENA_UNIT,
                border: None,
                first: usize::MAX,
                last: 0,
            })
            .collect();
        for (at, step) in self.steps.iter().enumerate() {
            for (place, _) in &step.places {
                if let Place::Arena { buffer, .. } = *place {
                    lifetimes[buffer].first = lifetimes[buffer].first.min(at);
                    lifetimes[buffer].last = lifetimes[buffer].last.max(at);
                }
            }
        }
        let inputs: Vec<Value> = graph.inputs().iter().map(|id| self.values[id].clone()).collect();
        // Inputs stay as they are, so that a captured graph can be replayed; results stay until they are fetched.
        for value in inputs.iter().chain(&results) {
            if let Place::Arena { buffer, .. } = value.place {
                lifetimes[buffer].last = last;
                lifetimes[buffer].first = lifetimes[buffer].first.min(last);
            }
        }
        for value in &inputs {
            if let Place::Arena { buffer, .. } = value.place {
                lifetimes[buffer].first = 0;
            }
        }
        let arena = ArenaPlan::of(&lifetimes);
        let port = |name: &str, id: NodeId, value: &Value| {
            let Place::Arena { buffer, offset } = value.place else { unreachable!("ports lie in the arena") };
            let shape = graph.shape(id).clone();
            let bytes = shape.elements() * Element::F32.bytes();
            let own = value.array.view.offset * Element::F32.bytes();
            GpuPort {
                name: name.to_owned(),
                shape,
                offset: arena.offsets[buffer] * ARENA_UNIT + offset + own,
                bytes,
            }
        };
        let input_ports = graph.inputs().iter().zip(&inputs);
        let output_ports = graph.outputs().iter().zip(&results);
        let arguments = |step: &Step| {
            let last = step.places.len() - 1;
            let argument = |(at, &(place, bytes)): (usize, &(Place, usize))| {
                let (memory, offset) = match place {
                    Place::Arena { buffer, offset } => {
                        (Memory::Arena, arena.offsets[buffer] * ARENA_UNIT + offset)
                    }
                    Place::Weights(id) => (Memory::Weights, self.packed[id].offset),
                };
                Argument {
                    memory,
                    offset,
                    bytes,
                    access: if at == last { Access::Write } else { Access::Read },
                }
            };
            step.places.iter().enumerate().map(argument).collect()
        };
        Ok(GpuPlan {
            target: self.options.target,
            precision: self.options.precision,
            inputs: input_ports.map(|(&id, value)| port(&graph.node(id).name, id, value)).collect(),
            outputs: output_ports.map(|(output, value)| port(&output.name, output.node, value)).collect(),
            steps: self
                .steps
                .iter()
                .map(|step| GpuStepPlan {
                    kernel: step.kernel,
                    arguments: arguments(step),
                    layers: step.layers.clone(),
                    work: step.work,
                })
                .collect(),
            kernels: self.kernels,
            packed: self.packed,
            weight_bytes: self.weight_bytes,
            arena_bytes: arena.elements * ARENA_UNIT,
            arena_bytes_without_reuse: arena.elements_without_reuse * ARENA_UNIT,
        })
    }
}
