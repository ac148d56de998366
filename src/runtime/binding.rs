//! Binding weights: each packed array is read, evaluated and packed by itself, so that little but the packed arrays is
//! ever in memory.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

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
        let targets = divide(memory.as_mut_slice(), &self.plan().packed);
        let packer = Packer::new(self.graph(), &self.plan().packed, weights.into());
        let packed = in_parallel(&targets, self.threads(), |(array, target)| {
            packer.pack(&array.source, &mut target.lock().expect("each array is packed once"))
        });
        packed.into_iter().collect::<Result<(), Error>>()?;
        let mut timings = self.timings();
        timings.read_weights = packer.supply().seconds;
        timings.pack_weights = (start.elapsed().as_secs_f64() - timings.read_weights).max(0.0);
        drop((packer, targets));
        Ok(Executable::new(self, memory, timings)?)
    }
}

/// Makes packed arrays, several at a time.
struct Packer<'a> {
    graph: &'a Graph,
    supply: Mutex<Supply<'a>>,
}

impl<'a> Packer<'a> {
    fn new(graph: &'a Graph, arrays: &[PackedArray], source: WeightSource) -> Self {
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for array in arrays.iter().filter(|array| parted(graph, &source, &array.source).is_none()) {
            for key in interpreter::parameters(graph, &array.source.nodes()) {
                *uses.entry(key).or_default() += 1;
            }
        }
        Packer { graph, supply: Mutex::new(Supply { source, uses, held: Weights::default(), seconds: 0.0 }) }
    }

    fn supply(&self) -> MutexGuard<'_, Supply<'a>> {
        self.supply.lock().expect("no thread panics while it holds the supply")
    }

    /// Writes a packed array into `target`, which holds zeros.
    fn pack(&self, array: &PackSource, target: &mut [f32]) -> Result<(), Error> {
        let parted = parted(self.graph, &self.supply().source, array);
        if let Some(filter) = parted {
            return self.pack_parts(filter, target);
        }
        let nodes = array.nodes();
        let weights = self.supply().take(interpreter::parameters(self.graph, &nodes))?;
        let values = interpreter::evaluate_constants(self.graph, &weights, &nodes)?;
        let values: HashMap<NodeId, Arc<Tensor>> = nodes.into_iter().zip(values).collect();
        if let Some((node, value)) = array.out_of_range(&values) {
            return Err(self.too_large(node, value));
        }
        array.pack(&values, target);
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

/// A filter that is read and packed panel by panel.
struct PartedFilter<'a> {
    weight: NodeId,
    parameter: &'a Parameter,
    taps: usize,
    packed: &'a PackedFilter,
}

/// The filter that an array is, if it can be had in parts: a parameter as it stands in a file.
fn parted<'a>(graph: &'a Graph, source: &WeightSource, array: &'a PackSource) -> Option<PartedFilter<'a>> {
    let PackSource::Filter { weight, taps, packed } = array else { return None };
    let Op::Parameter(parameter) = &graph.node(*weight).op else { return None };
    let parted = PartedFilter { weight: *weight, parameter, taps: *taps, packed };
    source.has_parts(parameter).then_some(parted)
}

/// Where arrays come from while they are packed.
struct Supply<'a> {
    source: WeightSource,
    /// How many of the arrays to pack still need each parameter whole.
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

    /// The parameters that one packed array needs, those that are there.
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
