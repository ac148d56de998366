//! Text to syntax tree.

mod nesting;
mod syntax_error;

use pest::Parser as _;
use pest::iterators::Pair as PestPair;

use super::ast::*;
use super::diagnostics::{Diagnostic, Diagnostics};
use super::{MAX_SOURCE_BYTES, Source};

#[derive(pest_derive::Parser)]
#[grammar = "../grammar/kiln.pest"]
pub(super) struct Grammar;

pub(super) type Pair<'a> = PestPair<'a, Rule>;
type Parsed<T> = Result<T, Diagnostic>;

pub(super) fn parse(source: &Source) -> Result<Model, Diagnostics> {
    parse_text(&source.text).map_err(|diagnostic| Diagnostics::new(source, vec![diagnostic]))
}

fn parse_text(text: &str) -> Parsed<Model> {
    if text.len() > MAX_SOURCE_BYTES {
        return Err(Diagnostic::of_file(format!(
            "a model file may have {MAX_SOURCE_BYTES} bytes, this one has {}",
            text.len()
        )));
    }
    if let Some((number, line)) = text.lines().enumerate().find(|(_, line)| line.len() > MAX_LINE_BYTES) {
        return Err(Diagnostic::of_file(format!(
            "a line may have {MAX_LINE_BYTES} bytes, line {} has {}",
            number + 1,
            line.len()
        )));
    }
    nesting::check(text)?;
    let mut file = Grammar::parse(Rule::file, text).map_err(|error| syntax_error::explain(text, &error))?;
    let file = file.next().expect("`file` matched");
    model(children(file).next().expect("a file has a model"))
}

/// The longest line, in bytes: messages show lines whole.
const MAX_LINE_BYTES: usize = 4000;

/// An expression by itself, such as the value of a `-D`.
pub(super) fn parse_expression(text: &str) -> Option<Expression> {
    if text.len() > MAX_SOURCE_BYTES || nesting::check(text).is_err() {
        return None;
    }
    let define = Grammar::parse(Rule::define, text).ok()?.next()?;
    expression(children(define).next()?).ok()
}

/// What a pair consists of, without the keywords and marks that only guide the parser.
fn children(pair: Pair<'_>) -> impl Iterator<Item = Pair<'_>> {
    pair.into_inner().filter(|pair| {
        !matches!(
            pair.as_rule(),
            Rule::model_keyword
                | Rule::block_keyword
                | Rule::input_keyword
                | Rule::output_keyword
                | Rule::return_keyword
                | Rule::for_keyword
                | Rule::in_keyword
                | Rule::repeat_keyword
                | Rule::if_keyword
                | Rule::else_keyword
                | Rule::match_keyword
                | Rule::assert_keyword
                | Rule::as_keyword
                | Rule::arrow
                | Rule::double_arrow
                | Rule::equals
                | Rule::dots
                | Rule::comma
                | Rule::colon
                | Rule::open_brace
                | Rule::close_brace
                | Rule::open_paren
                | Rule::close_paren
                | Rule::open_bracket
                | Rule::close_bracket
                | Rule::EOI
        )
    })
}

/// A pair's extent. Where a rule ends in an optional part, blanks and a comment may be counted to it.
fn extent(pair: &Pair<'_>) -> Span {
    Span { start: pair.as_span().start(), end: pair.as_span().end() }
}

/// The next child, which the grammar says is there.
fn next<'a>(pairs: &mut impl Iterator<Item = Pair<'a>>) -> Pair<'a> {
    pairs.next().expect("the grammar requires it")
}

fn name(pair: Pair<'_>) -> Name {
    Name { text: pair.as_str().to_owned(), span: extent(&pair) }
}

fn model(pair: Pair<'_>) -> Parsed<Model> {
    let (name, parameters, body) = definition(pair)?;
    Ok(Model { name, parameters, body })
}

/// The longest name of a model or block, in bytes: layers are named after it.
const MAX_NAME: usize = 100;

