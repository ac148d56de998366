//! `kiln fmt`: blanks and line ends only, token by token, so that no comment and no meaning can be lost.
//!
//! The writer decides where lines end; this decides the indentation and the blanks within a line, joins runs of
//! empty lines to one, and lines up the comments behind neighbouring lines.

use pest::Parser as _;

use super::diagnostics::Diagnostics;
use super::parser::{Grammar, Rule};
use super::{Source, parser};

const INDENT: usize = 2;

/// The blanks before a `->` that continues a chain, or before any other continued line.
const CONTINUATION: usize = 4;

pub(super) fn format(source: &Source) -> Result<String, Diagnostics> {
    parser::parse(source)?;
    let lines = lines(&source.text);
    Ok(align_comments(lay_out(&lines)))
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
struct LaidOut {
    text: String,
    comment: Option<String>,
}

fn lay_out(lines: &[Line<'_>]) -> Vec<LaidOut> {
    let mut out: Vec<LaidOut> = Vec::new();
    // What each open bracket adds to the indentation of the lines within.
    let mut open: Vec<usize> = Vec::new();
    let mut previous = "";
    for (position, line) in lines.iter().enumerate() {
        if line.is_empty() {
            let after_brace =
                out.last().is_none_or(|last| last.text.ends_with('{') && last.comment.is_none());
            let next = lines[position..].iter().find(|line| !line.is_empty());
            let before_brace = next.is_none_or(|next| next.tokens.first() == Some(&"}"));
            if !after_brace
                && !before_brace
                && !out.last().is_some_and(|last| last.text.is_empty() && last.comment.is_none())
            {
                out.push(LaidOut { text: String::new(), comment: None });
            }
            continue;
        }
        let leading_closers = line.tokens.iter().take_while(|token| is_closer(token)).count();
        let mut indentation: usize = open[..open.len().saturating_sub(leading_closers)].iter().sum();
        if let Some(first) = line.tokens.first()
            && leading_closers == 0
            && (continues(first) || awaits_operand(previous))
        {
            indentation += CONTINUATION;
        }
        if line.tokens.is_empty() && continues_after(lines, position) {
            indentation += CONTINUATION;
        }
        let mut text = " ".repeat(if line.tokens.is_empty() { 0 } else { indentation });
        // Several brackets opened by one line indent once.
        let mut opened_here = Vec::new();
        for (at, token) in line.tokens.iter().enumerate() {
            if at > 0 && blank_between(&line.tokens[..at], token) {
                text.push(' ');
            }
            text.push_str(token);
            if is_opener(token) {
                open.push(0);
                opened_here.push(open.len() - 1);
            } else if is_closer(token) {
                open.pop();
                opened_here.retain(|&level| level < open.len());
            }
        }
        if let Some(&level) = opened_here.first() {
            open[level] = INDENT;
            let first = line.tokens.first().copied().unwrap_or_default();
            if continues(first) {
                open[level] += CONTINUATION;
            }
        }
        if let Some(last) = line.tokens.last() {
            previous = last;
        }
        let comment = line.comment.map(str::to_owned);
        if text.is_empty() {
            let comment = comment.map(|comment| format!("{}{comment}", " ".repeat(indentation)));
            out.push(LaidOut { text: comment.unwrap_or_default(), comment: None });
        } else {
            out.push(LaidOut { text, comment });
        }
    }
    while out.last().is_some_and(|last| last.text.is_empty() && last.comment.is_none()) {
        out.pop();
    }
    out
}

/// Whether the line of code after these comment lines goes on with a statement from before them.
fn continues_after(lines: &[Line<'_>], position: usize) -> bool {
    let next = lines[position..].iter().find_map(|line| line.tokens.first());
    next.is_some_and(|first| continues(first))
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

/// Puts comments behind neighbouring lines into one column.
fn align_comments(lines: Vec<LaidOut>) -> String {
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
