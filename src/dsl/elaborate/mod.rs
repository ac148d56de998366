//! Running a model's statements: syntax tree to graph.
//!
//! A mistake is reported once, where it is made. What depends on it has no value (`Stop::Fault`, or a variable
//! bound to `None`), and everything that can be checked without that value still is.

mod arguments;
mod arithmetic;
mod calls;
mod expressions;
mod functions;
mod layers;
mod names;
mod operators;
mod parameters;
mod scope;
mod statements;
mod unused;
mod value;
mod windows;

use std::collections::HashSet;

use super::Defines;
use super::ast::{Block, Model, Span};
use super::diagnostics::Diagnostic;
use crate::graph::{Graph, NodeId};
use names::Names;
pub(super) use operators::signatures;
use scope::Scopes;

/// How many expressions and statements may be evaluated.
const MAX_STEPS: usize = 2_000_000;

/// How many nodes, weights included, a graph may have.
const MAX_NODES: usize = 100_000;

/// How many trained numbers a model may have: 4 GiB of them.
const MAX_PARAMETERS: usize = 1 << 30;

/// How deep evaluation may recurse, all block calls together.
const MAX_DEPTH: usize = 256;

/// Why an evaluation has no value.
#[derive(Debug)]
enum Stop {
    /// A mistake that has been reported.
    Fault,
    /// A limit was reached: nothing further is evaluated.
    Limit,
}

type Eval<T> = Result<T, Stop>;

/// A call of a block that is under way.
struct Activation<'a> {
    block: &'a Block,
    call: Span,
}

struct Elaborator<'a> {
    text: &'a str,
    model: &'a Model,
    graph: Graph,
    /// For each node, the call that made it.
    origins: Vec<(NodeId, Span)>,
    errors: Vec<Diagnostic>,
    reported: HashSet<Span>,
    scopes: Scopes<'a>,
    names: Names,
    activations: Vec<Activation<'a>>,
    outputs: Vec<(&'a str, Span)>,
    steps: usize,
    depth: usize,
    parameters: usize,
}

/// The model's graph and warnings, or its errors.
pub(super) fn elaborate(
    text: &str,
    model: &Model,
    defines: &Defines,
) -> Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut elaborator = Elaborator {
        text,
        model,
        graph: Graph::new(&model.name.text),
        origins: Vec::new(),
        errors: Vec::new(),
        reported: HashSet::new(),
        scopes: Scopes::default(),
        names: Names::reserving(unused::literal_labels(model)),
        activations: Vec::new(),
        outputs: Vec::new(),
        steps: 0,
        depth: 0,
        parameters: 0,
    };
    // A limit has been reported like any other mistake.
    let _ = elaborator.model(defines);
    if elaborator.errors.is_empty() {
        let warnings = elaborator.unused();
        Ok((elaborator.graph, warnings))
    } else {
        Err(elaborator.errors)
    }
}

impl<'a> Elaborator<'a> {
    fn model(&mut self, defines: &Defines) -> Eval<()> {
        self.scopes.open(None);
        self.bind_model_parameters(defines)?;
        self.body(&self.model.body)?;
        let name = &self.model.name;
        if self.outputs.is_empty() && self.errors.is_empty() {
            self.report(
                Diagnostic::error(format!("`{}` has no output", name.text), name.span, "this model")
                    .help("name its result: `output logits = x`"),
            );
        }
        Ok(())
    }

    /// Keeps a mistake, with the calls that led to it. One place is at fault only once, however often it is
    /// evaluated.
    fn report(&mut self, diagnostic: Diagnostic) {
        if !self.reported.insert(diagnostic.span()) {
            return;
        }
        let calls: Vec<String> =
            self.activations.iter().rev().map(|activation| self.called(activation)).collect();
        self.errors.push(calls.into_iter().fold(diagnostic, Diagnostic::because));
    }

    /// [`Elaborator::report`], for use as an error.
    fn fault(&mut self, diagnostic: Diagnostic) -> Stop {
        self.report(diagnostic);
        Stop::Fault
    }

    /// Reports that a limit was reached.
    fn limit(&mut self, diagnostic: Diagnostic) -> Stop {
        self.report(diagnostic);
        Stop::Limit
    }

    /// "in `separable(512)`, called at 20:14".
    fn called(&self, activation: &Activation<'_>) -> String {
        const SHOWN: usize = 60;
        let Span { start, end } = activation.call;
        let written = self.text.get(start..end).unwrap_or(&activation.block.name.text);
        let mut call = written.split_whitespace().collect::<Vec<_>>().join(" ");
        if call.chars().count() > SHOWN {
            call = call.chars().take(SHOWN).chain(['…']).collect();
        }
        let before = self.text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("in `{call}`, called at {line}:{column}")
    }

    /// Counts work, so that no model file keeps the compiler busy without end.
    fn charge(&mut self, steps: usize, span: Span) -> Eval<()> {
        self.steps += steps;
        if self.steps <= MAX_STEPS {
            return Ok(());
        }
        Err(self.limit(
            Diagnostic::error(
                format!("building this model takes more than {MAX_STEPS} steps"),
                span,
                "given up here",
            )
            .help("do the loops around this run as often as they should?"),
        ))
    }
}

/// Whether a name is an operator's or a function's.
pub(super) fn is_known(name: &str) -> bool {
    operators::find(name).is_some() || functions::find(name).is_some()
}
