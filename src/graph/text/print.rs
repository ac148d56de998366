//! Printing a graph in its text form.

use std::fmt::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Attributes, DEFAULT_INIT, SHORTHANDS, attributes_of};
use crate::graph::{Graph, NodeId};
use crate::ops::{ConvChain, Epilogue, Op};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = self.listing();
        let mut labels = vec![0; self.slots()];
        for (label, id) in order.iter().enumerate() {
            labels[id.index()] = label;
        }
        let printer = Printer { graph: self, labels };
        writeln!(f, "model {}\n", quoted(&self.name))?;
        for &id in &order {
            f.write_str(&printer.value(id))?;
        }
        f.write_str("\n")?;
        for output in self.outputs() {
            writeln!(f, "output {} = %{}", quoted(&output.name), printer.labels[output.node.index()])?;
        }
        Ok(())
    }
}

struct Printer<'a> {
    graph: &'a Graph,
    /// By node index.
    labels: Vec<usize>,
}

impl Printer<'_> {
    fn value(&self, id: NodeId) -> String {
        let node = self.graph.node(id);
        let (own, epilogue) = self.graph.split_operands(id);
        let body = match &node.op {
            Op::ConvChain(chain) => self.chain(chain, &own),
            op => {
                let (word, attributes) = operation(op, &node.name);
                format!("{word}{}{}", self.operands(&own), braces(&attributes))
            }
        };
        let epilogue = self.epilogue(&node.epilogue, &epilogue);
        let fused: Vec<String> = node.fused.iter().map(|layer| quoted(layer)).collect();
        let fused = if fused.is_empty() { String::new() } else { format!(" fuses [{}]", fused.join(", ")) };
        let (label, name) = (self.labels[id.index()], quoted(&node.name));
        format!("%{label} {name} = {body}{epilogue} : {}{fused}\n", node.shape)
    }

    fn operands(&self, operands: &[NodeId]) -> String {
        let labels: Vec<String> = operands.iter().map(|id| format!("%{}", self.labels[id.index()])).collect();
        if labels.is_empty() { String::new() } else { format!("({})", labels.join(", ")) }
    }

    fn epilogue(&self, epilogue: &Epilogue, operands: &[NodeId]) -> String {
        let mut rest = operands;
        let steps = epilogue.0.iter().map(|step| {
            let (these, others) = rest.split_at(step.operands());
            rest = others;
            let mut attributes = attributes_of(step);
            attributes.remove("step");
            attributes.remove("function");
            format!(" + {}{}{}", step.name(), self.operands(these), braces(&attributes))
        });
        steps.collect()
    }

    fn chain(&self, chain: &ConvChain, operands: &[NodeId]) -> String {
        let mut text = format!("conv_chain{} [\n", self.operands(&operands[..1]));
        let mut rest = &operands[1..];
        for stage in &chain.stages {
            let (these, others) = rest.split_at(stage.operands());
            rest = others;
            let (own, epilogue) = these.split_at(stage.operands() - stage.epilogue.operands());
            let attributes = without_defaults::<Op>(attributes_of(&Op::from(stage.conv)), "op");
            let _ = writeln!(
                text,
                "  {} conv{}{}{}",
                quoted(&stage.name),
                self.operands(own),
                braces(&attributes),
                self.epilogue(&stage.epilogue, epilogue)
            );
        }
        text.push(']');
        text
    }
}

/// The word for an operation and the attributes that need saying.
fn operation(op: &Op, name: &str) -> (&'static str, Attributes) {
    let mut attributes = attributes_of(op);
    match op {
        Op::Input(_) => attributes.clear(),
        Op::Parameter(parameter) => {
            for implied in ["op", "shape"] {
                attributes.remove(implied);
            }
            if parameter.key == name {
                attributes.remove("key");
            }
            if parameter.init == DEFAULT_INIT {
                attributes.retain(|key, _| key == "key");
            }
        }
        Op::Constant(_) => {
            let data =
                attributes.remove("value").and_then(|mut value| value.get_mut("data").map(Value::take));
            attributes.clear();
            attributes.extend(data.map(|data| ("data".to_owned(), data)));
        }
        _ => attributes = without_defaults::<Op>(attributes, "op"),
    }
    if let Some((_, _, attribute, _)) = SHORTHANDS.iter().find(|short| short.0 == op.word()) {
        attributes.remove(*attribute);
    }
    (op.word(), attributes)
}

/// Drops the tag, and each attribute without which the rest parses to the same item.
fn without_defaults<T>(mut attributes: Attributes, tag: &str) -> Attributes
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let parse = |attributes: &Attributes| serde_json::from_value(Value::Object(attributes.clone())).ok();
    let item: Option<T> = parse(&attributes);
    let keys: Vec<String> = attributes.keys().filter(|key| *key != tag).cloned().collect();
    for key in keys {
        if let Some(value) = attributes.remove(&key)
            && (item.is_none() || parse(&attributes) != item)
        {
            attributes.insert(key, value);
        }
    }
    attributes.remove(tag);
    attributes
}

fn braces(attributes: &Attributes) -> String {
    let pairs: Vec<String> =
        attributes.iter().map(|(key, value)| format!("{key}={}", spaced(value))).collect();
    if pairs.is_empty() { String::new() } else { format!(" {{{}}}", pairs.join(", ")) }
}

/// JSON with a space after each comma of a list.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
