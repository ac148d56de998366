//! Graph to plan: layouts, algorithms, tiles, packed weights, arena.
//!
//! A [`Plan`] is the list of kernel launches that computes a graph, with every array's place in memory decided. It
//! names weights by the graph's nodes and holds no trained value, so plans are made without weights.

mod arena;
mod balancing;
mod candidates;
mod concat;
mod convolutions;
mod crossed;
pub mod gpu;
mod layout;
mod operators;
pub(crate) mod packing;
mod polyphase;
mod rearrange;
mod run_time_weights;
mod sharing;
mod tiles;
mod tuning;
mod views;
mod weights;
mod windows;
mod winograd;

use std::collections::HashMap;

use serde::Serialize;

pub use arena::{ArenaPlan, Lifetime};
pub use candidates::candidates;
pub use tuning::{Choice, Tuning, choice, problem};
pub use weights::{PackSource, PackedArray};

use crate::codegen::target::{Cpu, InstructionSet};
use crate::graph::{Graph, NodeId};
use crate::kernels::crossed::Crossing;
use crate::kernels::packed::WeightType;
use crate::kernels::view::CACHE_LINE;
use crate::kernels::{Family, KernelSpec, View};
use crate::tensor::Shape;

/// Everything needed to run a graph but the values of its weights.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: InstructionSet,
    /// The distinct kernels.
    pub kernels: Vec<KernelSpec>,
    /// The launches, in order.
    pub steps: Vec<Step>,
    /// Arrays in the weights' memory.
    pub packed: Vec<PackedArray>,
    /// Elements of the weights' memory.
    pub weight_elements: usize,
    pub arena: ArenaPlan,
    /// Elements of scratch memory that each thread needs.
    pub scratch_elements: usize,
    /// The graph's inputs, in order.
    pub inputs: Vec<NodeId>,
    /// The graph's outputs, in order.
    pub outputs: Vec<NodeId>,
    /// The graph's activations, in the order in which they are computed.
    pub values: Vec<PlacedValue>,
}

/// Where an activation lies while its readers may read it.
#[derive(Clone, Debug)]
pub struct PlacedValue {
    pub node: NodeId,
    pub view: View,
    pub binding: Binding,
    /// How many steps have run when it is complete.
    pub after: usize,
}

/// A kernel launch.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which of [`Plan::kernels`].
    pub kernel: usize,
    /// What each of the kernel's buffers is, in order.
    pub bindings: Vec<Binding>,
    /// The layers it computes, by name.
    pub layers: Vec<String>,
    pub work: Work,
    /// What it sets to zero in the arena, around what it is the first to write.
    pub borders: Vec<Border>,
}

/// The border of a buffer.
#[derive(Clone, Debug)]
pub struct Border {
    /// The interior.
    pub view: View,
    /// The buffer's first element in the arena.
    pub offset: usize,
    /// The buffer's elements.
    pub elements: usize,
}

/// Memory that a kernel's buffer is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// An activation: which buffer of the arena.
    Arena(usize),
    /// Which of [`Plan::packed`].
    Weights(usize),
    /// Which model input, as the caller passed it.
    Input(usize),
    /// Which model output, as the caller receives it.
    Output(usize),
    /// The thread's scratch memory.
    Scratch,
}

/// What a step computes and moves.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Work {
    pub multiply_adds: u64,
    /// Bytes of activations read and written.
    pub activation_bytes: u64,
    /// Bytes of weights read.
    pub weight_bytes: u64,
}

/// Why a graph could not be lowered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LowerError {
    #[error(
        "layer '{layer}' is too large to compile: with the border {border:?} (top, left, bottom, right) that its \
         readers' padding asks for, {shape} exceeds the {limit} elements that one array may have"
    )]
    TooLarge { layer: String, shape: Shape, border: [usize; 4], limit: usize },
}

/// What a graph is lowered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LowerOptions<'a> {
    pub target: Cpu,
    /// Whether convolutions may be computed by Winograd's method or minimal filtering, and products be crossed where cores
    /// add on units of their own: all of these round differently from direct convolution.
    pub winograd: bool,
    /// How the weights of those convolutions and dense layers are stored whose speed they decide.
    pub weight_type: WeightType,
    /// How many threads a kernel's grid is to be cut up for. What is computed does not depend on it.
    pub threads: usize,
    /// Choices that were measured.
    pub tuning: &'a Tuning,
}

/// Lowers a graph.
pub fn lower(graph: &Graph, options: LowerOptions) -> Result<Plan, LowerError> {
    let layout = layout::Layout::of(graph, options);
    layout.check(graph)?;
    let target = options.target;
    let mut lowering = Lowering {
        graph,
        target,
        weight_type: options.weight_type,
        crossing: crossed::crossing(options),
        threads: options.threads.max(1),
        tuning: options.tuning,
        layout: &layout,
        values: HashMap::new(),
        plan: Plan {
            target: target.isa,
            kernels: Vec::new(),
            steps: Vec::new(),
            packed: Vec::new(),
            weight_elements: 0,
            arena: ArenaPlan::default(),
            scratch_elements: 0,
            inputs: graph.inputs().to_vec(),
            outputs: graph.outputs().iter().map(|output| output.node).collect(),
            values: Vec::new(),
        },
        kernel_ids: HashMap::new(),
        packed_ids: HashMap::new(),
        buffers: Vec::new(),
        owned: HashMap::new(),
    };
    for id in graph.topological_order() {
        if !layout.is_constant(id) {
            operators::lower_node(&mut lowering, id)?;
            lowering.note_value(id);
        }
    }
    for (position, output) in graph.outputs().iter().enumerate() {
        operators::lower_output(&mut lowering, position, output.node)?;
    }
    lowering.finish()
}

