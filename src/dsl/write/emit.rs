//! The text of a model file: statements, chains, labels.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use super::blocks::Repeat;
use super::{Layer, Operand, Written, unique, uses};
use crate::dsl::elaborate::is_known;
use crate::dsl::{Source, format};
use crate::graph::{Graph, NodeId};

/// Writes layers and the blocks among them.
pub fn emit(graph: &Graph, layers: &[Layer], repeats: &[Repeat]) -> Written {
    let mut names = Names::default();
    let mut emitter = Emitter { layers, uses: uses(graph, layers), weights: BTreeMap::new() };
    let mut text = String::new();
    let _ = writeln!(text, "model {}() {{", names.identifier(&graph.name));
    let mut values = HashMap::new();
    for &input in graph.inputs() {
        let name = names.identifier(&graph.node(input).name);
        let _ = writeln!(text, "input {name}: f32{}", graph.shape(input));
        values.insert(input, name);
    }
    let blocks: Vec<Block> = repeats
        .iter()
        .map(|repeat| Block { name: names.identifier("unit"), labels: labels(layers, repeat), repeat })
        .collect();
    for block in &blocks {
        emitter.block(block, &mut text);
    }
    text.push('\n');
    let items = items(layers, &blocks);
    emitter.items(&items, &mut values, &mut names, &mut text);
    for output in graph.outputs() {
        let name = names.identifier(&output.name);
        let _ = writeln!(text, "output {name} = {}", values[&output.node]);
    }
    text.push_str("}\n");
    let source = Source { name: graph.name.clone(), text };
    // What is written here is a model; were it not, reading it would say so.
    let text = format(&source).unwrap_or(source.text);
    Written { text, weights: emitter.weights }
}

/// Words that the grammar has taken.
const KEYWORDS: [&str; 18] = [
    "model", "block", "input", "output", "return", "for", "in", "repeat", "if", "else", "match", "assert",
    "as", "and", "or", "not", "true", "false",
];

/// The names of inputs, outputs, blocks and values.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    /// A name of the language that is like `text` and not taken.
    fn identifier(&mut self, text: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut name: String = text.chars().map(plain).take(60).collect();
        if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
            name.insert(0, 'x');
        }
        if KEYWORDS.contains(&name.as_str()) || is_known(&name) || name == "_" {
            name.push_str("_value");
        }
        unique(&name, &mut self.0)
    }
}

/// A repeat with the labels of its calls and, within, of its layers.
struct Block<'a> {
    name: String,
    labels: Labels,
    repeat: &'a Repeat,
}

struct Labels {
    calls: Vec<String>,
    layers: Vec<String>,
}

/// The labels of a block: what the occurrences' own labels have in common, where that tells them apart, so that keys
/// stay as they are.
fn labels(layers: &[Layer], repeat: &Repeat) -> Labels {
    let own = |start: usize| -> Vec<&str> {
        let run = layers[start..start + repeat.length].iter();
        run.filter(|layer| layer.has_weights()).map(|layer| layer.label.as_str()).collect()
    };
    let split = |start: usize| -> Option<(String, Vec<String>)> {
        let labels = own(start);
        let parts: Vec<Vec<&str>> = labels.iter().map(|label| label.split('.').collect()).collect();
        let shortest = parts.iter().map(|parts| parts.len() - 1).min()?;
        let common = (0..shortest).take_while(|&at| parts.iter().all(|p| p[at] == parts[0][at])).count();
        let rest = parts.iter().map(|parts| parts[common..].join("."));
        (common > 0).then(|| (parts[0][..common].join("."), rest.collect()))
    };
    let splits: Option<Vec<(String, Vec<String>)>> =
        repeat.starts.iter().map(|&start| split(start)).collect();
    if let Some(splits) = splits {
        let calls: HashSet<&String> = splits.iter().map(|(call, _)| call).collect();
        let distinct: HashSet<&String> = splits[0].1.iter().collect();
        if calls.len() == splits.len()
            && distinct.len() == splits[0].1.len()
            && splits.iter().all(|(_, rest)| *rest == splits[0].1)
        {
            let layers = splits[0].1.clone();
            return Labels { calls: splits.into_iter().map(|(call, _)| call).collect(), layers };
        }
    }
    let first = own(repeat.starts[0]);
    let calls = repeat.starts.iter().map(|&start| match own(start).first() {
        Some(label) => format!("{label}.unit"),
        None => "unit".to_owned(),
    });
    let mut taken = HashSet::new();
    let inner = first.iter().map(|label| unique(label.rsplit('.').next().unwrap_or(label), &mut taken));
    Labels { layers: inner.collect(), calls: calls.collect() }
}

