//! Statements.

use super::value::{Callable, List, Value};
use super::{Elaborator, Eval, Stop};
use crate::dsl::ast::*;
use crate::dsl::diagnostics::Diagnostic;
use crate::ops::{Input, Op};
use crate::tensor::Shape;

/// What a body came to: the value it returned, if it did; within, `None` if that was at fault.
pub(super) type Returned<'a> = Option<Option<Value<'a>>>;

impl<'a> Elaborator<'a> {
    /// Runs a body in the current frame. Its blocks can be called before they are defined.
    pub(super) fn body(&mut self, body: &'a [Statement]) -> Eval<Returned<'a>> {
        self.define_blocks(body);
        self.deepen(body.first().map_or_else(Span::default, |statement| statement.span))?;
        for statement in body {
            self.charge(1, statement.span)?;
            match self.statement(statement) {
                Ok(None) | Err(Stop::Fault) => {}
                Ok(returned) => {
                    self.depth -= 1;
                    return Ok(returned);
                }
                Err(Stop::Limit) => return Err(Stop::Limit),
            }
        }
        self.depth -= 1;
        Ok(None)
    }

    fn define_blocks(&mut self, body: &'a [Statement]) {
        let mut seen: Vec<&Name> = Vec::new();
        for statement in body {
            let StatementKind::Block(block) = &statement.kind else { continue };
            if let Some(first) = seen.iter().find(|name| name.text == block.name.text) {
                self.report(
                    Diagnostic::error(
                        format!("two blocks are called `{}`", block.name.text),
                        block.name.span,
                        "the second",
                    )
                    .and(first.span, "the first"),
                );
            }
            seen.push(&block.name);
            let frame = self.scopes.current();
            self.scopes.bind(&block.name.text, Some(Value::Callable(Callable::Block(block, frame))));
        }
    }

    fn statement(&mut self, statement: &'a Statement) -> Eval<Returned<'a>> {
        match &statement.kind {
            StatementKind::Block(_) => Ok(None),
            StatementKind::Input { name, element_type, dims } => {
                self.input(name, element_type, dims).map(|()| None)
            }
            StatementKind::Output { name, value } => self.output(name, value.as_ref()).map(|()| None),
            StatementKind::Assign { target, value } => {
                let value = self.attempt(value)?;
                self.assign(target, value)?;
                Ok(None)
            }
            StatementKind::Return(value) => {
                if self.activations.is_empty() {
                    return Err(self.fault(
                        Diagnostic::error("only blocks return", statement.span, "this is the model itself")
                            .help("a model's result is named: `output logits = x`"),
                    ));
                }
                self.attempt(value).map(Some)
            }
            StatementKind::Repeat { count, body } => {
                let Some(count) = self.attempt_count(count)? else { return self.skip(body) };
                for _ in 0..count {
                    self.charge(1, statement.span)?;
                    if let returned @ Some(_) = self.body(body)? {
                        return Ok(returned);
                    }
                }
                Ok(None)
            }
            StatementKind::For { target, items, body } => self.for_each(target, items, body),
            StatementKind::If { branches, otherwise } => {
                for (condition, body) in branches {
                    match self.attempt_condition(condition)? {
                        Some(true) => return self.body(body),
                        Some(false) => {}
                        None => {
                            for (_, body) in branches {
                                self.skip(body)?;
                            }
                            return self.skip(otherwise.as_deref().unwrap_or_default());
                        }
                    }
                }
                otherwise.as_deref().map_or(Ok(None), |body| self.body(body))
            }
            StatementKind::Assert { condition, message } => {
                if self.attempt_condition(condition)? == Some(false) {
                    let text = match self.expression(message)? {
                        Value::Text(text) => text.to_string(),
                        other => other.to_string(),
                    };
                    self.report(Diagnostic::error(text, condition.span, "this does not hold"));
                }
                Ok(None)
            }
        }
    }

    /// Leaves out a body of which it is not known whether it runs: what it would assign has no value.
    fn skip(&mut self, body: &'a [Statement]) -> Eval<Returned<'a>> {
        let mut returned = None;
        for statement in body {
            match &statement.kind {
                StatementKind::Assign { target, .. } => self.assign(target, None)?,
                StatementKind::Input { name, .. } => self.scopes.bind(&name.text, None),
                StatementKind::Return(_) => returned = Some(None),
                StatementKind::Repeat { body, .. } => returned = returned.or(self.skip(body)?),
                StatementKind::For { target, body, .. } => {
                    self.assign(target, None)?;
                    returned = returned.or(self.skip(body)?);
                }
                StatementKind::If { branches, otherwise } => {
                    for (_, body) in branches {
                        returned = returned.or(self.skip(body)?);
                    }
                    returned = returned.or(self.skip(otherwise.as_deref().unwrap_or_default())?);
                }
                StatementKind::Block(_) | StatementKind::Output { .. } | StatementKind::Assert { .. } => {}
            }
        }
        Ok(returned)
    }

    /// An expression's value, or `None` where it was at fault.
    pub(super) fn attempt(&mut self, expression: &'a Expression) -> Eval<Option<Value<'a>>> {
        match self.expression(expression) {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Fault) => Ok(None),
            Err(Stop::Limit) => Err(Stop::Limit),
        }
    }

    fn attempt_condition(&mut self, condition: &'a Expression) -> Eval<Option<bool>> {
        match self.condition(condition) {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Fault) => Ok(None),
            Err(Stop::Limit) => Err(Stop::Limit),
        }
    }

    fn attempt_count(&mut self, count: &'a Expression) -> Eval<Option<usize>> {
        let Some(value) = self.attempt(count)? else { return Ok(None) };
        match self.extent_of(&value, count.span, "a number of repetitions", 0) {
            Ok(count) => Ok(Some(count)),
            Err(Stop::Fault) => Ok(None),
            Err(Stop::Limit) => Err(Stop::Limit),
        }
    }

    fn for_each(
        &mut self,
        target: &'a Pattern,
        items: &'a Expression,
        body: &'a [Statement],
    ) -> Eval<Returned<'a>> {
        let Some(value) = self.attempt(items)? else {
            self.assign(target, None)?;
            return self.skip(body);
        };
        let Value::List(list) = value else {
            let kind = value.kind();
            self.report(
                Diagnostic::error(
                    format!("`for` goes over a list, not over {kind}"),
                    items.span,
                    "not a list",
                )
                .help("a range of numbers is `0..n`; to only do something n times, `repeat n { … }`"),
            );
            self.assign(target, None)?;
            return self.skip(body);
        };
        for item in list.items() {
            self.charge(1, items.span)?;
            self.assign(target, Some(item.clone()))?;
            if let returned @ Some(_) = self.body(body)? {
                return Ok(returned);
            }
        }
        Ok(None)
    }

    pub(super) fn assign(&mut self, target: &'a Pattern, value: Option<Value<'a>>) -> Eval<()> {
        let (parts, span) = match target {
            Pattern::Name(name) => {
                self.scopes.bind(&name.text, value);
                return Ok(());
            }
            Pattern::Tuple { parts, span } => (parts, *span),
        };
        let items = match &value {
            Some(Value::List(list)) if list.items().len() == parts.len() => Some(list),
            Some(Value::List(list)) => {
                let (names, items) = (parts.len(), list.items().len());
                self.report(
                    Diagnostic::error(
                        format!("{names} names for {items} values"),
                        span,
                        format!("names {names}"),
                    )
                    .help(format!("the value is {}", Value::List(list.clone()))),
                );
                None
            }
            Some(other) => {
                let kind = other.kind();
                self.report(Diagnostic::error(
                    format!("{kind} does not come apart into {} values", parts.len()),
                    span,
                    "needs a list of that length",
                ));
                None
            }
            None => None,
        };
        let items: Option<Vec<Value<'a>>> = items.map(|list: &List<'a>| list.items().to_vec());
        for (position, part) in parts.iter().enumerate() {
            self.assign(part, items.as_ref().map(|items| items[position].clone()))?;
        }
        Ok(())
    }

