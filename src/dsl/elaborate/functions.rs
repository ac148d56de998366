//! Functions of values known while the model is built.

use super::layers::Place;
use super::value::Value;
use super::{Elaborator, Eval, arithmetic};
use crate::dsl::ast::{Label, Span};
use crate::dsl::diagnostics::Diagnostic;
use crate::ops::{BinaryFunction, UnaryFunction};

#[derive(Debug)]
pub(super) struct Function {
    pub name: &'static str,
    /// As a reader would write it.
    signature: &'static str,
    /// How many arguments it takes, at least and at most.
    arity: (usize, usize),
}

const fn function(name: &'static str, signature: &'static str, arity: (usize, usize)) -> Function {
    Function { name, signature, arity }
}

static FUNCTIONS: [Function; 14] = [
    function("round", "round(number): to the nearest integer, halves away from zero", (1, 1)),
    function("floor", "floor(number): to the integer below", (1, 1)),
    function("ceil", "ceil(number): to the integer above", (1, 1)),
    function("round_to", "round_to(number, multiple): to the nearest multiple, at least one", (2, 2)),
    function("int", "int(number): a whole number as an integer", (1, 1)),
    function("float", "float(number)", (1, 1)),
    function("abs", "abs(number)", (1, 1)),
    function("sqrt", "sqrt(number)", (1, 1)),
    function("min", "min(a, b, …)", (1, usize::MAX)),
    function("max", "max(a, b, …)", (1, usize::MAX)),
    function("len", "len(list)", (1, 1)),
    function("range", "range(end) or range(start, end)", (1, 2)),
    function("enumerate", "enumerate(list): (index, item) of each item", (1, 1)),
    function("zip", "zip(a, b, …): the first items, the second items, …", (2, usize::MAX)),
];

pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

pub(super) fn names() -> Vec<&'static str> {
    FUNCTIONS.iter().map(|function| function.name).collect()
}

type Given<'a> = (Value<'a>, Span);

pub(super) fn call<'a>(
    e: &mut Elaborator<'a>,
    function: &'static Function,
    arguments: Vec<Given<'a>>,
    label: Option<&'a Label>,
    span: Span,
) -> Eval<Value<'a>> {
    let (least, most) = function.arity;
    if arguments.len() < least || arguments.len() > most {
        let message = format!("`{}` does not take {} arguments", function.name, arguments.len());
        return Err(e.fault(Diagnostic::error(message, span, "here").help(function.signature)));
    }
    if arguments.iter().any(|(value, _)| matches!(value, Value::Tensor(_))) {
        return of_layers(e, function, &arguments, label, span);
    }
    e.refuse_label(label, span);
    match function.name {
        "len" => {
            let items = list(e, function, &arguments[0])?;
            Ok(Value::Int(items.len() as i64))
        }
        "range" => {
            let mut bounds = Vec::new();
            for (value, place) in &arguments {
                bounds.push(e.extent_of(value, *place, "a bound of `range`", 0)?);
            }
            match bounds[..] {
                [end] => e.numbers(0..end, span),
                _ => e.numbers(bounds[0]..bounds[1], span),
            }
        }
        "enumerate" => {
            let items = list(e, function, &arguments[0])?;
            let mut pairs = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                pairs.push(e.list(vec![Value::Int(index as i64), item], span)?);
            }
            e.list(pairs, span)
        }
        "zip" => zip(e, function, &arguments, span),
        "min" | "max" => extreme(e, function, &arguments),
        _ => of_number(e, function, &arguments, span),
    }
}

/// The functions that are layers, too.
fn of_layers<'a>(
    e: &mut Elaborator<'a>,
    function: &'static Function,
    arguments: &[Given<'a>],
    label: Option<&'a Label>,
    span: Span,
) -> Eval<Value<'a>> {
    let place = Place { span, symbol: span };
    match (function.name, arguments) {
        ("abs", [(Value::Tensor(x), _)]) => e.unary_layer(UnaryFunction::Abs, *x, label, span),
        ("sqrt", [(Value::Tensor(x), _)]) => e.unary_layer(UnaryFunction::Sqrt, *x, label, span),
        ("min", [a, b]) => e.elementwise(BinaryFunction::Min, (&a.0, a.1), (&b.0, b.1), label, place),
        ("max", [a, b]) => e.elementwise(BinaryFunction::Max, (&a.0, a.1), (&b.0, b.1), label, place),
        _ => Err(e.fault(
            Diagnostic::error(
                format!("`{}` works on what is known while the model is built", function.name),
                span,
                "a layer's value is known only when the model runs",
            )
            .help("its shape is known: `x.channels`, `x.height`, `x.width`, `x.shape`"),
        )),
    }
}

