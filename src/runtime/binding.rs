//! Binding weights: arrays are read, evaluated and packed a few at a time, so that little but the packed arrays is ever in
//! memory.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use petgraph::unionfind::UnionFind;

use super::memory::Memory;
use super::{CompileError, Compiled, Executable};
use crate::Error;
use crate::codegen::module::in_parallel;
use crate::graph::{Graph, NodeId};
use crate::interpreter;
use crate::kernels::packed::PackedFilter;
use crate::lower::{PackSource, PackedArray, packing};
use crate::ops::{Op, Parameter};
use crate::tensor::Tensor;
use crate::weights::{WeightSource, Weights};

impl Compiled {
    /// Binds weights: evaluates weight expressions and packs them as the kernels read them. Weights that are given away
    /// are dropped one after the other, those of a file are read as they are packed.
    ///
    /// # Errors
    /// Where weights are missing or misshapen or cannot be read, or the system has no memory or threads left.
    pub fn bind(self, weights: impl Into<WeightSource>) -> Result<Executable, Error> {
        let start = Instant::now();
        let mut memory = Memory::zeroed(self.plan().weight_elements).map_err(CompileError::System)?;
        let source = weights.into();
        let batches = batches(self.graph(), divide(memory.as_mut_slice(), &self.plan().packed));
        let packer = Packer::new(self.graph(), &batches, source);
        let packed = in_parallel(&batches, self.threads(), |batch| packer.pack(batch));
        packed.into_iter().collect::<Result<(), Error>>()?;
        let mut timings = self.timings();
        timings.read_weights = packer.supply().seconds;
        timings.pack_weights = (start.elapsed().as_secs_f64() - timings.read_weights).max(0.0);
        drop((packer, batches));
        Ok(Executable::new(self, memory, timings)?)
    }
}

/// A packed array and its part of the weights' memory.
type Target<'a> = (&'a PackedArray, Mutex<&'a mut [f32]>);

/// Each packed array with its part of the weights' memory.
fn divide<'a>(mut memory: &'a mut [f32], arrays: &'a [PackedArray]) -> Vec<Target<'a>> {
    let mut start = 0;
    let parts = arrays.iter().map(|array| {
        let (_, rest) = std::mem::take(&mut memory).split_at_mut(array.offset - start);
        let (part, rest) = rest.split_at_mut(array.elements);
        memory = rest;
        start = array.offset + array.elements;
        (array, Mutex::new(part))
    });
    parts.collect()
}

/// Arrays to pack together: those that share expressions, which are then evaluated once, but no more than take little
/// memory.
fn batches<'a>(graph: &Graph, targets: Vec<Target<'a>>) -> Vec<Vec<Target<'a>>> {
    const ELEMENTS: usize = 8 << 20;
    let expressions = Expressions::of(graph);
    // The batch that takes more arrays of an expression, and its elements.
    let mut open: HashMap<NodeId, (usize, usize)> = HashMap::new();
    let mut batches: Vec<Vec<Target>> = Vec::new();
    for target in targets {
        let elements = target.0.elements;
        let expression = target.0.source.nodes().into_iter().find_map(|node| expressions.find(node));
        match expression.and_then(|expression| open.get_mut(&expression)) {
            Some((batch, sum)) if *sum + elements <= ELEMENTS => {
                *sum += elements;
                batches[*batch].push(target);
            }
            _ => {
                open.extend(expression.map(|expression| (expression, (batches.len(), elements))));
                batches.push(vec![target]);
            }
        }
    }
    batches
}

/// Which weight expressions have operators in common.
struct Expressions {
    sets: UnionFind<usize>,
    operators: HashSet<NodeId>,
}

impl Expressions {
    fn of(graph: &Graph) -> Self {
        let weights = graph.weight_expressions();
        let is_operator = |id: &NodeId| weights.contains(*id) && graph.node(*id).op.operator().is_some();
        let operators: HashSet<NodeId> = graph.listing().into_iter().filter(is_operator).collect();
        let mut sets = UnionFind::new(graph.slots());
        for &id in &operators {
            for operand in graph.operands(id).into_iter().filter(|operand| operators.contains(operand)) {
                sets.union(id.index(), operand.index());
            }
        }
        Expressions { sets, operators }
    }

    /// A node that stands for all expressions connected with an operator's; none for a parameter as it is.
    fn find(&self, id: NodeId) -> Option<NodeId> {
        self.operators.contains(&id).then(|| NodeId::new(self.sets.find(id.index())))
    }
}

/// Makes packed arrays, several at a time.
struct Packer<'a> {
    graph: &'a Graph,
    supply: Mutex<Supply<'a>>,
    /// Whether an array could not be made, and the others need not be.
    has_failed: AtomicBool,
}