fn definition(pair: Pair<'_>) -> Parsed<(Name, Vec<Parameter>, Vec<Statement>)> {
    let mut pairs = children(pair);
    let name = name(next(&mut pairs));
    if name.text.len() > MAX_NAME {
        let message = format!("a name may have {MAX_NAME} letters, this one has {}", name.text.len());
        return Err(Diagnostic::error(message, name.span, "too long"));
    }
    let mut rest = next(&mut pairs);
    let mut list = Vec::new();
    if rest.as_rule() == Rule::parameters {
        list = parameters(rest)?;
        rest = next(&mut pairs);
    }
    Ok((name, list, body(rest)?))
}

fn parameters(pair: Pair<'_>) -> Parsed<Vec<Parameter>> {
    let mut list: Vec<Parameter> = Vec::new();
    for pair in children(pair) {
        let mut pairs = children(pair);
        let name = name(next(&mut pairs));
        if let Some(first) = list.iter().find(|parameter| parameter.name.text == name.text) {
            return Err(Diagnostic::error(
                format!("two parameters are called `{}`", name.text),
                name.span,
                "the second",
            )
            .and(first.name.span, "the first"));
        }
        list.push(Parameter { name, default: pairs.next().map(expression).transpose()? });
    }
    Ok(list)
}

fn body(pair: Pair<'_>) -> Parsed<Vec<Statement>> {
    children(pair).map(statement).collect()
}

fn statement(pair: Pair<'_>) -> Parsed<Statement> {
    let span = extent(&pair);
    let rule = pair.as_rule();
    if rule == Rule::block {
        let (name, parameters, body) = definition(pair)?;
        return Ok(Statement { kind: StatementKind::Block(Block { name, parameters, body }), span });
    }
    let mut pairs = children(pair);
    let kind = match rule {
        Rule::input => StatementKind::Input {
            name: name(next(&mut pairs)),
            element_type: name(next(&mut pairs)),
            dims: pairs.next().map(items).transpose()?.unwrap_or_default(),
        },
        Rule::output => StatementKind::Output {
            name: name(next(&mut pairs)),
            value: pairs.next().map(expression).transpose()?,
        },
        Rule::give => StatementKind::Return(expression(next(&mut pairs))?),
        Rule::loop_over => StatementKind::For {
            target: pattern(next(&mut pairs))?,
            items: expression(next(&mut pairs))?,
            body: body(next(&mut pairs))?,
        },
        Rule::repeat => {
            StatementKind::Repeat { count: expression(next(&mut pairs))?, body: body(next(&mut pairs))? }
        }
        Rule::branch => {
            let mut branches = Vec::new();
            let mut otherwise = None;
            while let Some(pair) = pairs.next() {
                match pair.as_rule() {
                    Rule::body => otherwise = Some(body(pair)?),
                    _ => branches.push((expression(pair)?, body(next(&mut pairs))?)),
                }
            }
            StatementKind::If { branches, otherwise }
        }
        Rule::assert => StatementKind::Assert {
            condition: expression(next(&mut pairs))?,
            message: expression(next(&mut pairs))?,
        },
        Rule::assignment => {
            StatementKind::Assign { target: pattern(next(&mut pairs))?, value: expression(next(&mut pairs))? }
        }
        _ => unreachable!("{rule:?} is no statement"),
    };
    Ok(Statement { kind, span })
}

fn pattern(pair: Pair<'_>) -> Parsed<Pattern> {
    let span = extent(&pair);
    let is_tuple = pair.as_str().starts_with('(');
    let mut parts = children(pair);
    if !is_tuple {
        return Ok(Pattern::Name(name(next(&mut parts))));
    }
    Ok(Pattern::Tuple { parts: parts.map(pattern).collect::<Parsed<_>>()?, span })
}

fn items(pair: Pair<'_>) -> Parsed<Vec<Expression>> {
    children(pair).map(expression).collect()
}

