//! Applies what passes propose, until they have nothing left.

use std::collections::HashSet;

use super::context::{Answer, Context, Declined, refuse};
use super::explanation::{Explanation, Recorder, Verdict};
use super::patch::{Change, Patch, Value};
use super::{Level, Options, PIPELINE, Pass, names};
use crate::graph::{Graph, NodeId, NodeSet, VerifyError, verify};
use crate::ops::{Op, ShapeError};
use crate::spelling::closest;

/// The most layers that one node stands for: far more than any network asks for, and few enough that a chain of
/// thousands costs no more than its length.
const MAX_LAYERS: usize = 64;

/// Why a graph could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A name in [`Options::disabled`] that no pass has.
    #[error("there is no pass '{name}'{}", .suggestion.as_ref().map(|near| format!("; did you mean '{near}'?")).unwrap_or_default())]
    UnknownPass { name: String, suggestion: Option<String> },
    /// The graph was invalid before any pass ran.
    #[error("the graph is invalid: {0}")]
    InvalidGraph(VerifyError),
    /// A pass proposed something whose shapes do not fit.
    #[error("rewrite {rewrite}, pass '{pass}' on {}: {error}", .layers.join(" + "))]
    Misfit { pass: &'static str, rewrite: usize, layers: Vec<String>, error: ShapeError },
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
    options.check()?;
    run_pipeline(graph, options, PIPELINE)
}

impl Options {
    /// That every disabled pass exists.
    ///
    /// # Errors
    /// The first name that no pass has.
    pub fn check(&self) -> Result<(), PassError> {
        let unknown = self.disabled.iter().find(|name| !names().any(|(known, _)| known == *name));
        unknown.map_or(Ok(()), |name| {
            let suggestion = closest(name, names().map(|(known, _)| known)).map(str::to_owned);
            Err(PassError::UnknownPass { name: name.clone(), suggestion })
        })
    }
}