/// What a statement or a stage of a chain is: a layer, or a call of a block.
enum Item<'a> {
    Layer(usize),
    Call { block: &'a Block<'a>, occurrence: usize },
}

fn items<'a>(layers: &[Layer], blocks: &'a [Block<'a>]) -> Vec<Item<'a>> {
    let mut calls = HashMap::new();
    for block in blocks {
        for (occurrence, &start) in block.repeat.starts.iter().enumerate() {
            calls.insert(start, (block, occurrence));
        }
    }
    let mut items = Vec::new();
    let mut at = 0;
    while at < layers.len() {
        match calls.get(&at) {
            Some(&(block, occurrence)) => {
                items.push(Item::Call { block, occurrence });
                at += block.repeat.length;
            }
            None => {
                items.push(Item::Layer(at));
                at += 1;
            }
        }
    }
    items
}

struct Emitter<'a> {
    layers: &'a [Layer],
    uses: HashMap<NodeId, usize>,
    weights: BTreeMap<String, NodeId>,
}

/// A chain that is being written: `name = head -> stage …`.
struct Chain {
    text: String,
    last: NodeId,
}

impl Emitter<'_> {
    /// The definition of a block, from its first occurrence; the keys of all occurrences.
    fn block(&mut self, block: &Block, text: &mut String) {
        let Block { name, labels, repeat } = block;
        for (&start, call) in repeat.starts.iter().zip(&labels.calls) {
            let mut labels = labels.layers.iter();
            for at in start..start + repeat.length {
                if self.layers[at].has_weights() {
                    let label = labels.next().expect("one for each layer with weights");
                    self.claim(at, &format!("{call}.{label}"));
                }
            }
        }
        let start = repeat.starts[0];
        let run = start..start + repeat.length;
        let inside: HashSet<NodeId> = run.clone().map(|at| self.layers[at].node).collect();
        let mut values = HashMap::new();
        for at in run.clone() {
            for operand in &self.layers[at].operands {
                if let Operand::Value(node) = operand
                    && !inside.contains(node)
                {
                    values.insert(*node, "x".to_owned());
                }
            }
        }
        let _ = writeln!(text, "\nblock {name}(x) {{");
        let mut names = Names::default();
        names.0.insert("x".to_owned());
        let mut inner = labels.layers.iter();
        let mut labelled = HashMap::new();
        for at in run.clone() {
            if self.layers[at].has_weights() {
                labelled.insert(at, inner.next().expect("one for each layer with weights").clone());
            }
        }
        let items: Vec<Item> = run.clone().map(Item::Layer).collect();
        self.statements(&items, &labelled, &mut values, &mut names, text);
        let last = self.layers[run.end - 1].node;
        let _ = writeln!(text, "return {}\n}}", values[&last]);
    }

    /// The statements of the model itself.
    fn items(
        &mut self,
        items: &[Item],
        values: &mut HashMap<NodeId, String>,
        names: &mut Names,
        text: &mut String,
    ) {
        let mut labelled = HashMap::new();
        for item in items {
            if let Item::Layer(at) = item
                && self.layers[*at].has_weights()
            {
                let label = self.layers[*at].label.clone();
                self.claim(*at, &label);
                labelled.insert(*at, label);
            }
        }
        self.statements(items, &labelled, values, names, text);
    }

    /// Notes the keys of a layer's weights.
    fn claim(&mut self, at: usize, label: &str) {
        let layer = &self.layers[at];
        for (suffix, node) in &layer.weights {
            let key = if suffix.is_empty() { label.to_owned() } else { format!("{label}.{suffix}") };
            self.weights.insert(key, *node);
        }
        let arrays = layer.operands.iter().enumerate();
        for (position, operand) in arrays {
            if let Operand::Weight { node, .. } = operand {
                self.weights.insert(format!("{label}.{position}"), *node);
            }
        }
    }

    fn statements(
        &self,
        items: &[Item],
        labelled: &HashMap<usize, String>,
        values: &mut HashMap<NodeId, String>,
        names: &mut Names,
        text: &mut String,
    ) {
        let mut open: Option<Chain> = None;
        for item in items {
            let (piped, stage, last) = match item {
                Item::Layer(at) => {
                    let layer = &self.layers[*at];
                    let first = layer.operands.first();
                    let piped = match first {
                        Some(Operand::Value(node)) if layer.chains => Some(*node),
                        _ => None,
                    };
                    // Only its own stage may need a chain's value.
                    let again = layer.operands.iter().skip(1).any(|operand| match operand {
                        Operand::Value(node) => Some(*node) == piped,
                        _ => false,
                    });
                    let reads_open = |node: &NodeId| open.as_ref().is_some_and(|chain| chain.last == *node);
                    let others = layer.operands.iter().skip(usize::from(piped.is_some()));
                    let needs_name = again
                        || others.into_iter().any(|o| matches!(o, Operand::Value(node) if reads_open(node)));
                    if needs_name {
                        close(&mut open, values, names, text);
                    }
                    let label = labelled.get(at).map(String::as_str);
                    (piped, stage(layer, label, values, piped.is_some()), layer.node)
                }
                Item::Call { block, occurrence } => {
                    let Repeat { length, starts } = block.repeat;
                    let start = starts[*occurrence];
                    let last = self.layers[start + length - 1].node;
                    let call = format!("{} as {:?}", block.name, block.labels.calls[*occurrence]);
                    (Some(self.outside(start, *length)), call, last)
                }
            };
            let continues = piped.is_some_and(|piped| {
                open.as_ref().is_some_and(|chain| chain.last == piped) && self.uses.get(&piped) == Some(&1)
            });
            match (&mut open, piped) {
                (Some(chain), Some(_)) if continues => {
                    let _ = write!(chain.text, "\n-> {stage}");
                    chain.last = last;
                }
                _ => {
                    close(&mut open, values, names, text);
                    let text = match piped {
                        Some(piped) => format!("{} -> {stage}", values[&piped]),
                        None => stage,
                    };
                    open = Some(Chain { text, last });
                }
            }
        }
        close(&mut open, values, names, text);
    }

    /// The value from outside that a run of layers reads.
    fn outside(&self, start: usize, length: usize) -> NodeId {
        let run = &self.layers[start..start + length];
        let inside: HashSet<NodeId> = run.iter().map(|layer| layer.node).collect();
        let operands = run.iter().flat_map(|layer| &layer.operands);
        let mut outside = operands.filter_map(|operand| match operand {
            Operand::Value(node) if !inside.contains(node) => Some(*node),
            _ => None,
        });
        outside.next().expect("a block reads a value")
    }
}

