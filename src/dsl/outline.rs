//! The syntax tree as text: statements as an indented outline, expressions with every grouping in parentheses.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::*;

impl Display for Model {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "model {}", self.name.text)?;
        definition(f, &self.parameters, &self.body, 1)
    }
}

fn definition(
    f: &mut Formatter<'_>,
    parameters: &[Parameter],
    body: &[Statement],
    depth: usize,
) -> fmt::Result {
    for parameter in parameters {
        indent(f, depth)?;
        write!(f, "parameter {}", parameter.name.text)?;
        if let Some(default) = &parameter.default {
            write!(f, " = {default}")?;
        }
        writeln!(f)?;
    }
    statements(f, body, depth)
}

fn statements(f: &mut Formatter<'_>, body: &[Statement], depth: usize) -> fmt::Result {
    body.iter().try_for_each(|statement| self::statement(f, statement, depth))
}

fn statement(f: &mut Formatter<'_>, statement: &Statement, depth: usize) -> fmt::Result {
    indent(f, depth)?;
    match &statement.kind {
        StatementKind::Block(block) => {
            writeln!(f, "block {}", block.name.text)?;
            definition(f, &block.parameters, &block.body, depth + 1)
        }
        StatementKind::Input { name, element_type, dims } => {
            write!(f, "input {}: {}[", name.text, element_type.text)?;
            separated(f, dims, ", ")?;
            writeln!(f, "]")
        }
        StatementKind::Output { name, value: Some(value) } => writeln!(f, "output {} = {value}", name.text),
        StatementKind::Output { name, value: None } => writeln!(f, "output {}", name.text),
        StatementKind::Assign { target, value } => writeln!(f, "assign {target} = {value}"),
        StatementKind::Return(value) => writeln!(f, "return {value}"),
        StatementKind::Repeat { count, body } => {
            writeln!(f, "repeat {count}")?;
            statements(f, body, depth + 1)
        }
        StatementKind::For { target, items, body } => {
            writeln!(f, "for {target} in {items}")?;
            statements(f, body, depth + 1)
        }
        StatementKind::If { branches, otherwise } => {
            for (position, (condition, body)) in branches.iter().enumerate() {
                if position > 0 {
                    indent(f, depth)?;
                    f.write_str("else ")?;
                }
                writeln!(f, "if {condition}")?;
                statements(f, body, depth + 1)?;
            }
            let Some(body) = otherwise else { return Ok(()) };
            indent(f, depth)?;
            writeln!(f, "else")?;
            statements(f, body, depth + 1)
        }
        StatementKind::Assert { condition, message } => writeln!(f, "assert {condition}, {message}"),
    }
}

fn indent(f: &mut Formatter<'_>, depth: usize) -> fmt::Result {
    (0..depth).try_for_each(|_| f.write_str("  "))
}

fn separated(f: &mut Formatter<'_>, items: &[impl Display], separator: &str) -> fmt::Result {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Name(name) => f.write_str(&name.text),
            Pattern::Tuple { parts, .. } => {
                f.write_char('(')?;
                separated(f, parts, ", ")?;
                f.write_char(')')
            }
        }
    }
}

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExpressionKind::Int(value) => write!(f, "{value}"),
            ExpressionKind::Float(value) => write!(f, "{value:?}"),
            ExpressionKind::Bool(value) => write!(f, "{value}"),
            ExpressionKind::Text(parts) => text(f, parts),
            ExpressionKind::Name(name) => f.write_str(name),
            ExpressionKind::List(items) => {
                f.write_char('[')?;
                separated(f, items, ", ")?;
                f.write_char(']')
            }
            ExpressionKind::Unary { operator: UnaryOperator::Negate, operand } => write!(f, "(-{operand})"),
            ExpressionKind::Unary { operator: UnaryOperator::Not, operand } => write!(f, "(not {operand})"),
            ExpressionKind::Binary { first, rest } => {
                write!(f, "({first}")?;
                for (operator, _, operand) in rest {
                    write!(f, " {} {operand}", operator.symbol())?;
                }
                f.write_char(')')
            }
            ExpressionKind::Range { from, to } => write!(f, "({from}..{to})"),
            ExpressionKind::Access { base, path } => {
                write!(f, "{base}")?;
                path.iter().try_for_each(|accessor| match accessor {
                    Accessor::Field(name) => write!(f, ".{}", name.text),
                    Accessor::Index { index, .. } => write!(f, "[{index}]"),
                })
            }
            ExpressionKind::Call(call) => write!(f, "{call}"),
            ExpressionKind::Chain { head, label, stages } => {
                write!(f, "({head}")?;
                self::label(f, label.as_ref())?;
                for stage in stages {
                    write!(f, " -> {}", stage.call)?;
                    self::label(f, stage.label.as_ref())?;
                }
                f.write_char(')')
            }
            ExpressionKind::If { branches, otherwise } => {
                for (condition, value) in branches {
                    write!(f, "if {condition} {{ {value} }} else ")?;
                }
                write!(f, "{{ {otherwise} }}")
            }
            ExpressionKind::Match { subject, arms } => {
                write!(f, "match {subject} {{ ")?;
                separated(f, arms, ", ")?;
                f.write_str(" }")
            }
        }
    }
}

impl Display for Arm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.patterns.is_empty() {
            f.write_char('_')?;
        }
        separated(f, &self.patterns, ", ")?;
        write!(f, " => {}", self.value)
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.callee.text)?;
        separated(f, &self.arguments, ", ")?;
        f.write_char(')')
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{} = ", name.text)?;
        }
        write!(f, "{}", self.value)
    }
}

fn label(f: &mut Formatter<'_>, label: Option<&Label>) -> fmt::Result {
    let Some(label) = label else { return Ok(()) };
    f.write_str(" as ")?;
    text(f, &label.parts)
}

fn text(f: &mut Formatter<'_>, parts: &[TextPart]) -> fmt::Result {
    f.write_char('"')?;
    for part in parts {
        match part {
            TextPart::Literal(literal) => {
                for c in literal.chars() {
                    match c {
                        '"' | '\\' => write!(f, "\\{c}")?,
                        '{' | '}' => write!(f, "{c}{c}")?,
                        _ => f.write_char(c)?,
                    }
                }
            }
            TextPart::Expression(expression) => write!(f, "{{{expression}}}")?,
        }
    }
    f.write_char('"')
}