fn run_pipeline(
    graph: Graph,
    options: &Options,
    pipeline: &[&[&Pass]],
) -> Result<(Graph, Explanation), PassError> {
    verify(&graph).map_err(PassError::InvalidGraph)?;
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
        let mut position = vec![0; graph.slots()];
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
                let layers = self.layers_of(&patch.nodes);
                self.recorder.record(pass.name, layers, Verdict::Refused(reason.to_owned()));
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
            match self.ask(pass, node).and_then(|patch| self.within_limits(patch)) {
                Ok(patch) => self.take(pass, patch)?,
                Err(Declined::Refused { nodes, reason }) => {
                    let layers = self.layers_of(&nodes);
                    self.recorder.record(pass.name, layers, Verdict::Refused(reason));
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

    /// Refuses to make one node of more layers than [`MAX_LAYERS`].
    fn within_limits(&self, patch: Patch) -> Answer {
        let layers: usize = patch.nodes.iter().map(|&id| self.graph.node(id).fused.len() + 1).sum();
        match patch.change {
            Change::Rewrite { .. } if patch.nodes.len() > 1 && layers > MAX_LAYERS => {
                Err(refuse(&patch.nodes, format!("no node stands for more than {MAX_LAYERS} layers")))
            }
            _ => Ok(patch),
        }
    }

    fn take(&mut self, pass: &Pass, patch: Patch) -> Result<(), PassError> {
        self.rewrites += 1;
        if self.rewrites > self.limit {
            return Err(PassError::Loop { pass: pass.name, rewrites: self.rewrites });
        }
        let mut layers = self.layers_of(&patch.nodes);
        let removes = matches!(patch.change, Change::Remove);
        match self.apply(patch) {
            Ok(removed) if removes => layers = removed,
            Ok(_) => {}
            Err(error) => {
                return Err(PassError::Misfit { pass: pass.name, rewrite: self.rewrites, layers, error });
            }
        }
        self.recorder.record(pass.name, layers, Verdict::Taken);
        if cfg!(debug_assertions) { self.verify(pass) } else { Ok(()) }
    }

    fn verify(&self, pass: &Pass) -> Result<(), PassError> {
        verify(&self.graph).map_err(|error| PassError::InvalidResult {
            pass: pass.name,
            rewrite: self.rewrites,
            error,
        })
    }

    /// The layers that are gone afterwards, in dataflow order.
    fn apply(&mut self, patch: Patch) -> Result<Vec<String>, ShapeError> {
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
                    if !self.graph.is_read(other) {
                        self.graph.merge_layers(other, node);
                    }
                }
                Ok(self.remove_unread(before))
            }
            Change::Bypass { by } => {
                if self.graph.shape(by) != self.graph.shape(node) {
                    let (had, has) = (self.graph.shape(node), self.graph.shape(by));
                    return Err(ShapeError::new(format!("a value of shape {has} replaces one of {had}")));
                }
                self.graph.replace_uses(node, by);
                Ok(self.remove_unread(vec![node]))
            }
            Change::Remove => Ok(self.remove_unread(vec![node])),
        }
    }

    /// Removes those of `candidates` that nobody reads, and then what only they read. The layers that are gone,
    /// in dataflow order.
    fn remove_unread(&mut self, mut candidates: Vec<NodeId>) -> Vec<String> {
        let mut removed = Vec::new();
        while let Some(id) = candidates.pop() {
            let unread = self.graph.contains(id)
                && !self.graph.is_read(id)
                && !matches!(self.graph.node(id).op, Op::Input(_));
            if unread {
                candidates.extend(self.graph.operands(id));
                let node = self.graph.node(id);
                self.names.remove(&node.name);
                if node.op.operator().is_some() {
                    removed.extend(node.layers().map(str::to_owned).collect::<Vec<_>>().into_iter().rev());
                }
                self.analysis.weights.remove(id);
                self.graph.remove(id);
            }
        }
        removed.reverse();
        removed
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

    fn layers_of(&self, nodes: &[NodeId]) -> Vec<String> {
        nodes.iter().flat_map(|&id| self.graph.node(id).layers()).map(str::to_owned).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Activation, Input, Reshape, Unary, UnaryFunction};
    use crate::tensor::Shape;

    /// `x → neg → output`
    fn graph() -> Graph {
        let mut graph = Graph::new("m");
        let x = graph.add("x", Op::Input(Input { shape: Shape::from([1, 4]) }), &[]).unwrap();
        let neg = graph.add("neg", Unary { function: UnaryFunction::Neg }, &[x]).unwrap();
        graph.add_output("y", neg);
        graph
    }

    fn error_of(visit: fn(&Context, NodeId) -> Answer) -> PassError {
        let pass = Pass { name: "broken", description: "", level: Level::CleanUp, visit };
        run_pipeline(graph(), &Options::default(), &[&[&pass]]).unwrap_err()
    }

    fn rewrite(context: &Context, node: NodeId, op: impl Into<Op>) -> Answer {
        if context.node(node).name != "neg" {
            return Err(Declined::NotACandidate);
        }
        Ok(Patch::rewrite(&[node], op, Default::default(), context.graph.operands(node)))
    }

    #[test]
    fn a_pass_without_end_is_stopped() {
        let error = error_of(|context, node| rewrite(context, node, Activation::Relu));
        assert_eq!(
            error.to_string(),
            "after 73 rewrites there is no end in sight; the last was by pass 'broken'"
        );
    }

    #[test]
    fn a_patch_of_another_shape_is_an_error_that_names_the_pass_and_the_node() {
        let error = error_of(|context, node| rewrite(context, node, Reshape { shape: Shape::from([4]) }));
        assert_eq!(
            error.to_string(),
            "rewrite 1, pass 'broken' on neg: 'neg' has shape [1, 4], its replacement [4]"
        );
    }

    #[test]
    fn a_patch_that_makes_a_cycle_is_an_error_that_names_the_pass() {
        let error = error_of(|context, node| {
            rewrite(context, node, Activation::Relu).map(|mut patch| {
                if let Change::Rewrite { inputs, .. } = &mut patch.change {
                    *inputs = vec![node.into()];
                }
                patch
            })
        });
        assert!(matches!(error, PassError::InvalidResult { pass: "broken", rewrite: 1, .. }), "{error}");
    }

    #[test]
    fn an_invalid_graph_is_refused_before_any_pass_runs() {
        let mut twins = graph();
        let x = twins.inputs()[0];
        twins.add("neg", Activation::Relu, &[x]).unwrap();
        let error = run(twins, &Options::default()).unwrap_err();
        assert!(matches!(error, PassError::InvalidGraph(_)), "{error}");
    }

    #[test]
    fn every_pass_has_a_name_of_its_own() {
        let names: Vec<_> = super::super::names().map(|(name, _)| name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }
}