/// Ends a chain: its value gets a name.
fn close(
    open: &mut Option<Chain>,
    values: &mut HashMap<NodeId, String>,
    names: &mut Names,
    text: &mut String,
) {
    if let Some(Chain { text: chain, last }) = open.take() {
        let name = names.identifier("y");
        let _ = writeln!(text, "{name} = {chain}");
        values.insert(last, name);
    }
}

/// A layer as a stage of a chain, or as a call by itself.
fn stage(layer: &Layer, label: Option<&str>, values: &HashMap<NodeId, String>, piped: bool) -> String {
    let operands = layer.operands.iter().enumerate().skip(usize::from(piped));
    let operands = operands.map(|(position, operand)| match operand {
        Operand::Value(node) => values.get(node).cloned().unwrap_or_default(),
        Operand::Number(number) => number.clone(),
        Operand::Weight { shape, .. } => {
            format!("weight({shape}) as {:?}", format!("{}.{position}", label.unwrap_or("layer")))
        }
    });
    let arguments: Vec<String> = operands.chain(layer.arguments.iter().cloned()).collect();
    let call = if layer.word == "neg" {
        format!("-{}", arguments.join(", "))
    } else if arguments.is_empty() && piped {
        layer.word.clone()
    } else {
        format!("{}({})", layer.word, arguments.join(", "))
    };
    match label.filter(|_| !layer.weights.is_empty()) {
        Some(label) => format!("{call} as {label:?}"),
        None => call,
    }
}
