//! Repeated structure: runs of layers that are alike but for their weights.

use std::collections::HashMap;

use super::{Layer, Operand};
use crate::graph::{Graph, NodeId};

/// A run of layers that occurs more than once: each occurrence reads one value from outside, and only its last value
/// is read outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repeat {
    /// How many layers it has.
    pub length: usize,
    /// The first layer of each occurrence, in order.
    pub starts: Vec<usize>,
}

/// The fewest and the most layers of a block.
const LENGTHS: std::ops::RangeInclusive<usize> = 3..=80;

/// The fewest layers that writing a block must save.
const LEAST_SAVING: usize = 4;

/// Finds the repeats that save most, the greatest first; none overlap.
pub fn find(graph: &Graph, layers: &[Layer]) -> Vec<Repeat> {
    let finder = Finder::new(graph, layers);
    let mut taken = vec![false; layers.len()];
    let mut found = Vec::new();
    while let Some(repeat) = finder.best(&taken) {
        for &start in &repeat.starts {
            taken[start..start + repeat.length].fill(true);
        }
        found.push(repeat);
    }
    found
}

struct Finder<'a> {
    layers: &'a [Layer],
    /// The layer that computes a value.
    places: HashMap<NodeId, usize>,
    /// For each layer a number that is that of all layers alike but for the values they read.
    kinds: Vec<usize>,
    /// For each layer the last one that reads its value; the number of layers where an output does.
    last_reader: Vec<usize>,
}

impl<'a> Finder<'a> {
    fn new(graph: &Graph, layers: &'a [Layer]) -> Self {
        let places: HashMap<NodeId, usize> =
            layers.iter().enumerate().map(|(at, layer)| (layer.node, at)).collect();
        let mut last_reader = vec![0; layers.len()];
        for (at, layer) in layers.iter().enumerate() {
            for operand in &layer.operands {
                if let Operand::Value(node) = operand
                    && let Some(&place) = places.get(node)
                {
                    last_reader[place] = at;
                }
            }
        }
        for output in graph.outputs() {
            if let Some(&place) = places.get(&output.node) {
                last_reader[place] = layers.len();
            }
        }
        let mut numbers = HashMap::new();
        let kinds = layers.iter().map(|layer| {
            let next = numbers.len();
            *numbers.entry(kind(layer)).or_insert(next)
        });
        let kinds = kinds.collect();
        Finder { layers, places, kinds, last_reader }
    }

    /// The repeat among layers not taken that saves most.
    fn best(&self, taken: &[bool]) -> Option<Repeat> {
        let mut best: Option<(usize, Repeat)> = None;
        for length in LENGTHS.take_while(|length| 2 * length <= self.layers.len()) {
            let mut runs: HashMap<Vec<usize>, Vec<usize>> = HashMap::new();
            for start in 0..=self.layers.len() - length {
                if taken[start..start + length].iter().any(|&taken| taken) {
                    continue;
                }
                let Some(form) = self.form(start, length) else { continue };
                let starts = runs.entry(form).or_default();
                if starts.last().is_none_or(|last| last + length <= start) {
                    starts.push(start);
                }
            }
            for starts in runs.into_values() {
                let saving = (starts.len() - 1) * length;
                let better = best.as_ref().is_none_or(|(most, repeat)| {
                    (saving, std::cmp::Reverse(&starts)) > (*most, std::cmp::Reverse(&repeat.starts))
                });
                if saving >= LEAST_SAVING && better {
                    best = Some((saving, Repeat { length, starts }));
                }
            }
        }
        best.map(|(_, repeat)| repeat)
    }

    /// What is the same of all occurrences of a run; `None` where it cannot be a block.
    fn form(&self, start: usize, length: usize) -> Option<Vec<usize>> {
        let end = start + length;
        let mut outside = None;
        let mut form = Vec::with_capacity(3 * length);
        for at in start..end {
            // What is read outside is the last value alone.
            if at + 1 < end && self.last_reader[at] >= end {
                return None;
            }
            form.push(self.kinds[at]);
            for operand in &self.layers[at].operands {
                let Operand::Value(node) = operand else { continue };
                match self.places.get(node) {
                    Some(&place) if place >= start => form.push(place - start),
                    _ if *outside.get_or_insert(*node) == *node => form.push(usize::MAX),
                    _ => return None,
                }
            }
        }
        outside.map(|_| form)
    }
}

/// All that is written of a layer but its label and the values it reads.
fn kind(layer: &Layer) -> String {
    let operands = layer.operands.iter().map(|operand| match operand {
        Operand::Value(_) => "value",
        Operand::Number(text) | Operand::Weight { shape: text, .. } => text,
    });
    let parts = layer.arguments.iter().map(String::as_str).chain(operands);
    format!("{} {} {}", layer.word, layer.weights.len(), parts.collect::<Vec<_>>().join(";"))
}
