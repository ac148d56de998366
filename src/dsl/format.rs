//! `kiln fmt`: blanks and line ends only, token by token, so that no comment and no meaning can be lost.
//!
//! The writer decides where lines end; this decides the indentation and the blanks within a line, joins runs of
//! empty lines to one, and lines up the comments behind neighbouring lines.

use pest::Parser as _;

use super::diagnostics::Diagnostics;
use super::parser::{Grammar, Rule};
use super::{Source, parser};

const INDENT: usize = 2;

/// The blanks before a line that continues the one above, unless its `->` lines up with another.
const CONTINUATION: usize = 4;

pub(super) fn format(source: &Source) -> Result<String, Diagnostics> {
    parser::parse(source)?;
    let lines = lines(&source.text);
    let mut lines = lay_out(&lines);
    align_arms(&mut lines);
    Ok(align_comments(&lines))
}

/// The tokens of one line, and the comment behind them.
#[derive(Default)]
struct Line<'a> {
    tokens: Vec<&'a str>,
    comment: Option<&'a str>,
}

impl Line<'_> {
    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.comment.is_none()
    }
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let tokens = Grammar::parse(Rule::tokens, text).expect("whatever parses consists of tokens");
    let mut lines = vec![Line::default()];
    for token in tokens.flat_map(|file| file.into_inner()) {
        let line = lines.last_mut().expect("never empty");
        match token.as_rule() {
            Rule::newline => lines.push(Line::default()),
            Rule::comment => line.comment = Some(token.as_str().trim_end()),
            Rule::token => line.tokens.push(token.as_str()),
            _ => {}
        }
    }
    lines
}

/// A line without its comment, and the comment.
#[derive(Default)]
struct LaidOut {
    text: String,
    comment: Option<String>,
    /// Where an arm's `=>` begins, in characters, and how deep the line stands.
    arm: Option<(usize, usize)>,
}

impl LaidOut {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.comment.is_none()
    }
}

/// What is open at a point of the text, which decides where lines begin.
#[derive(Default)]
struct Layout {
    /// For each open bracket, where the line begins that it belongs to.
    brackets: Vec<usize>,
    /// For each depth of brackets, the column of the first `->` of the statement: later ones line up with it.
    arrows: Vec<Option<usize>>,
    /// The last token of the code so far.
    previous: String,
}