fn expression(pair: Pair<'_>) -> Parsed<Expression> {
    let mut pairs = children(pair).peekable();
    let head = operators(next(&mut pairs))?;
    let label = pairs.next_if(|pair| pair.as_rule() == Rule::label).map(label).transpose()?;
    let stages = pairs.map(stage).collect::<Parsed<Vec<_>>>()?;
    let Some(end) = stages.last().map(|stage| stage.span).or(label.as_ref().map(|label| label.span)) else {
        return Ok(head);
    };
    let span = head.span.to(end);
    Ok(Expression { kind: ExpressionKind::Chain { head: Box::new(head), label, stages }, span })
}

fn stage(pair: Pair<'_>) -> Parsed<Stage> {
    let mut pairs = children(pair).peekable();
    let callee = name(next(&mut pairs));
    let mut span = callee.span;
    let mut list = Vec::new();
    if let Some(pair) = pairs.next_if(|pair| pair.as_rule() == Rule::arguments) {
        span = span.to(extent(&pair));
        list = arguments(pair)?;
    }
    let label = pairs.next().map(label).transpose()?;
    Ok(Stage { call: Call { callee, arguments: list }, label, span })
}

fn label(pair: Pair<'_>) -> Parsed<Label> {
    let pair = next(&mut children(pair));
    let span = extent(&pair);
    let parts = match pair.as_rule() {
        Rule::string => text_parts(pair)?,
        _ => vec![TextPart::Literal(pair.as_str().to_owned())],
    };
    Ok(Label { parts, span })
}

/// The levels between an expression and what it is made of.
fn operators(pair: Pair<'_>) -> Parsed<Expression> {
    match pair.as_rule() {
        Rule::disjunction
        | Rule::conjunction
        | Rule::comparison
        | Rule::sum
        | Rule::product
        | Rule::power => binary(pair),
        Rule::negation | Rule::signed | Rule::exponent => unary(pair),
        Rule::range => range(pair),
        Rule::postfix => postfix(pair),
        rule => unreachable!("{rule:?} is no operator"),
    }
}