fn list<'a>(e: &mut Elaborator<'a>, function: &Function, (value, span): &Given<'a>) -> Eval<Vec<Value<'a>>> {
    if let Value::List(list) = value {
        e.charge(list.items().len(), *span)?;
        return Ok(list.items().to_vec());
    }
    let message = format!("`{}` takes a list, not {}", function.name, value.kind());
    Err(e.fault(Diagnostic::error(message, *span, format!("this is {value}")).help(function.signature)))
}

fn number<'a>(e: &mut Elaborator<'a>, function: &Function, (value, span): &Given<'a>) -> Eval<f64> {
    value.as_number().ok_or_else(|| {
        let message = format!("`{}` takes a number, not {}", function.name, value.kind());
        e.fault(Diagnostic::error(message, *span, format!("this is {value}")).help(function.signature))
    })
}

fn zip<'a>(
    e: &mut Elaborator<'a>,
    function: &Function,
    arguments: &[Given<'a>],
    span: Span,
) -> Eval<Value<'a>> {
    let mut lists = Vec::new();
    for argument in arguments {
        lists.push(list(e, function, argument)?);
    }
    if let Some(position) = lists.iter().position(|list| list.len() != lists[0].len()) {
        return Err(e.fault(
            Diagnostic::error(
                format!(
                    "`zip` takes lists of one length, not {} and {}",
                    lists[0].len(),
                    lists[position].len()
                ),
                arguments[position].1,
                format!("{} items", lists[position].len()),
            )
            .and(arguments[0].1, format!("{} items", lists[0].len())),
        ));
    }
    let mut rows = Vec::new();
    for row in 0..lists[0].len() {
        rows.push(e.list(lists.iter().map(|list| list[row].clone()).collect(), span)?);
    }
    e.list(rows, span)
}

/// The least or greatest of numbers, or of the numbers of one list.
fn extreme<'a>(
    e: &mut Elaborator<'a>,
    function: &'static Function,
    arguments: &[Given<'a>],
) -> Eval<Value<'a>> {
    let candidates = match arguments {
        [(Value::List(_), span)] => {
            list(e, function, &arguments[0])?.into_iter().map(|item| (item, *span)).collect()
        }
        _ => arguments.to_vec(),
    };
    let mut best: Option<(f64, Value<'a>)> = None;
    for candidate in candidates {
        let value = number(e, function, &candidate)?;
        let better =
            |&(least, _): &(f64, Value<'a>)| (value < least) == (function.name == "min") && value != least;
        if best.as_ref().is_none_or(better) {
            best = Some((value, candidate.0));
        }
    }
    best.map(|(_, value)| value).ok_or_else(|| {
        let message = format!("`{}` of an empty list", function.name);
        e.fault(Diagnostic::error(message, arguments[0].1, "has no items"))
    })
}

fn of_number<'a>(
    e: &mut Elaborator<'a>,
    function: &'static Function,
    arguments: &[Given<'a>],
    span: Span,
) -> Eval<Value<'a>> {
    let x = number(e, function, &arguments[0])?;
    let integer = |value: f64| arithmetic::whole(value).map(Value::Int);
    let result = match function.name {
        "round" => integer(x.round()),
        "floor" => integer(x.floor()),
        "ceil" => integer(x.ceil()),
        "int" => integer(x),
        "float" => arithmetic::finite(x),
        "sqrt" => arithmetic::finite(x.sqrt()),
        "abs" => match arguments[0].0 {
            Value::Int(value) => value.checked_abs().map(Value::Int),
            _ => arithmetic::finite(x.abs()),
        },
        _ => {
            let multiple = e.extent_of(&arguments[1].0, arguments[1].1, "a multiple", 1)? as f64;
            integer((x / multiple).round().max(1.0) * multiple)
        }
    };
    result.ok_or_else(|| {
        let help = match function.name {
            "int" => "use `round`, `floor` or `ceil`",
            _ => function.signature,
        };
        let message = format!("`{}` of {x} is no number kiln can hold", function.name);
        let message = if function.name == "int" { format!("{x} is not whole") } else { message };
        e.fault(Diagnostic::error(message, span, "here").help(help))
    })
}