    fn input(&mut self, name: &'a Name, element_type: &'a Name, dims: &'a [Expression]) -> Eval<()> {
        self.scopes.bind(&name.text, None);
        if !self.activations.is_empty() {
            return Err(self.fault(
                Diagnostic::error("a block cannot declare an input", name.span, "within a block")
                    .help("pass the value as a parameter: `block name(x) { … }`"),
            ));
        }
        if element_type.text != "f32" {
            self.report(Diagnostic::error(
                format!("inputs are of type f32, not {}", element_type.text),
                element_type.span,
                "write `f32`",
            ));
        }
        let mut extents = Vec::new();
        for dim in dims {
            let Some(value) = self.attempt(dim)? else { continue };
            match self.extent_of(&value, dim.span, "an extent", 1) {
                Ok(extent) => extents.push(extent),
                Err(Stop::Fault) => {}
                Err(Stop::Limit) => return Err(Stop::Limit),
            }
        }
        if extents.len() < dims.len() {
            return Err(Stop::Fault);
        }
        self.check_rank(extents.len(), name.span)?;
        self.claim(&name.text, name.span)?;
        let node = self.graph.add(&name.text, Op::Input(Input { shape: Shape::new(extents) }), &[]);
        let node =
            node.map_err(|error| self.fault(Diagnostic::error(error.problem, name.span, "this input")))?;
        self.scopes.bind(&name.text, Some(Value::Tensor(node)));
        Ok(())
    }

    fn output(&mut self, name: &'a Name, value: Option<&'a Expression>) -> Eval<()> {
        if !self.activations.is_empty() {
            return Err(self.fault(
                Diagnostic::error("a block cannot declare an output", name.span, "within a block")
                    .help("return the value, and declare the output in the model"),
            ));
        }
        if let Some(&(_, first)) = self.outputs.iter().find(|(text, _)| *text == name.text) {
            self.report(
                Diagnostic::error(format!("two outputs are called `{}`", name.text), name.span, "the second")
                    .and(first, "the first"),
            );
        }
        self.outputs.push((&name.text, name.span));
        let (value, span) = match value {
            Some(expression) => (self.expression(expression)?, expression.span),
            None => (self.lookup(&name.text, name.span)?, name.span),
        };
        let Value::Tensor(node) = value else {
            return Err(self.fault(Diagnostic::error(
                format!("an output is a layer's value, not {}", value.kind()),
                span,
                format!("this is {value}"),
            )));
        };
        self.graph.add_output(&name.text, node);
        self.scopes.bind(&name.text, Some(value));
        Ok(())
    }
}