fn binary(pair: Pair<'_>) -> Parsed<Expression> {
    let mut pairs = children(pair);
    let first = operators(next(&mut pairs))?;
    let mut rest = Vec::new();
    let mut end = first.span;
    while let Some(symbol) = pairs.next() {
        let operator =
            BinaryOperator::from_symbol(symbol.as_str()).expect("the grammar's operators are listed");
        let operand = operators(next(&mut pairs))?;
        end = operand.span;
        rest.push((operator, extent(&symbol), operand));
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let span = first.span.to(end);
    Ok(Expression { kind: ExpressionKind::Binary { first: Box::new(first), rest }, span })
}

fn unary(pair: Pair<'_>) -> Parsed<Expression> {
    let mut pairs = children(pair);
    let first = next(&mut pairs);
    let operator = match first.as_rule() {
        Rule::not => UnaryOperator::Not,
        Rule::minus => UnaryOperator::Negate,
        _ => return operators(first),
    };
    let operand = operators(next(&mut pairs))?;
    let span = extent(&first).to(operand.span);
    Ok(Expression { kind: ExpressionKind::Unary { operator, operand: Box::new(operand) }, span })
}

fn range(pair: Pair<'_>) -> Parsed<Expression> {
    let mut pairs = children(pair);
    let from = operators(next(&mut pairs))?;
    let Some(to) = pairs.next() else { return Ok(from) };
    let to = operators(to)?;
    let span = from.span.to(to.span);
    Ok(Expression { kind: ExpressionKind::Range { from: Box::new(from), to: Box::new(to) }, span })
}

fn postfix(pair: Pair<'_>) -> Parsed<Expression> {
    let mut pairs = children(pair);
    let base = primary(next(&mut pairs))?;
    let mut span = base.span;
    let mut path = Vec::new();
    for pair in pairs {
        let end = extent(&pair);
        span = span.to(end);
        let inner = next(&mut children(pair));
        path.push(match inner.as_rule() {
            Rule::name => Accessor::Field(name(inner)),
            _ => Accessor::Index { index: expression(inner)?, span: end },
        });
    }
    if path.is_empty() {
        return Ok(base);
    }
    Ok(Expression { kind: ExpressionKind::Access { base: Box::new(base), path }, span })
}

fn primary(pair: Pair<'_>) -> Parsed<Expression> {
    let span = extent(&pair);
    let kind = match pair.as_rule() {
        Rule::number => number(pair)?,
        Rule::boolean => ExpressionKind::Bool(pair.as_str() == "true"),
        Rule::string => ExpressionKind::Text(text_parts(pair)?),
        Rule::name => ExpressionKind::Name(pair.as_str().to_owned()),
        Rule::call => {
            let mut pairs = children(pair);
            let callee = name(next(&mut pairs));
            ExpressionKind::Call(Call { callee, arguments: arguments(next(&mut pairs))? })
        }
        Rule::list => ExpressionKind::List(children(pair).next().map(items).transpose()?.unwrap_or_default()),
        Rule::parenthesised => {
            let mut list = items(next(&mut children(pair)))?;
            if list.len() == 1 {
                let inner = list.remove(0);
                return Ok(Expression { kind: inner.kind, span });
            }
            ExpressionKind::List(list)
        }
        Rule::conditional => {
            let mut list = children(pair).map(expression).collect::<Parsed<Vec<_>>>()?;
            let otherwise = Box::new(list.pop().expect("an `else` is required"));
            let mut list = list.into_iter();
            let mut branches = Vec::new();
            while let (Some(condition), Some(value)) = (list.next(), list.next()) {
                branches.push((condition, value));
            }
            ExpressionKind::If { branches, otherwise }
        }
        Rule::selection => {
            let mut pairs = children(pair);
            let subject = Box::new(expression(next(&mut pairs))?);
            ExpressionKind::Match { subject, arms: pairs.map(arm).collect::<Parsed<_>>()? }
        }
        rule => unreachable!("{rule:?} is no primary expression"),
    };
    Ok(Expression { kind, span })
}

fn arm(pair: Pair<'_>) -> Parsed<Arm> {
    let mut pairs = children(pair);
    let head = next(&mut pairs);
    let start = extent(&head);
    let patterns = match head.as_rule() {
        Rule::otherwise => Vec::new(),
        _ => children(head).map(operators).collect::<Parsed<_>>()?,
    };
    let value = expression(next(&mut pairs))?;
    let span = start.to(value.span);
    Ok(Arm { patterns, value, span })
}

fn arguments(pair: Pair<'_>) -> Parsed<Vec<Argument>> {
    let argument = |pair| {
        let mut pairs = children(pair).peekable();
        let name = pairs.next_if(|pair| pair.as_rule() == Rule::name).map(name);
        Ok(Argument { name, value: expression(next(&mut pairs))? })
    };
    children(pair).map(argument).collect()
}

fn number(pair: Pair<'_>) -> Parsed<ExpressionKind> {
    let digits = pair.as_str().replace('_', "");
    let is_float = digits.contains(['.', 'e', 'E']);
    let too_large = || {
        Diagnostic::error("this number is too large", extent(&pair), "does not fit 64 bits")
            .help(format!("the largest integer is {}", i64::MAX))
    };
    if !is_float {
        return digits.parse().map(ExpressionKind::Int).map_err(|_| too_large());
    }
    let value: f64 = digits.parse().expect("the grammar's floats are Rust's");
    if value.is_finite() { Ok(ExpressionKind::Float(value)) } else { Err(too_large()) }
}

fn text_parts(pair: Pair<'_>) -> Parsed<Vec<TextPart>> {
    let mut parts: Vec<TextPart> = Vec::new();
    for pair in children(pair) {
        let literal = match pair.as_rule() {
            Rule::interpolation => {
                parts.push(TextPart::Expression(expression(next(&mut children(pair)))?));
                continue;
            }
            Rule::escape => &pair.as_str()[1..],
            _ => pair.as_str(),
        };
        match parts.last_mut() {
            Some(TextPart::Literal(text)) => text.push_str(literal),
            _ => parts.push(TextPart::Literal(literal.to_owned())),
        }
    }
    Ok(parts)
}
