//! Calls: finding what is called, matching arguments to parameters, running blocks.

use super::arguments::Arguments;
use super::operators::{self, Operator, Words};
use super::value::{Callable, FrameId, Value};
use super::{Activation, Elaborator, Eval, Stop, functions};
use crate::dsl::ast::*;
use crate::dsl::diagnostics::{Diagnostic, listed};
use crate::spelling::closest;

/// The value that a chain passes on to its next stage.
pub(super) struct Piped<'a> {
    /// `None` where it was at fault.
    pub value: Option<Value<'a>>,
    pub span: Span,
}

/// An argument as it stands in a call.
#[derive(Clone)]
pub(super) struct Given<'a> {
    name: Option<&'a Name>,
    /// Whether a chain passed it on.
    is_piped: bool,
    /// `None` where it was at fault.
    pub value: Option<Value<'a>>,
    pub span: Span,
}

/// What is known of a callee's parameters.
struct Signature<'p> {
    callee: &'p str,
    /// Names, and whether a value must be given.
    parameters: Vec<(&'p str, bool)>,
    /// As a reader would write it.
    text: String,
}

impl<'a> Elaborator<'a> {
    pub(super) fn call(
        &mut self,
        call: &'a Call,
        piped: Option<Piped<'a>>,
        label: Option<&'a Label>,
        span: Span,
    ) -> Eval<Value<'a>> {
        let callable = match self.callable(&call.callee) {
            Ok(callable) => Some(callable),
            Err(Stop::Fault) => None,
            Err(Stop::Limit) => return Err(Stop::Limit),
        };
        let mut given: Vec<Given<'a>> = Vec::with_capacity(call.arguments.len() + 1);
        let is_piped = piped.is_some();
        given.extend(piped.map(|piped| Given {
            name: None,
            is_piped: true,
            value: piped.value,
            span: piped.span,
        }));
        for argument in &call.arguments {
            let name = argument.name.as_ref();
            let words = match callable {
                Some(Callable::Operator(operator)) => {
                    operator.words(name.map(|name| &*name.text), given.len())
                }
                _ => None,
            };
            let value = match words {
                Some(words) => self.attempt_word(words, &argument.value)?,
                None => self.attempt(&argument.value)?,
            };
            given.push(Given { name, is_piped: false, value, span: argument.value.span });
        }
        match callable.ok_or(Stop::Fault)? {
            Callable::Block(block, frame) => self.call_block(block, frame, given, label, span),
            Callable::Function(function) => {
                if let Some(name) = given.iter().find_map(|given| given.name) {
                    return Err(self.fault(Diagnostic::error(
                        format!("`{}` takes no named arguments", function.name),
                        name.span,
                        "leave out the name",
                    )));
                }
                let values: Option<Vec<_>> =
                    given.into_iter().map(|given| Some((given.value?, given.span))).collect();
                functions::call(self, function, values.ok_or(Stop::Fault)?, label, span)
            }
            Callable::Operator(operator) => {
                if !is_piped {
                    self.expect_something_to_work_on(operator, &given, call.callee.span)?;
                }
                self.call_operator(operator, call.callee.span, given, label, span)
            }
        }
    }

    /// An argument for a parameter that takes words, which go before variables there.
    fn attempt_word(&mut self, words: &Words, argument: &'a Expression) -> Eval<Option<Value<'a>>> {
        let ExpressionKind::Name(name) = &argument.kind else { return self.attempt(argument) };
        if let Some(word) = words.words.iter().find(|word| *word == name) {
            return Ok(Some(Value::text(word)));
        }
        if self.known(name).is_some() {
            return self.attempt(argument);
        }
        let meant = closest(name, words.words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
        let known: Vec<String> = words.words.iter().map(|word| format!("`{word}`")).collect();
        self.report(
            Diagnostic::error(
                format!("`{}` is {}{}, not `{name}`", words.parameter, words.besides, listed(&known, "or")),
                argument.span,
                "not known",
            )
            .help_if(meant),
        );
        Ok(None)
    }

    fn callable(&mut self, callee: &'a Name) -> Eval<Callable<'a>> {
        match self.known(&callee.text) {
            Some(Some(Value::Callable(callable))) => Ok(callable),
            Some(Some(other)) => {
                let hint = operators::find(&callee.text)
                    .map(|_| format!("the variable `{0}` hides the operator `{0}`", callee.text));
                Err(self.fault(
                    Diagnostic::error(
                        format!("`{}` is {}, which cannot be called", callee.text, other.kind()),
                        callee.span,
                        "neither a layer nor a block",
                    )
                    .help_if(hint),
                ))
            }
            Some(None) => Err(Stop::Fault),
            None => {
                let mut candidates = self.scopes.visible();
                candidates.extend(operators::names());
                candidates.extend(functions::names());
                let hint = operators::foreign(&callee.text).or_else(|| {
                    closest(&callee.text, candidates).map(|name| format!("did you mean `{name}`?"))
                });
                let hint = hint.unwrap_or_else(|| format!("layers are: {}", operators::names().join(", ")));
                Err(self.fault(
                    Diagnostic::error(
                        format!("there is no layer, block or function called `{}`", callee.text),
                        callee.span,
                        "not known",
                    )
                    .help(hint),
                ))
            }
        }
    }

    /// Catches `x = conv(64, 3)`, where the layer is given nothing.
    fn expect_something_to_work_on(
        &mut self,
        operator: &'static Operator,
        given: &[Given<'a>],
        callee: Span,
    ) -> Eval<()> {
        let input = operator.parameters()[0].name;
        let is_layer = |value: &Value<'a>| matches!(value, Value::Tensor(_) | Value::List(_));
        let numbers_only = given.iter().all(|given| {
            given.name.is_none_or(|name| name.text != input)
                && given.value.as_ref().is_some_and(|value| !is_layer(value))
        });
        if !numbers_only {
            return Ok(());
        }
        let name = operator.name();
        Err(self.fault(
            Diagnostic::error(format!("`{name}` is given no value to work on"), callee, "of what?")
                .help(format!("begin with the value: `x -> {name}(…)`")),
        ))
    }

    fn call_operator(
        &mut self,
        operator: &'static Operator,
        callee: Span,
        mut given: Vec<Given<'a>>,
        label: Option<&'a Label>,
        span: Span,
    ) -> Eval<Value<'a>> {
        let mut several = Vec::new();
        if operator.takes_several() {
            let split = given.iter().position(|given| given.name.is_some()).unwrap_or(given.len());
            let rest = given.split_off(split);
            several = std::mem::replace(&mut given, rest);
        }
        let parameters = operator.parameters().iter();
        let parameters = parameters.map(|parameter| (parameter.name, parameter.default.is_none()));
        let signature = Signature {
            callee: operator.name(),
            parameters: parameters.skip(usize::from(operator.takes_several())).collect(),
            text: operator.signature.to_owned(),
        };
        let bound = self.bind(&signature, callee, given)?;
        let faulty = |given: &Given<'a>| given.value.is_none();
        if several.iter().any(faulty) || bound.iter().flatten().any(faulty) {
            return Err(Stop::Fault);
        }
        let arguments = Arguments::new(operator, callee, span, label, several, bound);
        (operator.build)(self, &arguments)
    }

    /// Arguments in the order of the parameters; `None` for those left to their defaults.
    fn bind(
        &mut self,
        signature: &Signature<'_>,
        callee: Span,
        given: Vec<Given<'a>>,
    ) -> Eval<Vec<Option<Given<'a>>>> {
        let is_piped = given.first().is_some_and(|given| given.is_piped) && !signature.parameters.is_empty();
        let mut bound: Vec<Option<Given<'a>>> = vec![None; signature.parameters.len()];
        let mut sound = true;
        let total = given.len();
        for (position, given) in given.into_iter().enumerate() {
            let index = match given.name {
                None if position < bound.len() => position,
                None => {
                    let (takes, s) = (bound.len(), if bound.len() == 1 { "" } else { "s" });
                    let message = format!("`{}` takes {takes} argument{s}, not {total}", signature.callee);
                    let piped = is_piped.then(|| {
                        format!("what stands before `->` is the first: `{}`", signature.parameters[0].0)
                    });
                    self.report(
                        Diagnostic::error(message, given.span, "one too many")
                            .help(signature.text.clone())
                            .help_if(piped),
                    );
                    return Err(Stop::Fault);
                }
                Some(name) => {
                    let index = signature.parameters.iter().position(|(known, _)| *known == name.text);
                    let Some(index) = index else {
                        self.report(unknown_argument(signature, name));
                        sound = false;
                        continue;
                    };
                    index
                }
            };
            if let Some(first) = &bound[index] {
                let name = signature.parameters[index].0;
                self.report(
                    Diagnostic::error(format!("`{name}` is given twice"), given.span, "the second time")
                        .and(first.span, "the first time")
                        .help(signature.text.clone()),
                );
                sound = false;
                continue;
            }
            bound[index] = Some(given);
        }
        let missing = signature.parameters.iter().zip(&bound);
        let missing = missing.filter(|((_, required), value)| *required && value.is_none());
        let missing: Vec<String> = missing.map(|((name, _), _)| format!("`{name}`")).collect();
        if !missing.is_empty() && sound {
            let (s, missing) = (if missing.len() == 1 { "" } else { "s" }, listed(&missing, "and"));
            self.report(
                Diagnostic::error(
                    format!("`{}` is missing its argument{s} {missing}", signature.callee),
                    callee,
                    format!("needs {missing}"),
                )
                .help(signature.text.clone()),
            );
            sound = false;
        }
        if sound { Ok(bound) } else { Err(Stop::Fault) }
    }

    fn call_block(
        &mut self,
        block: &'a Block,
        frame: FrameId,
        given: Vec<Given<'a>>,
        label: Option<&'a Label>,
        span: Span,
    ) -> Eval<Value<'a>> {
        self.refuse_recursion(block, span)?;
        let parameters = block.parameters.iter();
        let signature = Signature {
            callee: &block.name.text,
            parameters: parameters
                .map(|parameter| (parameter.name.text.as_str(), parameter.default.is_none()))
                .collect(),
            text: block_signature(block),
        };
        let bound = self.bind(&signature, span, given)?;
        let label = match label {
            Some(label) => Some(self.block_label(label)?),
            None => None,
        };
        let outside = self.names.enter(label.as_deref(), &block.name.text);
        self.activations.push(Activation { block, call: span });
        let caller = self.scopes.open(Some(frame));
        let result = self.run_block(block, bound);
        self.scopes.resume(caller);
        self.activations.pop();
        self.names.leave(outside);
        result
    }

    fn run_block(&mut self, block: &'a Block, bound: Vec<Option<Given<'a>>>) -> Eval<Value<'a>> {
        for (parameter, given) in block.parameters.iter().zip(bound) {
            let value = match (given, &parameter.default) {
                (Some(given), _) => given.value,
                (None, Some(default)) => self.attempt(default)?,
                (None, None) => None,
            };
            self.scopes.bind(&parameter.name.text, value);
        }
        match self.body(&block.body)? {
            Some(value) => value.ok_or(Stop::Fault),
            None => Err(self.fault(
                Diagnostic::error(
                    format!("the block `{}` ends without returning a value", block.name.text),
                    block.name.span,
                    "this block",
                )
                .help("end it with `return x`"),
            )),
        }
    }

    fn refuse_recursion(&mut self, block: &'a Block, span: Span) -> Eval<()> {
        let called = |activation: &Activation<'a>| std::ptr::eq(activation.block, block);
        let Some(first) = self.activations.iter().position(called) else { return Ok(()) };
        let cycle = self.activations[first..].iter().map(|activation| activation.block.name.text.as_str());
        let cycle: Vec<&str> = cycle.chain([block.name.text.as_str()]).collect();
        Err(self.limit(
            Diagnostic::error(
                format!("the block `{}` calls itself: {}", block.name.text, cycle.join(" → ")),
                span,
                "called again here",
            )
            .help("to do something several times, use `repeat` or `for`"),
        ))
    }

    fn block_label(&mut self, label: &'a Label) -> Eval<String> {
        let text = self.text(&label.parts, label.span)?;
        match self.names.check_prefix(&text) {
            Ok(()) => Ok(text),
            Err(problem) => {
                let shown = format!("this is {text:?}");
                Err(self.fault(Diagnostic::error(problem, label.span, shown)))
            }
        }
    }
}

fn unknown_argument(signature: &Signature<'_>, name: &Name) -> Diagnostic {
    let known = signature.parameters.iter().map(|(known, _)| *known);
    let foreign =
        operators::foreign_argument(&name.text).filter(|known_as| known.clone().any(|k| k == *known_as));
    let meant = foreign.or_else(|| closest(&name.text, known.clone()));
    let diagnostic = Diagnostic::error(
        format!("`{}` has no parameter `{}`", signature.callee, name.text),
        name.span,
        "not known",
    );
    match meant {
        Some(meant) => diagnostic.help(format!("did you mean `{meant}`?")),
        None => diagnostic.help(signature.text.clone()),
    }
}

/// `name(x, stride, …)`, parameters with a default marked.
fn block_signature(block: &Block) -> String {
    let parameters = block.parameters.iter().map(|parameter| match &parameter.default {
        Some(default) => format!("{} = {default}", parameter.name.text),
        None => parameter.name.text.clone(),
    });
    format!("{}({})", block.name.text, parameters.collect::<Vec<_>>().join(", "))
}