fn lay_out(lines: &[Line<'_>]) -> Vec<LaidOut> {
    let mut out: Vec<LaidOut> = Vec::new();
    let mut layout = Layout { arrows: vec![None], ..Layout::default() };
    for (position, line) in lines.iter().enumerate() {
        let following = lines[position..].iter().find(|line| !line.is_empty());
        if line.is_empty() {
            let after_brace =
                out.last().is_none_or(|last| last.comment.is_none() && last.text.ends_with('{'));
            let before_brace = following.is_none_or(|next| next.tokens.first() == Some(&"}"));
            if !after_brace && !before_brace && !out.last().is_some_and(LaidOut::is_empty) {
                out.push(LaidOut::default());
            }
            continue;
        }
        let comment = line.comment.map(str::to_owned);
        if line.tokens.is_empty() {
            // A comment by itself stands where the code after it does.
            let code = lines[position..].iter().find_map(|line| line.tokens.first());
            let column = code.map_or(0, |first| match is_closer(first) {
                true => layout.within(0),
                false => layout.indentation(first, 0),
            });
            out.push(LaidOut {
                text: format!("{}{}", " ".repeat(column), comment.unwrap_or_default()),
                ..LaidOut::default()
            });
        } else {
            let (text, arm) = layout.line(&line.tokens);
            out.push(LaidOut { text, comment, arm });
        }
    }
    out
}

impl Layout {
    /// Where a line within the brackets begins, the innermost `closing` of which it closes.
    fn within(&self, closing: usize) -> usize {
        let depth = self.brackets.len();
        match closing {
            0 => self.brackets.last().map_or(0, |line| line + INDENT),
            _ => self.brackets[depth.saturating_sub(closing)],
        }
    }

    /// Where a line begins that starts with `first`.
    fn indentation(&self, first: &str, closing: usize) -> usize {
        let within = self.within(closing);
        if first == "->" {
            return self.arrows.last().copied().flatten().unwrap_or(within + CONTINUATION);
        }
        let goes_on = closing == 0 && (continues(first) || awaits_operand(&self.previous));
        if goes_on { within + CONTINUATION } else { within }
    }

    /// The line laid out, and where its `=>` is if it is an arm of a `match`.
    fn line(&mut self, tokens: &[&str]) -> (String, Option<(usize, usize)>) {
        let closing = tokens.iter().take_while(|token| is_closer(token)).count();
        let mut begins = self.indentation(tokens[0], closing);
        if closing == 0 && !continues(tokens[0]) && !awaits_operand(&self.previous) {
            *self.arrows.last_mut().expect("never empty") = None;
        }
        let mut text = " ".repeat(begins);
        let outside = self.brackets.len();
        let mut lowest = outside;
        let mut arm = None;
        for (at, token) in tokens.iter().enumerate() {
            if at > 0 && blank_between(&tokens[..at], token) {
                text.push(' ');
            }
            if is_opener(token) {
                self.brackets.push(begins);
                self.arrows.push(None);
            } else if is_closer(token)
                && let Some(line) = self.brackets.pop()
            {
                self.arrows.pop();
                if self.brackets.len() < lowest {
                    // What closes here began further up, and so does all that follows on this line.
                    lowest = self.brackets.len();
                    begins = line;
                }
            } else if *token == "->" {
                let column = text.chars().count();
                self.arrows.last_mut().expect("never empty").get_or_insert(column);
            } else if *token == "=>" && self.brackets.len() == outside {
                arm.get_or_insert((text.chars().count(), outside));
            }
            text.push_str(token);
        }
        self.previous = (*tokens.last().expect("not empty")).to_owned();
        (text, arm)
    }
}

fn is_opener(token: &str) -> bool {
    matches!(token, "(" | "[" | "{")
}

fn is_closer(token: &str) -> bool {
    matches!(token, ")" | "]" | "}")
}

/// Whether a line that begins with `token` goes on with the line before.
fn continues(token: &str) -> bool {
    token == "->" || is_binary(token)
}

fn is_binary(token: &str) -> bool {
    matches!(token, "+" | "-" | "*" | "/" | "%" | "**" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "and" | "or")
}

/// Whether a line that ends with `token` goes on with the next.
fn awaits_operand(token: &str) -> bool {
    matches!(token, "->" | "=" | "=>") || is_binary(token)
}

/// Whether a blank stands between the line so far and its next token.
fn blank_between(before: &[&str], next: &str) -> bool {
    let last = before[before.len() - 1];
    let tight_after = matches!(last, "(" | "[" | "." | "..") || is_sign(before);
    let tight_before = matches!(next, ")" | "]" | "," | ":" | "." | "..");
    let call = next == "(" && (is_word(last) && !is_keyword(last));
    let index = next == "[" && ((is_word(last) && !is_keyword(last)) || is_closer(last) && last != "}");
    !(tight_after || tight_before || call || index)
}

/// Whether the last token is a `-` that negates what follows.
fn is_sign(tokens: &[&str]) -> bool {
    let [before @ .., "-"] = tokens else { return false };
    match before.last() {
        None => false,
        Some(token) => {
            is_opener(token) || awaits_operand(token) || matches!(*token, "," | "..") || is_keyword(token)
        }
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn is_keyword(token: &str) -> bool {
    Grammar::parse(Rule::name, token).is_err()
}

/// Puts the `=>` of neighbouring arms into one column.
fn align_arms(lines: &mut [LaidOut]) {
    let depth = |line: &LaidOut| line.arm.map(|(_, depth)| depth);
    for group in lines.chunk_by_mut(|a, b| a.arm.is_some() && depth(a) == depth(b)) {
        let column = group.iter().filter_map(|line| line.arm).map(|(column, _)| column).max().unwrap_or(0);
        for line in group {
            let Some((own, _)) = line.arm else { continue };
            let byte = line.text.char_indices().nth(own).map_or(line.text.len(), |(byte, _)| byte);
            line.text.insert_str(byte, &" ".repeat(column - own));
        }
    }
}

/// Puts comments behind neighbouring lines into one column.
fn align_comments(lines: &[LaidOut]) -> String {
    let mut out = String::new();
    for group in lines.chunk_by(|a, b| a.comment.is_some() && b.comment.is_some()) {
        let column = group.iter().map(|line| line.text.chars().count()).max().unwrap_or(0);
        for line in group {
            out.push_str(&line.text);
            if let Some(comment) = &line.comment {
                let width = line.text.chars().count();
                out.push_str(&" ".repeat(column - width + 2));
                out.push_str(comment);
            }
            out.push('\n');
        }
    }
    out
}
