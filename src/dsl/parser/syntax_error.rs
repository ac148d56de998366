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
    let positives = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
        ErrorVariant::CustomError { message } => {
            return Diagnostic::error(message.clone(), Found::at(text, start).span, "here");
        }
    };
    let failure = Failure { text, found: Found::at(text, start), positives };
    failure
        .foreign()
        .or_else(|| nesting::scan(text).problem())
        .or_else(|| failure.misspelt_keyword())
        .unwrap_or_else(|| failure.unexpected())
}

/// A place where the grammar could not go on.
struct Failure<'a> {
    text: &'a str,
    found: Found<'a>,
    /// What the grammar would have gone on with.
    positives: &'a [Rule],
}

impl<'a> Failure<'a> {
    fn expects(&self, rule: Rule) -> bool {
        self.positives.contains(&rule)
    }

    /// The line's text before the failure.
    fn before(&self) -> &'a str {
        let text = &self.text[..self.found.span.start];
        &text[text.rfind('\n').map_or(0, |newline| newline + 1)..]
    }

    /// The first word of the line.
    fn first_word(&self) -> Found<'a> {
        let start = self.found.span.start - self.before().trim_start().len();
        Found::at(self.text, start)
    }

    /// The word just before the failure.
    fn previous_word(&self) -> &'a str {
        let before = self.before().trim_end();
        &before[before.trim_end_matches(is_word).len()..]
    }

    /// A word or mark of another language.
    fn foreign(&self) -> Option<Diagnostic> {
        let refuse = |at: &Found<'_>, hint: &str| {
            Diagnostic::error(format!("`{}` is not part of the language", at.text), at.span, "here")
                .help(hint)
        };
        let first = self.first_word();
        for at in [&self.found, &first] {
            // A word that is given a value is a name like any other.
            let after = self.text[at.span.end..].trim_start();
            let is_named = after.starts_with('=') && !after.starts_with("==");
            if let Some((_, hint)) = FOREIGN_WORDS.iter().find(|(word, _)| *word == at.text && !is_named) {
                return Some(refuse(at, hint));
            }
        }
        let (mark, hint) = FOREIGN_MARKS.iter().find(|(mark, _)| self.found.text.starts_with(mark))?;
        let span = Span { start: self.found.span.start, end: self.found.span.start + mark.len() };
        Some(refuse(&Found { text: mark, span }, hint))
    }

    /// A line that begins with almost a keyword.
    fn misspelt_keyword(&self) -> Option<Diagnostic> {
        let first = self.first_word();
        let is_second = self.before().trim() == first.text && self.found.text.starts_with(is_word);
        if !is_second || STATEMENTS.contains(&first.text) {
            return None;
        }
        let keyword = closest(first.text, STATEMENTS.into_iter().chain(["model"]))?;
        let message = format!("no statement begins with `{}`", first.text);
        Some(Diagnostic::error(message, first.span, "here").help(format!("did you mean `{keyword}`?")))
    }

    fn unexpected(&self) -> Diagnostic {
        let found = self.found.describe(self.text);
        let expected = expectations(self.positives);
        let message = match expected.as_slice() {
            [] => format!("{found} does not belong here"),
            some => format!("expected {}, found {found}", listed(some, "or")),
        };
        Diagnostic::error(message, self.found.span, "here").help_if(self.advice())
    }

    /// What the writer may have meant.
    fn advice(&self) -> Option<String> {
        let (found, previous) = (self.found.text, self.previous_word());
        let goes_on = self.expects(Rule::arrow);
        if self.expects(Rule::model_keyword) {
            return Some("a file is one model: `model name(batch = 1) { … }`".to_owned());
        }
        if self.text[..self.found.span.start].trim_end().ends_with("->") {
            return Some("a chain ends with a layer, not with `->`".to_owned());
        }
        if STATEMENTS.contains(&previous) && found == "=" {
            return Some(format!("`{previous}` is a word of the language and names nothing else"));
        }
        if is_keyword(found) && (self.expects(Rule::name) || self.expects(Rule::pattern)) {
            return Some(format!("`{found}` is a word of the language and names nothing else"));
        }
        let begins_with_digit = found.starts_with(|c: char| c.is_ascii_digit());
        if begins_with_digit && found.contains(|c: char| c.is_alphabetic()) {
            return Some("a square kernel is one number, `3`; another is `[3, 5]`".to_owned());
        }
        match found {
            ":" if self.expects(Rule::equals) => {
                return Some("names, defaults and arguments take `=`".to_owned());
            }
            "=" if self.expects(Rule::colon) => {
                return Some(
                    "an input is declared by its type: `input image: f32[1, 3, 224, 224]`".to_owned(),
                );
            }
            "==" if self.expects(Rule::equals) => return Some("a value is named with one `=`".to_owned()),
            "=" if goes_on => return Some("to compare, write `==`".to_owned()),
            "{" if goes_on && self.before().trim().is_empty() => {
                return Some("the `{` belongs at the end of the line above".to_owned());
            }
            "+" | "-" | "*" | "/" if goes_on => {
                return Some(format!(
                    "`->` binds loosest: to go on after a chain, put it in parentheses: \
                     `(x -> relu) {found} …`"
                ));
            }
            "(" if self.expects(Rule::equals) => {
                return Some(format!(
                    "a result has to be named: `x = {previous}(…)`; to go on with the line above, \
                     begin with `->`"
                ));
            }
            "->" if self.expects(Rule::equals) && !self.expects(Rule::arrow) => {
                return Some(format!("a result has to be named: `{previous} = {previous} -> …`"));
            }
            _ => {}
        }
        if goes_on && found.starts_with(|c: char| c.is_alphabetic()) {
            return Some("join layers with `->`; each statement has a line of its own".to_owned());
        }
        None
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_keyword(word: &str) -> bool {
    STATEMENTS.contains(&word)
        || ["model", "match", "else", "as", "in", "and", "or", "not", "true", "false"].contains(&word)
}

/// The rules that begin with a value.
const VALUES: [Rule; 14] = [
    Rule::expression,
    Rule::disjunction,
    Rule::conjunction,
    Rule::negation,
    Rule::comparison,
    Rule::range,
    Rule::sum,
    Rule::product,
    Rule::signed,
    Rule::power,
    Rule::exponent,
    Rule::postfix,
    Rule::number,
    Rule::list,
];

/// Rules in words, what a reader would try first in front.
fn expectations(positives: &[Rule]) -> Vec<&'static str> {
    let has = |rule: Rule| positives.contains(&rule);
    let mut words = Vec::new();
    let mut add = |word: &'static str, condition: bool| {
        if condition && !words.contains(&word) {
            words.push(word);
        }
    };
    let value = positives.iter().any(|rule| VALUES.contains(rule));
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
