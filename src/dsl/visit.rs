//! A walk over the syntax tree that meets every name and label.

use super::ast::*;

/// What a walk meets.
pub(super) enum Met<'a> {
    /// A name where it is given a meaning: a parameter, a variable, a block, an input.
    Binding(&'a Name),
    /// A name where it is used.
    Use(&'a str),
    Label(&'a Label),
}

/// Shows everything in a model to `visitor`, in the order of the text.
pub(super) fn walk<'a>(model: &'a Model, visitor: &mut impl FnMut(Met<'a>)) {
    parameters(&model.parameters, visitor);
    statements(&model.body, visitor);
}

fn parameters<'a>(list: &'a [Parameter], visitor: &mut impl FnMut(Met<'a>)) {
    for parameter in list {
        visitor(Met::Binding(&parameter.name));
        parameter.default.iter().for_each(|default| expression(default, visitor));
    }
}

fn statements<'a>(body: &'a [Statement], visitor: &mut impl FnMut(Met<'a>)) {
    for statement in body {
        match &statement.kind {
            StatementKind::Block(block) => {
                visitor(Met::Binding(&block.name));
                parameters(&block.parameters, visitor);
                statements(&block.body, visitor);
            }
            StatementKind::Input { name, dims, .. } => {
                visitor(Met::Binding(name));
                dims.iter().for_each(|dim| expression(dim, visitor));
            }
            StatementKind::Output { value: Some(value), .. } | StatementKind::Return(value) => {
                expression(value, visitor);
            }
            StatementKind::Output { name, value: None } => visitor(Met::Use(&name.text)),
            StatementKind::Assign { target, value } => {
                expression(value, visitor);
                target.names().into_iter().for_each(|name| visitor(Met::Binding(name)));
            }
            StatementKind::Repeat { count, body } => {
                expression(count, visitor);
                statements(body, visitor);
            }
            StatementKind::For { target, items, body } => {
                expression(items, visitor);
                target.names().into_iter().for_each(|name| visitor(Met::Binding(name)));
                statements(body, visitor);
            }
            StatementKind::If { branches, otherwise } => {
                for (condition, body) in branches {
                    expression(condition, visitor);
                    statements(body, visitor);
                }
                statements(otherwise.as_deref().unwrap_or_default(), visitor);
            }
            StatementKind::Assert { condition, message } => {
                expression(condition, visitor);
                expression(message, visitor);
            }
        }
    }
}

fn expression<'a>(value: &'a Expression, visitor: &mut impl FnMut(Met<'a>)) {
    match &value.kind {
        ExpressionKind::Int(_) | ExpressionKind::Float(_) | ExpressionKind::Bool(_) => {}
        ExpressionKind::Name(name) => visitor(Met::Use(name)),
        ExpressionKind::Text(parts) => text(parts, visitor),
        ExpressionKind::List(items) => items.iter().for_each(|item| expression(item, visitor)),
        ExpressionKind::Unary { operand, .. } => expression(operand, visitor),
        ExpressionKind::Binary { first, rest } => {
            expression(first, visitor);
            rest.iter().for_each(|(_, _, operand)| expression(operand, visitor));
        }
        ExpressionKind::Range { from, to } => {
            expression(from, visitor);
            expression(to, visitor);
        }
        ExpressionKind::Access { base, path } => {
            expression(base, visitor);
            for accessor in path {
                if let Accessor::Index { index, .. } = accessor {
                    expression(index, visitor);
                }
            }
        }
        ExpressionKind::Call(inner) => call(inner, visitor),
        ExpressionKind::Chain { head, label: own, stages } => {
            expression(head, visitor);
            label(own.as_ref(), visitor);
            for stage in stages {
                call(&stage.call, visitor);
                label(stage.label.as_ref(), visitor);
            }
        }
        ExpressionKind::If { branches, otherwise } => {
            for (condition, value) in branches {
                expression(condition, visitor);
                expression(value, visitor);
            }
            expression(otherwise, visitor);
        }
        ExpressionKind::Match { subject, arms } => {
            expression(subject, visitor);
            for arm in arms {
                arm.patterns.iter().for_each(|pattern| expression(pattern, visitor));
                expression(&arm.value, visitor);
            }
        }
    }
}

fn call<'a>(call: &'a Call, visitor: &mut impl FnMut(Met<'a>)) {
    visitor(Met::Use(&call.callee.text));
    call.arguments.iter().for_each(|argument| expression(&argument.value, visitor));
}

fn label<'a>(label: Option<&'a Label>, visitor: &mut impl FnMut(Met<'a>)) {
    if let Some(label) = label {
        visitor(Met::Label(label));
        text(&label.parts, visitor);
    }
}

fn text<'a>(parts: &'a [TextPart], visitor: &mut impl FnMut(Met<'a>)) {
    for part in parts {
        if let TextPart::Expression(inner) = part {
            expression(inner, visitor);
        }
    }
}
