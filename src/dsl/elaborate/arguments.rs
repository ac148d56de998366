//! An operator's arguments, and their conversion to what the operator works with.

use super::arithmetic;
use super::calls::Given;
use super::operators::{Operator, literal};
use super::value::Value;
use super::{Elaborator, Eval, Stop};
use crate::dsl::ast::*;
use crate::dsl::diagnostics::{Diagnostic, listed};
use crate::graph::NodeId;
use crate::ops::MAX_ELEMENTS;

/// The most axes an array may have.
const MAX_RANK: usize = 8;

pub(super) struct Arguments<'a> {
    operator: &'static Operator,
    /// Where the operator's name stands.
    pub callee: Span,
    /// The whole call.
    pub span: Span,
    pub label: Option<&'a Label>,
    /// The values of an operator that takes any number.
    several: Vec<Given<'a>>,
    /// By parameter, those of the operator that takes several left out.
    bound: Vec<Option<Given<'a>>>,
}

impl<'a> Arguments<'a> {
    pub fn new(
        operator: &'static Operator,
        callee: Span,
        span: Span,
        label: Option<&'a Label>,
        several: Vec<Given<'a>>,
        bound: Vec<Option<Given<'a>>>,
    ) -> Self {
        Arguments { operator, callee, span, label, several, bound }
    }

    pub fn operator(&self) -> &'static str {
        self.operator.name()
    }

    /// A parameter's value and where it was given; a default stands at the operator's name.
    pub fn get(&self, name: &str) -> (Value<'a>, Span) {
        let skipped = usize::from(self.operator.takes_several());
        let index = self.operator.parameters().iter().position(|parameter| parameter.name == name);
        let index = index.expect("builders ask for the parameters of their signature");
        if let Some(Given { value: Some(value), span, .. }) = &self.bound[index - skipped] {
            return (value.clone(), *span);
        }
        let default = self.operator.parameters()[index].default.as_ref().expect("required ones are bound");
        match &default.kind {
            ExpressionKind::Name(other)
                if self.operator.parameters().iter().any(|parameter| parameter.name == *other) =>
            {
                self.get(other)
            }
            _ => (literal(default).expect("defaults are literals"), self.callee),
        }
    }

    /// Every value of the graph among the arguments, with its place.
    pub fn tensors(&self) -> Vec<(NodeId, Span)> {
        let mut tensors = Vec::new();
        for given in self.several.iter().chain(self.bound.iter().flatten()) {
            match &given.value {
                Some(Value::Tensor(node)) => tensors.push((*node, given.span)),
                Some(Value::List(list)) => {
                    tensors.extend(list.items().iter().filter_map(|item| match item {
                        Value::Tensor(node) => Some((*node, given.span)),
                        _ => None,
                    }))
                }
                _ => {}
            }
        }
        tensors
    }

    /// The value that a layer works on.
    pub fn tensor(&self, elaborator: &mut Elaborator<'a>, name: &str) -> Eval<NodeId> {
        match self.get(name) {
            (Value::Tensor(node), _) => Ok(node),
            (other, span) => Err(elaborator.fault(Diagnostic::error(
                format!("`{}` works on a layer's value, not on {}", self.operator(), other.kind()),
                span,
                format!("this is {other}"),
            ))),
        }
    }

    /// The values of an operator that takes any number, in the call or as one list.
    pub fn several(&self, elaborator: &mut Elaborator<'a>) -> Eval<Vec<NodeId>> {
        let mut nodes = Vec::new();
        for given in &self.several {
            let items = match &given.value {
                Some(Value::List(list)) => list.items().to_vec(),
                value => value.iter().cloned().collect(),
            };
            for item in items {
                let Value::Tensor(node) = item else {
                    return Err(elaborator.fault(Diagnostic::error(
                        format!("`{}` works on layers' values, not on {}", self.operator(), item.kind()),
                        given.span,
                        format!("this is {item}"),
                    )));
                };
                nodes.push(node);
            }
        }
        if nodes.is_empty() {
            let name = self.operator();
            return Err(elaborator.fault(
                Diagnostic::error(format!("`{name}` is given no value to work on"), self.callee, "of what?")
                    .help(format!("name the values: `{name}(a, b)`")),
            ));
        }
        Ok(nodes)
    }

    /// A number of something, at least `least`.
    pub fn extent(&self, elaborator: &mut Elaborator<'a>, name: &str, least: usize) -> Eval<usize> {
        let (value, span) = self.get(name);
        elaborator.extent_of(&value, span, &format!("`{name}`"), least)
    }

    /// `[vertical, horizontal]`, given as one number for both or as a list.
    pub fn pair(&self, elaborator: &mut Elaborator<'a>, name: &str, least: usize) -> Eval<[usize; 2]> {
        let (value, span) = self.get(name);
        if !matches!(value, Value::List(_)) {
            let both = elaborator.extent_of(&value, span, &format!("`{name}`"), least)?;
            return Ok([both, both]);
        }
        let items = elaborator.extents_of(&value, span, &format!("`{name}`"), least)?;
        items.try_into().map_err(|items: Vec<usize>| {
            elaborator.fault(Diagnostic::error(
                format!("`{name}` is one number or [vertical, horizontal], not {} numbers", items.len()),
                span,
                format!("this is {items:?}"),
            ))
        })
    }

    pub fn extents(&self, elaborator: &mut Elaborator<'a>, name: &str, least: usize) -> Eval<Vec<usize>> {
        let (value, span) = self.get(name);
        elaborator.extents_of(&value, span, &format!("`{name}`"), least)
    }

    /// Whole numbers of either sign.
    pub fn integers(&self, elaborator: &mut Elaborator<'a>, name: &str) -> Eval<Vec<i64>> {
        let (value, span) = self.get(name);
        let Value::List(list) = &value else { return Err(elaborator.not_a_list(&value, span, name)) };
        let numbers: Option<Vec<i64>> =
            list.items().iter().map(|item| item.as_number().and_then(arithmetic::whole)).collect();
        numbers.ok_or_else(|| {
            elaborator.fault(Diagnostic::error(
                format!("`{name}` is a list of whole numbers"),
                span,
                format!("this is {value}"),
            ))
        })
    }

    pub fn float(&self, elaborator: &mut Elaborator<'a>, name: &str) -> Eval<f32> {
        let (value, span) = self.get(name);
        let number = value.as_number().map(|number| number as f32).filter(|number| number.is_finite());
        number.ok_or_else(|| {
            elaborator.fault(Diagnostic::error(
                format!("`{name}` is a number, not {}", value.kind()),
                span,
                format!("this is {value}"),
            ))
        })
    }

    pub fn flag(&self, elaborator: &mut Elaborator<'a>, name: &str) -> Eval<bool> {
        match self.get(name) {
            (Value::Bool(value), _) => Ok(value),
            (other, span) => Err(elaborator.fault(Diagnostic::error(
                format!("`{name}` is true or false, not {}", other.kind()),
                span,
                format!("this is {other}"),
            ))),
        }
    }

    /// One of a few words.
    pub fn word(
        &self,
        elaborator: &mut Elaborator<'a>,
        name: &str,
        words: &[&'static str],
    ) -> Eval<&'static str> {
        let (value, span) = self.get(name);
        let known = match &value {
            Value::Text(text) => words.iter().find(|word| **word == &**text),
            _ => None,
        };
        known.copied().ok_or_else(|| {
            elaborator.fault(Diagnostic::error(
                format!("`{name}` is {}, not {value}", listed(words, "or")),
                span,
                "here",
            ))
        })
    }

    /// An axis of a value of that rank, counted from the end where negative.
    pub fn axis(&self, elaborator: &mut Elaborator<'a>, name: &str, rank: usize) -> Eval<usize> {
        let (value, span) = self.get(name);
        let axis = value.as_number().and_then(arithmetic::whole).and_then(|axis| {
            usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok().filter(|axis| *axis < rank)
        });
        axis.ok_or_else(|| {
            elaborator.fault(Diagnostic::error(
                format!("a value of {rank} axes has no axis {value}"),
                span,
                format!("axes are 0 to {}, or -1 for the last", rank.saturating_sub(1)),
            ))
        })
    }
}

