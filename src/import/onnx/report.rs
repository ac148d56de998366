//! All nodes that cannot be imported, listed at once.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::fault::Fault;
use super::proto::NodeProto;

/// A node that cannot be imported, and why.
pub struct Problem<'m> {
    pub node: &'m NodeProto,
    pub domain: &'m str,
    pub opset: i64,
    pub faults: Vec<Fault>,
}

/// Why a network cannot be imported.
#[derive(Default, Debug)]
pub struct Failure {
    /// The whole message.
    pub problem: String,
    /// The inputs that would have to be bound.
    pub unbound: BTreeSet<String>,
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Failure { problem, ..Failure::default() }
    }
}

impl From<&str> for Failure {
    fn from(problem: &str) -> Self {
        problem.to_owned().into()
    }
}

/// The problems found so far.
#[derive(Default)]
pub struct Report {
    lines: Vec<String>,
    more: usize,
    unbound: BTreeSet<String>,
}

/// How many nodes are listed one by one.
const LISTED: usize = 50;

impl Report {
    pub fn add(&mut self, problem: Problem) {
        for fault in problem.faults.iter().filter(|fault| **fault != Fault::Dependent) {
            if let Fault::Unbound { input, .. } = fault {
                self.unbound.insert(input.clone());
            }
            if self.lines.len() >= LISTED {
                self.more += 1;
                continue;
            }
            let node = problem.node;
            let output = node.output.iter().find(|name| !name.is_empty());
            let name = if node.name.is_empty() { output.map_or("", String::as_str) } else { &node.name };
            let domain = if problem.domain.is_empty() { "ai.onnx" } else { problem.domain };
            self.lines.push(format!(
                "node '{name}', {} of {domain} version {}: {fault}",
                node.op_type, problem.opset
            ));
        }
    }

    /// # Errors
    /// The list, where there is anything on it.
    pub fn finish(self) -> Result<(), Failure> {
        let mut text = match (&self.lines[..], self.more) {
            ([], _) => return Ok(()),
            ([only], 0) => return Err(Failure { problem: only.clone(), unbound: self.unbound }),
            (listed, more) => format!("{} nodes cannot be imported:", listed.len() + more),
        };
        for line in &self.lines {
            let _ = write!(text, "\n  {line}");
        }
        if self.more > 0 {
            let _ = write!(text, "\n  … and {} more", self.more);
        }
        Err(Failure { problem: text, unbound: self.unbound })
    }
}
