//! Adding layers to the graph: one function for each operator that a model file can name.

mod elementwise;
mod general;
mod pooling;
mod rearrange;
mod weighted;

pub(super) use elementwise::*;
pub(super) use general::*;
pub(super) use pooling::*;
pub(super) use rearrange::*;
pub(super) use weighted::*;

use super::arguments::Arguments;
use super::names::LabelError;
use super::value::Value;
use super::{Elaborator, Eval, MAX_NODES, MAX_PARAMETERS, Stop};
use crate::dsl::ast::*;
use crate::dsl::diagnostics::Diagnostic;
use crate::graph::NodeId;
use crate::ops::{Init, Op, Parameter, ShapeError};
use crate::tensor::Shape;

/// Where a layer stands in the text.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The whole call or operation.
    pub span: Span,
    /// Its name or operator alone.
    pub symbol: Span,
}

impl<'a> Elaborator<'a> {
    /// The name of the layer that a call makes: its label's, or the operator's.
    fn layer_name(&mut self, label: Option<&'a Label>, operator: &str, span: Span) -> Eval<String> {
        let Some(label) = label else { return Ok(self.names.unlabelled(operator, span)) };
        let text = self.text(&label.parts, label.span)?;
        match self.names.labelled(&text, label.span) {
            Ok(name) => Ok(name),
            Err(LabelError::Malformed(problem)) => {
                let shown = format!("this is {text:?}");
                Err(self.fault(Diagnostic::error(problem, label.span, shown)))
            }
            Err(LabelError::Duplicate(name, first)) => {
                self.report(duplicate(&name, label.span, first));
                // What follows can still be checked.
                Ok(self.names.unlabelled(operator, span))
            }
        }
    }

    /// Claims a name in full, reporting it where it is taken.
    pub(super) fn claim(&mut self, name: &str, span: Span) -> Eval<()> {
        match self.names.take(name, span) {
            Err(LabelError::Duplicate(name, first)) => Err(self.fault(duplicate(&name, span, first))),
            Ok(()) | Err(LabelError::Malformed(_)) => Ok(()),
        }
    }

    /// Adds the layer that a call makes.
    fn add_layer(
        &mut self,
        arguments: &Arguments<'a>,
        name: String,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Eval<Value<'a>> {
        let place = Place { span: arguments.span, symbol: arguments.callee };
        let node = self.add_node(name, op, inputs, place, &arguments.tensors())?;
        Ok(Value::Tensor(node))
    }

    /// Adds a layer without weights that the call makes, under its label or the operator's name.
    fn add_plain(
        &mut self,
        arguments: &Arguments<'a>,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Eval<Value<'a>> {
        let name = self.layer_name(arguments.label, arguments.operator(), arguments.callee)?;
        self.add_layer(arguments, name, op, inputs)
    }

    /// Adds a node; where the shapes do not fit, shows them beside what has them.
    fn add_node(
        &mut self,
        name: String,
        op: impl Into<Op>,
        inputs: &[NodeId],
        place: Place,
        operands: &[(NodeId, Span)],
    ) -> Eval<NodeId> {
        let span = place.span;
        self.charge(1, span)?;
        if self.graph.len() >= MAX_NODES {
            return Err(self.limit(
                Diagnostic::error(
                    format!("this model has more than {MAX_NODES} layers and weights"),
                    span,
                    "given up here",
                )
                .help("do the loops around this run as often as they should?"),
            ));
        }
        match self.graph.add(name, op, inputs) {
            Ok(node) => {
                self.origins.push((node, span));
                Ok(node)
            }
            Err(error) => {
                let diagnostic = self.misfit(error, place, operands);
                Err(self.fault(diagnostic))
            }
        }
    }

    /// Says that shapes do not fit.
    fn misfit(&self, error: ShapeError, place: Place, operands: &[(NodeId, Span)]) -> Diagnostic {
        // Where the operands stand within the call, its name alone is underlined.
        let within = |span: &Span| place.span.start <= span.start && span.end <= place.span.end;
        let at = if operands.iter().any(|(_, span)| within(span)) { place.symbol } else { place.span };
        let mut diagnostic = Diagnostic::error(error.problem, at, "here");
        for &(node, span) in operands {
            diagnostic = diagnostic.and(span, self.graph.shape(node).to_string());
        }
        if let Some(formula) = error.formula {
            diagnostic = diagnostic.because(formula);
        }
        diagnostic
    }

    /// Adds the weight `layer.suffix`.
    fn add_parameter(
        &mut self,
        arguments: &Arguments<'a>,
        layer: &str,
        suffix: &str,
        shape: impl Into<Shape>,
        init: Init,
    ) -> Eval<NodeId> {
        let key = format!("{layer}.{suffix}");
        let shape = shape.into();
        self.claim(&key, arguments.callee)?;
        self.count_parameters(arguments, &key, &shape)?;
        let parameter = Parameter { key: key.clone(), shape, init };
        let place = Place { span: arguments.span, symbol: arguments.callee };
        self.add_node(key, Op::Parameter(parameter), &[], place, &[])
    }

    /// Counts a weight towards the limit on all of them.
    fn count_parameters(&mut self, arguments: &Arguments<'a>, key: &str, shape: &Shape) -> Eval<()> {
        // A weight too large by itself is refused by the graph.
        self.parameters = self.parameters.saturating_add(shape.checked_elements().unwrap_or(0));
        if self.parameters <= MAX_PARAMETERS {
            return Ok(());
        }
        Err(self.limit(Diagnostic::error(
            format!("`{key}` of shape {shape} is too large"),
            arguments.span,
            format!("a model may have {MAX_PARAMETERS} parameters, 4 GiB, all layers together"),
        )))
    }

    /// `[n, c, h, w]` of a value that must be of that form.
    fn image(&mut self, arguments: &Arguments<'a>, node: NodeId) -> Eval<(usize, usize, usize, usize)> {
        let shape = self.graph.shape(node).clone();
        if let Some(extents) = shape.nchw() {
            return Ok(extents);
        }
        let error =
            ShapeError::new(format!("`{}` takes images [n, c, h, w], not {shape}", arguments.operator()));
        Err(self.mismatch(arguments, error, None))
    }

    /// Reports that the values a call is given do not fit it.
    fn mismatch(&mut self, arguments: &Arguments<'a>, error: ShapeError, help: Option<&str>) -> Stop {
        let place = Place { span: arguments.span, symbol: arguments.callee };
        let diagnostic = self.misfit(error, place, &arguments.tensors());
        self.fault(diagnostic.help_if(help))
    }
}

fn duplicate(name: &str, second: Span, first: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("two layers are called `{name}`"), second, "the second");
    if second == first {
        diagnostic.help(
            "this runs more than once; give each run another name, such as \"conv{i}\", \
             or label the block calls around it",
        )
    } else {
        diagnostic.and(first, "the first")
    }
}
