//! The model's parameters: defaults, and values from the command line.

use super::operators::literal;
use super::value::Value;
use super::{Elaborator, Eval, Stop};
use crate::dsl::ast::*;
use crate::dsl::diagnostics::{Diagnostic, listed};
use crate::dsl::{Defines, parser};
use crate::spelling::closest;

impl<'a> Elaborator<'a> {
    pub(super) fn bind_model_parameters(&mut self, defines: &Defines) -> Eval<()> {
        let model = self.model;
        for (name, value) in defines {
            if !model.parameters.iter().any(|parameter| parameter.name.text == *name) {
                self.report_unknown_define(name, value);
            }
        }
        for parameter in &model.parameters {
            let default = match &parameter.default {
                Some(default) => self.attempt(default)?,
                None => None,
            };
            let given = defines.iter().rev().find(|(name, _)| *name == parameter.name.text);
            let value = match given {
                Some((_, text)) => match self.define(parameter, text, default.as_ref()) {
                    Ok(value) => Some(value),
                    Err(Stop::Fault) => None,
                    Err(Stop::Limit) => return Err(Stop::Limit),
                },
                None if parameter.default.is_none() => {
                    let name = &parameter.name.text;
                    self.report(
                        Diagnostic::error(
                            format!("the parameter `{name}` has no value"),
                            parameter.name.span,
                            "no default",
                        )
                        .help(format!("pass one: `-D {name}=…`")),
                    );
                    None
                }
                None => default,
            };
            self.scopes.bind(&parameter.name.text, value);
        }
        Ok(())
    }

    fn report_unknown_define(&mut self, name: &str, value: &str) {
        let model = self.model;
        let names: Vec<&str> =
            model.parameters.iter().map(|parameter| parameter.name.text.as_str()).collect();
        let hint = match closest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean `-D {meant}={value}`?"),
            None if names.is_empty() => "it has no parameters".to_owned(),
            None => format!("it has {}", listed(&names, "and")),
        };
        // Several unknown names are all at fault at the model's name; each is worth saying.
        self.reported.remove(&model.name.span);
        self.report(
            Diagnostic::error(
                format!("-D {name}={value}: `{}` has no parameter `{name}`", model.name.text),
                model.name.span,
                "this model",
            )
            .help(hint),
        );
    }

    /// A value from the command line, which must be of the default's kind.
    fn define(
        &mut self,
        parameter: &'a Parameter,
        text: &str,
        default: Option<&Value<'a>>,
    ) -> Eval<Value<'a>> {
        let name = &parameter.name;
        let value = parser::parse_expression(text.trim()).and_then(|expression| match &expression.kind {
            // A bare word is what it names in a model file, or else itself.
            ExpressionKind::Name(word) => self.known(word).flatten().or_else(|| literal(&expression)),
            _ => literal(&expression),
        });
        let Some(value) = value else {
            return Err(self.fault(
                Diagnostic::error(
                    format!("-D {}={text}: not a value", name.text),
                    name.span,
                    "this parameter",
                )
                .help("values are numbers, true, false, strings and lists: 0.5, true, same, [3, 4]"),
            ));
        };
        let Some(default) = default else { return Ok(value) };
        let numeric = |value: &Value<'_>| value.as_number().is_some();
        let alike = std::mem::discriminant(&value) == std::mem::discriminant(default);
        // `padding = 1` may become `padding = same`, or `[1, 1]`: what takes the value checks it.
        let is_padding =
            |value: &Value<'_>| matches!(value, Value::Text(_) | Value::List(_)) || numeric(value);
        if alike || (numeric(&value) && numeric(default)) || (name.text == "padding" && is_padding(&value)) {
            return Ok(value);
        }
        Err(self.fault(Diagnostic::error(
            format!("-D {}={text}: `{}` is {}, not {}", name.text, name.text, default.kind(), value.kind()),
            name.span,
            format!("by default {default}"),
        )))
    }
}