impl<'a> Elaborator<'a> {
    /// A number of something: whole, at least `least`, and of a size kiln works with.
    pub(super) fn extent_of(
        &mut self,
        value: &Value<'a>,
        span: Span,
        what: &str,
        least: usize,
    ) -> Eval<usize> {
        let Some(number) = value.as_number() else {
            let diagnostic = Diagnostic::error(
                format!("{what} is a whole number, not {}", value.kind()),
                span,
                format!("this is {value}"),
            );
            return Err(self.fault(diagnostic));
        };
        let problem = match arithmetic::whole(number) {
            None => {
                let written = self.text.get(span.start..span.end).unwrap_or_default();
                Diagnostic::error(
                    format!("{what} is a whole number, not {number}"),
                    span,
                    format!("this is {number}"),
                )
                .help(format!(
                    "round it: `round({written})`, or `round_to({written}, 8)` for a multiple of 8"
                ))
            }
            Some(whole) if whole < least as i64 => Diagnostic::error(
                format!("{what} is at least {least}, not {whole}"),
                span,
                format!("this is {whole}"),
            ),
            Some(whole) if whole > MAX_ELEMENTS as i64 => Diagnostic::error(
                format!("{what} is larger than kiln works with"),
                span,
                format!("this is {whole}, the limit {MAX_ELEMENTS}"),
            ),
            Some(whole) => return Ok(whole as usize),
        };
        Err(self.fault(problem))
    }

    pub(super) fn extents_of(
        &mut self,
        value: &Value<'a>,
        span: Span,
        what: &str,
        least: usize,
    ) -> Eval<Vec<usize>> {
        let Value::List(list) = value else {
            let name = what.trim_matches('`');
            return Err(self.not_a_list(value, span, name));
        };
        list.items().iter().map(|item| self.extent_of(item, span, what, least)).collect()
    }

    fn not_a_list(&mut self, value: &Value<'a>, span: Span, name: &str) -> Stop {
        self.fault(Diagnostic::error(
            format!("`{name}` is a list, not {}", value.kind()),
            span,
            format!("this is {value}"),
        ))
    }

    pub(super) fn check_rank(&mut self, rank: usize, span: Span) -> Eval<()> {
        if rank <= MAX_RANK {
            return Ok(());
        }
        Err(self.fault(Diagnostic::error(
            format!("an array may have {MAX_RANK} axes, this one has {rank}"),
            span,
            "too many",
        )))
    }
}
