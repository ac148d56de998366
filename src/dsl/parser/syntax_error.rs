//! pest's syntax errors in a newcomer's words.

use pest::error::{Error, ErrorVariant, InputLocation};

use super::super::ast::Span;
use super::super::diagnostics::{Diagnostic, listed};
use super::{Rule, nesting};
use crate::spelling::closest;

/// The keywords that begin a statement.
const STATEMENTS: [&str; 8] = ["block", "input", "output", "return", "for", "repeat", "if", "assert"];

/// Words of other languages, and what to write here.
const FOREIGN_WORDS: [(&str, &str); 16] = [
    ("let", "a value is named by `name = value`, without a keyword"),
    ("var", "a value is named by `name = value`, without a keyword"),
    ("const", "a value is named by `name = value`, without a keyword"),
    ("def", "a reusable part is a `block name(x, …) { … }`"),
    ("fn", "a reusable part is a `block name(x, …) { … }`"),
    ("func", "a reusable part is a `block name(x, …) { … }`"),
    ("function", "a reusable part is a `block name(x, …) { … }`"),
    ("class", "a reusable part is a `block name(x, …) { … }`"),
    ("module", "a reusable part is a `block name(x, …) { … }`"),
    ("while", "loops are `repeat count { … }` and `for item in items { … }`"),
    ("loop", "loops are `repeat count { … }` and `for item in items { … }`"),
    ("elif", "write `else if`"),
    ("elseif", "write `else if`"),
    ("switch", "write `match value { pattern => result }`"),
    ("import", "a model file stands by itself and imports nothing"),
    ("print", "nothing is printed while a model is built; `kiln show` prints the graph"),
];

/// Marks of other languages, and what to write here.
const FOREIGN_MARKS: [(&str, &str); 12] = [
    ("&&", "write `and`"),
    ("||", "write `or`"),
    ("!", "write `not`, or `!=`"),
    ("|>", "write `->`"),
    ("=>", "layers are chained with `->`"),
    ("#", "a comment begins with `//`"),
    ("/*", "a comment begins with `//` and ends with the line"),
    (";", "statements end with the line, without `;`"),
    ("'", "strings stand in double quotes"),
    ("^", "a power is written `a ** b`"),
    ("?", "write `if condition { a } else { b }`"),
    ("\\", "a line goes on by itself where the next begins with `->` or an operator"),
];

/// What stands where the parser could not go on.
struct Found<'a> {
    text: &'a str,
    span: Span,
}

impl<'a> Found<'a> {
    fn at(text: &'a str, start: usize) -> Self {
        let rest = &text[start..];
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let marks = rest.find(|c: char| !c.is_ascii_punctuation() || "()[]{}\"',".contains(c));
        let length = match rest.chars().next() {
            None | Some('\n' | '\r') => 0,
            Some(_) if word > 0 => word,
            Some(first) => marks.unwrap_or(rest.len()).max(first.len_utf8()),
        };
        Found { text: &rest[..length], span: Span { start, end: start + length } }
    }

    fn describe(&self, source: &str) -> String {
        match self.text {
            "" if self.span.start == source.len() => "the end of the file".to_owned(),
            "" => "the end of the line".to_owned(),
            text => format!("`{text}`"),
        }
    }
}

/// Says what is wrong with a text that the grammar refuses.
pub(super) fn explain(text: &str, error: &Error<Rule>) -> Diagnostic {
    let start = match error.location {
        InputLocation::Pos(at) => at,
        InputLocation::Span((at, _)) => at,
    };
    let found = Found::at(text, start);
    if let Some(hint) = foreign(text, &found) {
        let message = format!("{} is not part of the language", found.describe(text));
        return Diagnostic::error(message, found.span, "here").help(hint);
    }
    if let Some(problem) = nesting::scan(text).problem() {
        return problem;
    }
    let positives = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
        ErrorVariant::CustomError { message } => {
            return Diagnostic::error(message.clone(), found.span, "here");
        }
    };
    let expected = expectations(positives);
    let message = match expected.as_slice() {
        [] => format!("{} does not belong here", found.describe(text)),
        some => format!("expected {}, found {}", listed(some, "or"), found.describe(text)),
    };
    Diagnostic::error(message, found.span, "here").help_if(advice(text, &found, positives))
}

