//! Applies what passes propose, until they have nothing left.

use std::collections::HashSet;

use super::context::{Answer, Context, Declined};
use super::explanation::{Explanation, Recorder, Verdict};
use super::patch::{Change, Patch, Value};
use super::{Level, Options, PIPELINE, Pass};
use crate::graph::{Graph, NodeId, NodeSet};
use crate::ops::{Op, ShapeError};

/// Why a graph could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A name in [`Options::disabled`] that no pass has.
    #[error("there is no pass '{name}'{}", suggestion.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default())]
    UnknownPass { name: String, suggestion: Option<&'static str> },
    /// The graph was invalid before any pass ran.
    #[error("the graph is invalid: {0}")]
    InvalidGraph(VerifyError),
    /// A pass proposed something whose shapes do not fit.
    #[error("rewrite {rewrite}, pass '{pass}' on {}: {error}", nodes.join(" + "))]
    Misfit { pass: &'static str, rewrite: usize, nodes: Vec<String>, error: ShapeError },
    /// A pass left an invalid graph. In release builds the graph is verified once all rewrites of a pass are
    /// done, and `rewrite` is the last of them.
    #[error("pass '{pass}' left an invalid graph, by rewrite {rewrite} at the latest: {error}")]
    InvalidResult { pass: &'static str, rewrite: usize, error: VerifyError },
    /// Passes keep undoing each other's work.
    #[error("after {rewrites} rewrites there is no end in sight; the last was by pass '{pass}'")]
    Loop { pass: &'static str, rewrites: usize },
}

/// Rewrites a graph, and explains what was rewritten.
///
/// # Errors
/// Where `options` name an unknown pass or the graph is invalid; the other kinds of [`PassError`] are defects of
/// a pass.
pub fn run(graph: Graph, options: &Options) -> Result<(Graph, Explanation), PassError> {
    run_pipeline(graph, options, PIPELINE)
}

fn run_pipeline(
    graph: Graph,
    options: &Options,
    pipeline: &[&[&Pass]],
) -> Result<(Graph, Explanation), PassError> {
    let all = || pipeline.iter().copied().flatten();
    for name in &options.disabled {
        if !all().any(|pass| pass.name == name) {
            let suggestion = nearest(name, all().map(|pass| pass.name));
            return Err(PassError::UnknownPass { name: name.clone(), suggestion });
        }
    }
    graph.verify().map_err(PassError::InvalidGraph)?;
    let switched_off = |pass: &Pass| {
        if options.disabled.iter().any(|name| name == pass.name) {
            Some("the pass is disabled")
        } else if pass.level == Level::Fusion && !options.fuse {
            Some("fusion is off")
        } else {
            None
        }
    };

    let mut driver = Driver::new(graph, options.stop_after);
    for group in pipeline {
        for pass in group.iter() {
            if let Some(reason) = switched_off(pass) {
                driver.explain_only(pass, reason);
            }
        }
        loop {
            let before = driver.rewrites;
            for pass in group.iter().filter(|pass| switched_off(pass).is_none()) {
                driver.sweep(pass)?;
            }
            if driver.rewrites == before || driver.is_done() {
                break;
            }
        }
    }
    Ok((driver.graph, driver.recorder.finish()))
}

/// The name that `name` was probably meant to be.
fn nearest(name: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    names
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

struct Driver {
    graph: Graph,
    /// The names in use, so that new nodes get others.
    names: HashSet<String>,
    analysis: Analysis,
    recorder: Recorder,
    rewrites: usize,
    stop_after: Option<usize>,
    /// More rewrites than this mean that passes go round in circles.
    limit: usize,
}

/// What passes want to know of the whole graph. Rewrites keep it true of the nodes that were there before, and
/// what they add are weight expressions; so it is computed once for each sweep.
#[derive(Default)]
struct Analysis {
    order: Vec<NodeId>,
    position: Vec<usize>,
    weights: NodeSet,
}

impl Analysis {
    fn of(graph: &Graph) -> Analysis {
        let order = graph.topological_order();
        let mut position = vec![0; order.iter().map(|id| id.index() + 1).max().unwrap_or(0)];
        for (place, id) in order.iter().enumerate() {
            position[id.index()] = place;
        }
        Analysis { weights: graph.weight_expressions(), order, position }
    }
}

impl Driver {
    fn new(graph: Graph, stop_after: Option<usize>) -> Driver {
        let analysis = Analysis::of(&graph);
        let names = analysis.order.iter().map(|&id| graph.node(id).name.clone()).collect();
        let limit = 64 + 4 * graph.len();
        Driver { graph, names, analysis, recorder: Recorder::default(), rewrites: 0, stop_after, limit }
    }

    fn is_done(&self) -> bool {
        self.stop_after.is_some_and(|limit| self.rewrites >= limit)
    }

    fn ask(&self, pass: &Pass, node: NodeId) -> Answer {
        let Analysis { weights, position, .. } = &self.analysis;
        (pass.visit)(&Context { graph: &self.graph, weights, position }, node)
    }

    /// Records the candidates of a pass that does not run.
    fn explain_only(&mut self, pass: &Pass, reason: &str) {
        for place in 0..self.analysis.order.len() {
            if let Ok(patch) = self.ask(pass, self.analysis.order[place]) {
                let names = self.names_of(&patch.nodes);
                self.recorder.record(pass.name, names, Verdict::Refused(reason.to_owned()));
            }
        }
    }

    /// Offers every node to `pass` once, operands before their readers, and applies what it proposes.
    fn sweep(&mut self, pass: &Pass) -> Result<(), PassError> {
        let before = self.rewrites;
        for place in 0..self.analysis.order.len() {
            if self.is_done() {
                break;
            }
            let node = self.analysis.order[place];
            if !self.graph.contains(node) {
                continue;
            }
            match self.ask(pass, node) {
                Ok(patch) => self.take(pass, patch)?,
                Err(Declined::Refused { nodes, reason }) => {
                    let names = self.names_of(&nodes);
                    self.recorder.record(pass.name, names, Verdict::Refused(reason));
                }
                Err(Declined::NotACandidate) => {}
            }
        }
        if self.rewrites > before {
            self.verify(pass)?;
            self.analysis = Analysis::of(&self.graph);
        }
        Ok(())
    }

    fn take(&mut self, pass: &Pass, patch: Patch) -> Result<(), PassError> {
        self.rewrites += 1;
        if self.rewrites > self.limit {
            return Err(PassError::Loop { pass: pass.name, rewrites: self.rewrites });
        }
        let nodes = self.names_of(&patch.nodes);
        if let Err(error) = self.apply(patch) {
            return Err(PassError::Misfit { pass: pass.name, rewrite: self.rewrites, nodes, error });
        }
        self.recorder.record(pass.name, nodes, Verdict::Taken);
        if cfg!(debug_assertions) { self.verify(pass) } else { Ok(()) }
    }

    fn verify(&self, pass: &Pass) -> Result<(), PassError> {
        self.graph.verify().map_err(|error| PassError::InvalidResult {
            pass: pass.name,
            rewrite: self.rewrites,
            error,
        })
    }

    fn apply(&mut self, patch: Patch) -> Result<(), ShapeError> {
        let (&node, others) = patch.nodes.split_last().expect("a patch is for some node");
        let mut added = Vec::with_capacity(patch.added.len());
        for new in patch.added {
            let inputs = resolve(&new.inputs, &added);
            let name = self.unused_name(new.name);
            let id = self.graph.add(name, new.op, &inputs)?;
            self.analysis.weights.insert(id);
            added.push(id);
        }
        let before = self.graph.operands(node);
        match patch.change {
            Change::Rewrite { op, epilogue, inputs } => {
                self.graph.rewrite(node, op, epilogue, &resolve(&inputs, &added))?;
                for &other in others.iter().rev() {
                    if self.graph.uses(other) == 0 {
                        self.graph.merge_layers(other, node);
                    }
                }
                self.remove_unread(before);
            }
            Change::Bypass { by } => {
                if self.graph.shape(by) != self.graph.shape(node) {
                    let (had, has) = (self.graph.shape(node), self.graph.shape(by));
                    return Err(ShapeError::new(format!("a value of shape {has} replaces one of {had}")));
                }
                self.graph.replace_uses(node, by);
                self.remove_unread(vec![node]);
            }
            Change::Remove => self.remove_unread(vec![node]),
        }
        Ok(())
    }

    /// Removes those of `candidates` that nobody reads, and then what only they read.
    fn remove_unread(&mut self, mut candidates: Vec<NodeId>) {
        while let Some(id) = candidates.pop() {
            let unread = self.graph.contains(id)
                && self.graph.uses(id) == 0
                && !matches!(self.graph.node(id).op, Op::Input(_));
            if unread {
                candidates.extend(self.graph.operands(id));
                self.names.remove(&self.graph.node(id).name);
                self.analysis.weights.remove(id);
                self.graph.remove(id);
            }
        }
    }

    /// `name`, or `name.2`, `name.3` … where a layer of the model is called so already.
    fn unused_name(&mut self, name: String) -> String {
        let mut unused = name.clone();
        let mut number = 2;
        while !self.names.insert(unused.clone()) {
            unused = format!("{name}.{number}");
            number += 1;
        }
        unused
    }

    fn names_of(&self, nodes: &[NodeId]) -> Vec<String> {
        nodes.iter().map(|&id| self.graph.node(id).name.clone()).collect()
    }
}

fn resolve(values: &[Value], added: &[NodeId]) -> Vec<NodeId> {
    values
        .iter()
        .map(|value| match *value {
            Value::Old(id) => id,
            Value::New(place) => added[place],
        })
        .collect()
}

/// Stands in for the graph's verifier.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct VerifyError(String);

trait Verify {
    fn verify(&self) -> Result<(), VerifyError>;
}

impl Verify for Graph {
    fn verify(&self) -> Result<(), VerifyError> {
        Ok(())
    }
}