impl<'a> Packer<'a> {
    fn new(graph: &'a Graph, batches: &[Vec<Target>], source: WeightSource) -> Self {
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for batch in batches.iter().filter(|batch| parted(graph, &source, batch).is_none()) {
            for key in interpreter::parameters(graph, &nodes(batch)) {
                *uses.entry(key).or_default() += 1;
            }
        }
        let supply = Supply { source, uses, held: Weights::default(), seconds: 0.0 };
        Packer { graph, supply: Mutex::new(supply), has_failed: AtomicBool::new(false) }
    }

    fn supply(&self) -> MutexGuard<'_, Supply<'a>> {
        self.supply.lock().expect("no thread panics while it holds the supply")
    }

    /// Writes the arrays of a batch into their parts of the memory, which hold zeros.
    fn pack(&self, batch: &[Target]) -> Result<(), Error> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let parted = parted(self.graph, &self.supply().source, batch);
        let packed = match parted {
            Some(filter) => self.pack_parts(filter, &mut target(&batch[0])),
            None => self.pack_whole(batch),
        };
        if packed.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        packed
    }

    fn pack_whole(&self, batch: &[Target]) -> Result<(), Error> {
        let nodes = nodes(batch);
        let keys = interpreter::parameters(self.graph, &nodes);
        let weights = self.supply().take(keys)?;
        let values = interpreter::evaluate_constants(self.graph, &weights, &nodes)?;
        let values: HashMap<NodeId, Arc<Tensor>> = nodes.into_iter().zip(values).collect();
        for array in batch {
            let source = &array.0.source;
            if let Some((node, value)) = source.out_of_range(&values) {
                return Err(self.too_large(node, value));
            }
            source.pack(&values, &mut target(array));
        }
        Ok(())
    }

    fn pack_parts(&self, filter: PartedFilter, target: &mut [f32]) -> Result<(), Error> {
        let PartedFilter { weight, parameter, taps, packed } = filter;
        for (filters, place) in packing::panels(packed) {
            let filters = self.supply().part(&parameter.key, filters)?;
            if let Some(value) = packed.weight_type.out_of_range(&filters) {
                return Err(self.too_large(weight, value));
            }
            packing::pack_panel(&filters, taps, packed, &mut target[place]);
        }
        packing::finish_filter(taps, packed, target);
        Ok(())
    }

    fn too_large(&self, weight: NodeId, value: f32) -> Error {
        CompileError::WeightRange { weight: self.graph.node(weight).name.clone(), value }.into()
    }
}

/// The weight expressions whose values some arrays need.
fn nodes(batch: &[Target]) -> Vec<NodeId> {
    batch.iter().flat_map(|(array, _)| array.source.nodes()).collect()
}

fn target<'a, 'b>((_, target): &'a Target<'b>) -> MutexGuard<'a, &'b mut [f32]> {
    target.lock().expect("each array is packed once")
}

/// A filter that is read and packed panel by panel.
struct PartedFilter<'a> {
    weight: NodeId,
    parameter: &'a Parameter,
    taps: usize,
    packed: &'a PackedFilter,
}

/// The filter that a batch is, if it can be had in parts: a parameter as it stands in a file.
fn parted<'a>(graph: &'a Graph, source: &WeightSource, batch: &'a [Target]) -> Option<PartedFilter<'a>> {
    let [(PackedArray { source: PackSource::Filter { weight, taps, packed }, .. }, _)] = batch else {
        return None;
    };
    let Op::Parameter(parameter) = &graph.node(*weight).op else { return None };
    let parted = PartedFilter { weight: *weight, parameter, taps: *taps, packed };
    source.has_parts(parameter).then_some(parted)
}

/// Where arrays come from while they are packed.
struct Supply<'a> {
    source: WeightSource,
    /// How many batches still need each parameter whole.
    uses: HashMap<&'a str, usize>,
    /// Arrays that were read and will be needed again.
    held: Weights,
    /// How long reading has taken.
    seconds: f64,
}

impl Supply<'_> {
    /// Some elements of a parameter that has parts.
    fn part(&mut self, key: &str, elements: Range<usize>) -> Result<Vec<f32>, Error> {
        let start = Instant::now();
        let part = self.source.part(key, elements);
        self.seconds += start.elapsed().as_secs_f64();
        part
    }

    /// The parameters that a batch needs, those that are there.
    fn take<'k>(&mut self, keys: impl IntoIterator<Item = &'k str>) -> Result<Weights, Error> {
        let start = Instant::now();
        let mut weights = Weights::default();
        for key in keys {
            let value = match self.held.get(key) {
                Some(value) => Some(Arc::clone(value)),
                None => self.source.get(key)?,
            };
            let left = self.uses.get_mut(key).expect("uses of every parameter were counted");
            *left -= 1;
            if *left == 0 {
                self.held.remove(key);
                self.source.forget(key);
            } else if let Some(value) = &value {
                self.held.insert(key, Arc::clone(value));
            }
            if let Some(value) = value {
                weights.insert(key, value);
            }
        }
        self.seconds += start.elapsed().as_secs_f64();
        Ok(weights)
    }
}