/// Where a value lies.
#[derive(Clone, Debug)]
struct Value {
    view: View,
    binding: Binding,
}

/// A buffer of the arena while the plan is being made.
#[derive(Clone, Debug)]
struct Buffer {
    elements: usize,
    /// Describes the border of zeros that readers expect, if there is one.
    border: Option<View>,
}

/// A lowering under way.
struct Lowering<'a> {
    graph: &'a Graph,
    target: Cpu,
    weight_type: WeightType,
    /// How products may be crossed.
    crossing: Option<Crossing>,
    threads: usize,
    tuning: &'a Tuning,
    layout: &'a layout::Layout,
    values: HashMap<NodeId, Value>,
    plan: Plan,
    kernel_ids: HashMap<String, usize>,
    packed_ids: HashMap<PackSource, usize>,
    buffers: Vec<Buffer>,
    /// The buffer of each value that owns one.
    owned: HashMap<NodeId, Binding>,
}

/// Elements of a page of 4 KiB.
const PAGE: usize = 1024;

/// How far from the start of a page large arrays start; any other place off it does as well.
const OFF_PAGE: usize = 3 * PAGE / 8;

/// Elements from which on an array is large: more than a second-level cache holds beside what else it is used with.
const LARGE_ARRAY: usize = 1 << 18;

impl Lowering<'_> {
    fn lanes(&self) -> usize {
        self.target.lanes()
    }

    /// Adds a launch. `layer` is the node it is for.
    fn step(&mut self, layer: NodeId, spec: KernelSpec, bindings: Vec<Binding>, work: Work) {
        let kernels = &mut self.plan.kernels;
        let kernel = *self.kernel_ids.entry(spec.name()).or_insert_with(|| {
            kernels.push(spec);
            kernels.len() - 1
        });
        let node = self.graph.node(layer);
        let layers = node.layers().map(str::to_owned).collect();
        self.plan.steps.push(Step { kernel, bindings, layers, work, borders: Vec::new() });
    }

    /// Notes where the value of a node lies that has just been lowered.
    fn note_value(&mut self, node: NodeId) {
        let Value { view, binding } = self.values[&node].clone();
        self.plan.values.push(PlacedValue { node, view, binding, after: self.plan.steps.len() });
    }

    /// Reserves an array in the weights' memory.
    fn pack(&mut self, source: PackSource) -> Binding {
        let plan = &mut self.plan;
        let id = *self.packed_ids.entry(source).or_insert_with_key(|source| {
            let elements = source.elements(self.graph);
            // Every array starts on a cache line of its own, a large one off the start of a page: rows of panels that
            // begin where pages do are slower to read.
            let offset = if elements < LARGE_ARRAY {
                plan.weight_elements.next_multiple_of(CACHE_LINE)
            } else {
                plan.weight_elements.saturating_sub(OFF_PAGE).next_multiple_of(PAGE) + OFF_PAGE
            };
            plan.packed.push(PackedArray { source: source.clone(), offset, elements });
            plan.weight_elements = offset + elements;
            plan.packed.len() - 1
        });
        Binding::Weights(id)
    }

    /// Reserves a buffer in the arena.
    fn buffer(&mut self, elements: usize, border: Option<View>) -> Binding {
        self.buffers.push(Buffer { elements, border });
        Binding::Arena(self.buffers.len() - 1)
    }

    fn finish(mut self) -> Result<Plan, LowerError> {
        let mut lifetimes: Vec<Lifetime> = self
            .buffers
            .iter()
            .map(|buffer| Lifetime {
                elements: buffer.elements,
                border: buffer.border.clone(),
                first: usize::MAX,
                last: 0,
            })
            .collect();
        for (at, step) in self.plan.steps.iter().enumerate() {
            for binding in &step.bindings {
                if let Binding::Arena(id) = *binding {
                    lifetimes[id].first = lifetimes[id].first.min(at);
                    lifetimes[id].last = lifetimes[id].last.max(at);
                }
            }
        }
        self.plan.arena = ArenaPlan::of(&lifetimes);
        for (id, Lifetime { elements, border, first, .. }) in lifetimes.iter().enumerate() {
            if let Some(view) = border.as_ref().filter(|_| self.plan.arena.zeroed[id])
                && let Some(step) = self.plan.steps.get_mut(*first)
            {
                let offset = self.plan.arena.offsets[id];
                step.borders.push(Border { view: view.clone(), offset, elements: *elements });
            }
        }
        let lanes = self.lanes();
        let scratch = self.plan.kernels.iter().map(|kernel| kernel.build(lanes).scratch_elements());
        self.plan.scratch_elements = scratch.max().unwrap_or(0);
        Ok(self.plan)
    }
}