/// A hint where the text, or the line's first word, is from another language.
fn foreign(text: &str, found: &Found<'_>) -> Option<&'static str> {
    let line = text[..found.span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_start = text[line..].trim_start();
    let first = line_start.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    let after_first = line_start[first.len()..].trim_start();
    if let Some((_, hint)) = FOREIGN_WORDS
        .iter()
        .find(|(word, _)| *word == found.text || (*word == first && !after_first.starts_with('=')))
    {
        return Some(hint);
    }
    FOREIGN_MARKS.iter().find(|(mark, _)| found.text.starts_with(mark)).map(|(_, hint)| *hint)
}

/// Rules in words, what a reader would try first in front.
fn expectations(positives: &[Rule]) -> Vec<&'static str> {
    let has = |rule: Rule| positives.contains(&rule);
    let mut words = Vec::new();
    let mut add = |word: &'static str, condition: bool| {
        if condition && !words.contains(&word) {
            words.push(word);
        }
    };
    let value = has(Rule::number) || has(Rule::expression) || has(Rule::list);
    let statement = has(Rule::output_keyword) || has(Rule::output);
    let ends_expression = has(Rule::arrow) || has(Rule::stage);
    let in_brackets = has(Rule::close_paren) || has(Rule::close_bracket);
    add("a statement", statement);
    add("a value", value);
    add("a name", (has(Rule::name) || has(Rule::pattern)) && !value && !statement);
    add("`model`", has(Rule::model_keyword) || has(Rule::model));
    add("`->`", ends_expression);
    add("`as`", has(Rule::as_keyword) || has(Rule::label));
    add("`=`", has(Rule::equals));
    add("`:`", has(Rule::colon));
    add("`(`", (has(Rule::open_paren) || has(Rule::arguments)) && !value && !ends_expression);
    add("`[`", has(Rule::open_bracket) && !value && !ends_expression);
    add("`in`", has(Rule::in_keyword));
    add("`{`", (has(Rule::open_brace) || has(Rule::body)) && !value);
    add("`=>`", has(Rule::double_arrow));
    add("`,`", has(Rule::comma));
    add("`)`", has(Rule::close_paren));
    add("`]`", has(Rule::close_bracket));
    add("`else`", has(Rule::else_keyword) && !ends_expression);
    add("a newline", ends_expression && !in_brackets && !has(Rule::open_brace));
    add("`}`", has(Rule::close_brace) && !statement);
    add("the end of the file", has(Rule::EOI));
    words
}

/// What the writer may have meant.
fn advice(text: &str, found: &Found<'_>, positives: &[Rule]) -> Option<String> {
    let has = |rule: Rule| positives.contains(&rule);
    let before = text[..found.span.start].trim_end_matches([' ', '\t']);
    let previous = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    let is_keyword =
        |word: &str| STATEMENTS.contains(&word) || ["model", "match", "as", "in"].contains(&word);
    if found.text == ":" && has(Rule::equals) {
        return Some("names, defaults and arguments take `=`".to_owned());
    }
    if found.text == "=" && has(Rule::colon) {
        return Some("an input is declared by its type: `input image: f32[1, 3, 224, 224]`".to_owned());
    }
    if found.text == "==" && has(Rule::equals) {
        return Some("a value is named with one `=`".to_owned());
    }
    if found.text == "=" && has(Rule::arrow) {
        return Some("to compare, write `==`".to_owned());
    }
    if has(Rule::equals) && before.ends_with(previous) && !previous.is_empty() && !has(Rule::close_paren) {
        if found.text == "(" {
            return Some(format!(
                "a result has to be named: `x = {previous}(…)`; to go on with the line above, begin with `->`"
            ));
        }
        if let Some(keyword) = closest(previous, STATEMENTS) {
            return Some(format!("did you mean `{keyword}`?"));
        }
        if found.text == "->" {
            return Some(format!("a result has to be named: `{previous} = {previous} -> …`"));
        }
    }
    if is_keyword(found.text) && (has(Rule::name) || has(Rule::pattern)) {
        return Some(format!("`{}` is a word of the language and names nothing else", found.text));
    }
    if found.text.is_empty() && before.ends_with("->") {
        return Some("a chain ends with a layer, not with `->`".to_owned());
    }
    let operator = ["+", "-", "*", "/"].iter().find(|operator| found.text == **operator);
    if let (Some(operator), true) = (operator, has(Rule::arrow)) {
        return Some(format!(
            "`->` binds loosest: to go on after a chain, put it in parentheses: `(x -> relu) {operator} …`"
        ));
    }
    if has(Rule::open_brace) && found.text.is_empty() {
        return Some("the `{` belongs on the same line".to_owned());
    }
    if has(Rule::arrow) && found.text.starts_with(|c: char| c.is_alphabetic()) {
        return Some("join layers with `->`; each statement has a line of its own".to_owned());
    }
    None
}
