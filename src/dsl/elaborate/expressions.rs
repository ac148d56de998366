//! Expressions.

use super::arithmetic;
use super::calls::Piped;
use super::layers::Place;
use super::value::{Callable, List, Value};
use super::{Elaborator, Eval, MAX_DEPTH, Stop, functions, operators};
use crate::dsl::ast::*;
use crate::dsl::diagnostics::{Diagnostic, listed};
use crate::ops::{BinaryFunction, UnaryFunction};
use crate::spelling::closest;

/// The longest string that a model file can put together, in bytes.
const MAX_TEXT: usize = 1000;

/// What stands for a way of doing something where no variable has that name: `padding = same`.
const WORDS: [&str; 4] = ["same", "valid", "running", "batch"];

impl<'a> Elaborator<'a> {
    /// Counts one more level of recursion; whoever calls it takes the level back.
    pub(super) fn deepen(&mut self, span: Span) -> Eval<()> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return Ok(());
        }
        Err(self.limit(Diagnostic::error("calls and expressions nest too deep", span, "given up here")))
    }

    pub(super) fn expression(&mut self, expression: &'a Expression) -> Eval<Value<'a>> {
        self.labelled(expression, None)
    }

    /// An expression's value; the label is for the layer that the expression is.
    fn labelled(&mut self, expression: &'a Expression, label: Option<&'a Label>) -> Eval<Value<'a>> {
        self.deepen(expression.span)?;
        self.charge(1, expression.span)?;
        let value = self.evaluate(expression, label);
        self.depth -= 1;
        value
    }

    fn evaluate(&mut self, expression: &'a Expression, label: Option<&'a Label>) -> Eval<Value<'a>> {
        let span = expression.span;
        match &expression.kind {
            ExpressionKind::Call(call) => return self.call(call, None, label, span),
            ExpressionKind::Binary { first, rest } => return self.binary(first, rest, label),
            ExpressionKind::Unary { operator, operand } => {
                return self.unary(*operator, operand, label, span);
            }
            _ => {}
        }
        if let Some(label) = label {
            self.report(
                Diagnostic::error("this label has no layer to name", label.span, "the label")
                    .and(span, "not a layer")
                    .help("a label stands behind the layer: `x -> conv(64, 3) as conv1`"),
            );
        }
        match &expression.kind {
            ExpressionKind::Int(value) => Ok(Value::Int(*value)),
            ExpressionKind::Float(value) => Ok(Value::Float(*value)),
            ExpressionKind::Bool(value) => Ok(Value::Bool(*value)),
            ExpressionKind::Text(parts) => self.text(parts, span).map(Value::text),
            ExpressionKind::Name(name) => self.lookup(name, span),
            ExpressionKind::List(items) => {
                let values = self.all(items)?;
                self.list(values, span)
            }
            ExpressionKind::Range { from, to } => self.range(from, to, span),
            ExpressionKind::Access { base, path } => {
                let mut value = self.expression(base)?;
                for accessor in path {
                    value = match accessor {
                        Accessor::Field(name) => self.field(&value, name)?,
                        Accessor::Index { index, span } => self.index(&value, index, *span)?,
                    };
                }
                Ok(value)
            }
            ExpressionKind::Chain { head, label, stages } => self.chain(head, label.as_ref(), stages),
            ExpressionKind::If { branches, otherwise } => {
                for (condition, value) in branches {
                    if self.condition(condition)? {
                        return self.expression(value);
                    }
                }
                self.expression(otherwise)
            }
            ExpressionKind::Match { subject, arms } => self.select(subject, arms),
            ExpressionKind::Call(_) | ExpressionKind::Binary { .. } | ExpressionKind::Unary { .. } => {
                unreachable!("evaluated above")
            }
        }
    }

    /// The values of several expressions. All are evaluated, so that the mistakes of all are found.
    fn all(&mut self, expressions: &'a [Expression]) -> Eval<Vec<Value<'a>>> {
        let mut values = Vec::with_capacity(expressions.len());
        for expression in expressions {
            values.push(self.attempt(expression)?);
        }
        values.into_iter().collect::<Option<_>>().ok_or(Stop::Fault)
    }

    pub(super) fn list(&mut self, values: Vec<Value<'a>>, span: Span) -> Eval<Value<'a>> {
        self.charge(values.len(), span)?;
        List::new(values)
            .map(Value::List)
            .map_err(|problem| self.fault(Diagnostic::error(problem, span, "this list")))
    }

    pub(super) fn condition(&mut self, condition: &'a Expression) -> Eval<bool> {
        match self.expression(condition)? {
            Value::Bool(value) => Ok(value),
            Value::Tensor(_) => Err(self.fault(
                Diagnostic::error(
                    "a condition cannot depend on a layer's value",
                    condition.span,
                    "known only when the model runs",
                )
                .help("its shape is known: `x.channels`, `x.height`, `x.width`, `x.shape`"),
            )),
            other => Err(self.fault(Diagnostic::error(
                format!("a condition is true or false, not {}", other.kind()),
                condition.span,
                format!("this is {other}"),
            ))),
        }
    }

    /// What a name stands for. An unknown one is reported once in each frame.
    pub(super) fn lookup(&mut self, name: &'a str, span: Span) -> Eval<Value<'a>> {
        if let Some(value) = self.known(name) {
            return value.ok_or(Stop::Fault);
        }
        let mut candidates = self.scopes.visible();
        candidates.extend(operators::names());
        candidates.extend(functions::names());
        let hint = closest(name, candidates).map(|name| format!("did you mean `{name}`?"));
        let hint = hint.or_else(|| operators::foreign(name));
        self.scopes.bind(name, None);
        Err(self.fault(
            Diagnostic::error(format!("`{name}` is not defined"), span, "not known here").help_if(hint),
        ))
    }

    /// What a name stands for: a variable, an operator, a function or a word.
    pub(super) fn known(&mut self, name: &str) -> Option<Option<Value<'a>>> {
        if let Some(value) = self.scopes.get(name) {
            return Some(value);
        }
        let callable = operators::find(name).map(Callable::Operator);
        let callable = callable.or_else(|| functions::find(name).map(Callable::Function));
        callable.map(Value::Callable).or_else(|| WORDS.contains(&name).then(|| Value::text(name))).map(Some)
    }

    pub(super) fn text(&mut self, parts: &'a [TextPart], span: Span) -> Eval<String> {
        let mut text = String::new();
        for part in parts {
            match part {
                TextPart::Literal(literal) => text.push_str(literal),
                TextPart::Expression(expression) => match self.expression(expression)? {
                    Value::Text(inner) => text.push_str(&inner),
                    Value::Float(value) => match arithmetic::whole(value) {
                        Some(whole) => text.push_str(&whole.to_string()),
                        None => text.push_str(&value.to_string()),
                    },
                    value @ (Value::Int(_) | Value::Bool(_) | Value::List(_) | Value::Callable(_)) => {
                        text.push_str(&value.to_string());
                    }
                    Value::Tensor(_) => {
                        return Err(self.fault(Diagnostic::error(
                            "a layer's value cannot be put into a string",
                            expression.span,
                            "known only when the model runs",
                        )));
                    }
                },
            }
            if text.len() > MAX_TEXT {
                return Err(self.fault(Diagnostic::error(
                    format!("this string has more than {MAX_TEXT} characters"),
                    span,
                    "too long",
                )));
            }
        }
        Ok(text)
    }

    fn range(&mut self, from: &'a Expression, to: &'a Expression, span: Span) -> Eval<Value<'a>> {
        let (first, last) = (self.attempt(from)?, self.attempt(to)?);
        let (Some(first), Some(last)) = (first, last) else { return Err(Stop::Fault) };
        let first = self.extent_of(&first, from.span, "where a range begins", 0)?;
        let last = self.extent_of(&last, to.span, "where a range ends", 0)?;
        self.numbers(first..last, span)
    }

    /// A list of integers.
    pub(super) fn numbers(&mut self, range: std::ops::Range<usize>, span: Span) -> Eval<Value<'a>> {
        if range.len() > List::MAX_SIZE {
            return Err(self.fault(Diagnostic::error(
                format!("a range may have {} numbers, this one has {}", List::MAX_SIZE, range.len()),
                span,
                "too long",
            )));
        }
        self.list(range.map(|number| Value::Int(number as i64)).collect(), span)
    }

    fn chain(
        &mut self,
        head: &'a Expression,
        label: Option<&'a Label>,
        stages: &'a [Stage],
    ) -> Eval<Value<'a>> {
        let mut value = match self.labelled(head, label) {
            Ok(value) => Some(value),
            Err(Stop::Fault) => None,
            Err(Stop::Limit) => return Err(Stop::Limit),
        };
        let mut span = head.span;
        for stage in stages {
            let piped = Piped { value, span };
            value = match self.call(&stage.call, Some(piped), stage.label.as_ref(), stage.span) {
                Ok(value) => Some(value),
                Err(Stop::Fault) => None,
                Err(Stop::Limit) => return Err(Stop::Limit),
            };
            span = stage.span;
        }
        value.ok_or(Stop::Fault)
    }

    fn select(&mut self, subject: &'a Expression, arms: &'a [Arm]) -> Eval<Value<'a>> {
        let value = self.expression(subject)?;
        for arm in arms {
            let mut matches = arm.patterns.is_empty();
            for pattern in &arm.patterns {
                let candidate = self.expression(pattern)?;
                matches |= self.equal(&value, &candidate, pattern.span)?;
            }
            if matches {
                return self.expression(&arm.value);
            }
        }
        let patterns = arms.iter().flat_map(|arm| &arm.patterns);
        let known: Vec<&str> =
            patterns.filter_map(|pattern| self.text.get(pattern.span.start..pattern.span.end)).collect();
        let hint = format!("it may be {}", listed(&known, "or"));
        Err(self.fault(
            Diagnostic::error(
                format!("nothing here matches {value}"),
                subject.span,
                format!("this is {value}"),
            )
            .help(hint),
        ))
    }

    fn equal(&mut self, a: &Value<'a>, b: &Value<'a>, span: Span) -> Eval<bool> {
        let same = self.compute(BinaryOperator::Equal, a, b, span)?;
        Ok(matches!(same, Value::Bool(true)))
    }

    /// Arithmetic on values known while the model is built.
    fn compute(
        &mut self,
        operator: BinaryOperator,
        a: &Value<'a>,
        b: &Value<'a>,
        span: Span,
    ) -> Eval<Value<'a>> {
        if let (Value::List(a), Value::List(b)) = (a, b) {
            self.charge(a.size().min(b.size()), span)?;
        }
        arithmetic::binary(operator, a, b)
            .map_err(|error| self.fault(Diagnostic::error(error.problem, span, "here").help_if(error.help)))
    }

    fn binary(
        &mut self,
        first: &'a Expression,
        rest: &'a [(BinaryOperator, Span, Expression)],
        label: Option<&'a Label>,
    ) -> Eval<Value<'a>> {
        let mut value = self.attempt(first)?;
        let mut span = first.span;
        for (position, (operator, symbol, operand)) in rest.iter().enumerate() {
            let whole = first.span.to(operand.span);
            if matches!(operator, BinaryOperator::And | BinaryOperator::Or) {
                let decided = match &value {
                    Some(Value::Bool(value)) => *value == (*operator == BinaryOperator::Or),
                    _ => false,
                };
                if !decided {
                    self.expect_truth(value.as_ref(), span)?;
                    value = Some(Value::Bool(self.condition(operand)?));
                }
                continue;
            }
            let other = self.attempt(operand)?;
            let label = label.filter(|_| position + 1 == rest.len());
            value = match (value, other) {
                (Some(a), Some(b)) => {
                    let place = Place { span: whole, symbol: *symbol };
                    match self.combine(*operator, (&a, span), (&b, operand.span), label, place) {
                        Ok(value) => Some(value),
                        Err(Stop::Fault) => None,
                        Err(Stop::Limit) => return Err(Stop::Limit),
                    }
                }
                _ => None,
            };
            span = whole;
        }
        value.ok_or(Stop::Fault)
    }

    fn expect_truth(&mut self, value: Option<&Value<'a>>, span: Span) -> Eval<()> {
        match value {
            Some(Value::Bool(_)) => Ok(()),
            None => Err(Stop::Fault),
            Some(other) => Err(self.fault(Diagnostic::error(
                format!("a condition is true or false, not {}", other.kind()),
                span,
                format!("this is {other}"),
            ))),
        }
    }

    fn combine(
        &mut self,
        operator: BinaryOperator,
        a: (&Value<'a>, Span),
        b: (&Value<'a>, Span),
        label: Option<&'a Label>,
        place: Place,
    ) -> Eval<Value<'a>> {
        let function = match operator {
            BinaryOperator::Add => Some(BinaryFunction::Add),
            BinaryOperator::Subtract => Some(BinaryFunction::Sub),
            BinaryOperator::Multiply => Some(BinaryFunction::Mul),
            BinaryOperator::Divide => Some(BinaryFunction::Div),
            _ => None,
        };
        let is_layer = matches!(a.0, Value::Tensor(_)) || matches!(b.0, Value::Tensor(_));
        match function {
            Some(function) if is_layer => self.elementwise(function, a, b, label, place),
            _ => {
                self.refuse_label(label, place.span);
                self.compute(operator, a.0, b.0, place.span)
            }
        }
    }

    pub(super) fn refuse_label(&mut self, label: Option<&Label>, span: Span) {
        if let Some(label) = label {
            self.report(
                Diagnostic::error("a label names a layer, and this is a number", label.span, "the label")
                    .and(span, "known while the model is built"),
            );
        }
    }

    fn unary(
        &mut self,
        operator: UnaryOperator,
        operand: &'a Expression,
        label: Option<&'a Label>,
        span: Span,
    ) -> Eval<Value<'a>> {
        if operator == UnaryOperator::Not {
            self.refuse_label(label, span);
            return Ok(Value::Bool(!self.condition(operand)?));
        }
        let value = self.expression(operand)?;
        if let Value::Tensor(node) = value {
            return self.unary_layer(UnaryFunction::Neg, node, label, span);
        }
        self.refuse_label(label, span);
        self.compute(BinaryOperator::Subtract, &Value::Int(0), &value, span)
    }

    fn field(&mut self, value: &Value<'a>, name: &'a Name) -> Eval<Value<'a>> {
        let (known, found): (&[&str], _) = match value {
            Value::Tensor(node) => {
                let dims = self.graph.shape(*node).dims().to_vec();
                let image = dims.len() == 4;
                let field = match name.text.as_str() {
                    "shape" => {
                        let dims = dims.iter().map(|&dim| Value::Int(dim as i64)).collect();
                        return self.list(dims, name.span);
                    }
                    "rank" => Some(dims.len()),
                    "batch" => dims.first().copied(),
                    "channels" => dims.get(1).copied(),
                    "height" if image => Some(dims[2]),
                    "width" if image => Some(dims[3]),
                    "height" | "width" => {
                        return Err(self.fault(Diagnostic::error(
                            format!("a value of shape {dims:?} has no {}", name.text),
                            name.span,
                            "only [n, c, h, w] has",
                        )));
                    }
                    _ => None,
                };
                (&["shape", "rank", "batch", "channels", "height", "width"], field)
            }
            Value::List(list) => (&["length"], (name.text == "length").then(|| list.items().len())),
            _ => (&[], None),
        };
        if let Some(number) = found {
            return Ok(Value::Int(number as i64));
        }
        let problem = format!("{} has no `{}`", value.kind(), name.text);
        let hint = closest(&name.text, known.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        let hint = hint.or_else(|| (!known.is_empty()).then(|| format!("it has {}", listed(known, "and"))));
        Err(self.fault(Diagnostic::error(problem, name.span, "not known").help_if(hint)))
    }

    fn index(&mut self, value: &Value<'a>, index: &'a Expression, span: Span) -> Eval<Value<'a>> {
        let at = self.expression(index)?;
        let Value::List(list) = value else {
            return Err(self.fault(Diagnostic::error(
                format!("only lists have items, and this is {}", value.kind()),
                span,
                "an item of it",
            )));
        };
        let length = list.items().len();
        let number = at.as_number().and_then(arithmetic::whole);
        // From the end where negative.
        let position =
            number.and_then(|at| usize::try_from(if at < 0 { at + length as i64 } else { at }).ok());
        position.and_then(|position| list.items().get(position)).cloned().ok_or_else(|| {
            self.fault(
                Diagnostic::error(format!("a list of {length} has no item {at}"), index.span, "this item")
                    .help("the first item is 0; the last is -1"),
            )
        })
    }
}
