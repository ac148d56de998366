//! Brackets, looked at before and beside the grammar: how deep they nest, and which are left open.

use super::super::ast::Span;
use super::super::diagnostics::Diagnostic;

/// How deep brackets of all kinds may nest. The parser and the elaboration recurse over them.
const MAX_NESTING: usize = 64;

/// What is odd about a text's brackets and strings, each the first of its kind.
#[derive(Default)]
pub(super) struct Brackets {
    too_deep: Option<usize>,
    /// Open at the end of the text, the outermost first.
    unclosed: Vec<(u8, usize)>,
    /// An opening bracket and the closing bracket of another kind that follows it.
    mismatch: Option<((u8, usize), usize)>,
    stray: Option<usize>,
    unterminated_string: Option<usize>,
    /// A `{` whose `}` stands in another column than the line of the `{`.
    misindented: Option<usize>,
}

/// Refuses a text that nests too deep to be parsed.
pub(super) fn check(text: &str) -> Result<(), Diagnostic> {
    let Some(at) = scan(text).too_deep else { return Ok(()) };
    Err(Diagnostic::error(
        format!("brackets nest more than {MAX_NESTING} deep"),
        Span { start: at, end: at + 1 },
        "one too many",
    )
    .help("name parts of the expression, or move them to a `block`"))
}

pub(super) fn scan(text: &str) -> Brackets {
    let bytes = text.as_bytes();
    let mut found = Brackets::default();
    // A `"` on the stack is an interpolation's `{`, after which the string goes on.
    let mut open: Vec<(u8, usize)> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'"' => {
                at = skip_string(bytes, at, at + 1, &mut open, &mut found);
                continue;
            }
            bracket @ (b'(' | b'[' | b'{') => open.push((bracket, at)),
            closing @ (b')' | b']' | b'}') => match open.pop() {
                None => _ = found.stray.get_or_insert(at),
                Some((b'"', start)) if closing == b'}' => {
                    at = skip_string(bytes, start, at + 1, &mut open, &mut found);
                    continue;
                }
                Some((opening, start)) if closes(opening, closing) => {
                    let alone = text[..at].rsplit('\n').next().is_some_and(|line| line.trim().is_empty());
                    if closing == b'}' && alone && indentation(text, at) != indentation(text, start) {
                        found.misindented.get_or_insert(start);
                    }
                }
                // A `{` stays open for its `}`: it is the other bracket that is one too many.
                Some(brace @ (b'{', _)) => {
                    open.push(brace);
                    found.stray.get_or_insert(at);
                }
                Some(opening) => {
                    found.mismatch.get_or_insert((opening, at));
                }
            },
            _ => {}
        }
        if open.len() > MAX_NESTING {
            found.too_deep.get_or_insert(at);
        }
        at += 1;
    }
    found.unclosed = open;
    found
}

/// Skips a string's text from `at` to after its closing quote, or to the `{` of an interpolation's inside.
fn skip_string(
    bytes: &[u8],
    start: usize,
    mut at: usize,
    open: &mut Vec<(u8, usize)>,
    found: &mut Brackets,
) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\n' => break,
            b'{' if bytes.get(at + 1) == Some(&b'{') => at += 1,
            b'\\' if bytes.get(at + 1).is_some_and(|&next| next != b'\n') => at += 1,
            b'{' => {
                open.push((b'"', start));
                if open.len() > MAX_NESTING {
                    found.too_deep.get_or_insert(at);
                }
                return at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    found.unterminated_string.get_or_insert(start);
    at
}

fn closes(opening: u8, closing: u8) -> bool {
    matches!((opening, closing), (b'(', b')') | (b'[', b']') | (b'{', b'}'))
}

fn indentation(text: &str, at: usize) -> usize {
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[line..].len() - text[line..].trim_start_matches([' ', '\t']).len()
}

impl Brackets {
    /// What is wrong with the brackets of a text that did not parse, if that may be the reason.
    pub(super) fn problem(&self) -> Option<Diagnostic> {
        let one = |at| Span { start: at, end: at + 1 };
        let quoted = |bracket: u8| if bracket == b'"' { '{' } else { char::from(bracket) };
        if let Some(at) = self.unterminated_string {
            return Some(
                Diagnostic::error("this string has no closing quote", one(at), "opened here")
                    .help("a string ends on the line it begins on"),
            );
        }
        if let Some((opening, at)) = self.mismatch {
            return Some(
                Diagnostic::error(
                    format!("`{}` is never closed", quoted(opening.0)),
                    one(opening.1),
                    "opened here",
                )
                .and(one(at), "this closes something else"),
            );
        }
        if let Some(at) = self.stray {
            return Some(Diagnostic::error("this bracket closes nothing", one(at), "one too many"));
        }
        if let Some(&(bracket, at)) = self.unclosed.last() {
            let problem =
                Diagnostic::error(format!("`{}` is never closed", quoted(bracket)), one(at), "opened here");
            return Some(match self.misindented {
                Some(suspect) if suspect != at => {
                    problem.and(one(suspect), "perhaps it is this one that lacks its `}`, by the indentation")
                }
                _ => problem,
            });
        }
        None
    }
}
