//! A place in a problem string.

use std::fmt;
use std::ops::RangeInclusive;

/// A string that names no kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProblemError {
    pub name: String,
    /// The byte at which it stops making sense.
    pub at: usize,
    pub expected: String,
}

impl fmt::Display for ProblemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.name[..self.at].chars().count();
        let place = if self.at == self.name.len() { "at its end" } else { "here" };
        writeln!(f, "this names no kernel: {} was expected {place}", self.expected)?;
        writeln!(f, "  {}", self.name.replace(char::is_control, " "))?;
        write!(f, "  {:before$}^", "")
    }
}

impl std::error::Error for ProblemError {}

/// A problem string and how far it has been read.
#[derive(Clone)]
pub struct Cursor<'a> {
    name: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(name: &'a str) -> Self {
        Cursor { name, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.name[self.at..]
    }

    /// The place reached, for [`Cursor::blame`].
    pub fn place(&self) -> usize {
        self.at
    }

    /// Reads `word` if it is next.
    pub fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// Reads `word`, which stands for `what`.
    pub fn expect(&mut self, word: &str, what: &str) -> Result<(), ProblemError> {
        if self.eat(word) { Ok(()) } else { Err(self.error(format!("'{word}' ({what})"))) }
    }

    /// Reads one of `words`.
    pub fn one_of<T: Copy>(&mut self, words: &[(&str, T)]) -> Option<T> {
        words.iter().find(|(word, _)| self.eat(word)).map(|&(_, value)| value)
    }

    /// Reads a number in `range`.
    pub fn number(&mut self, range: RangeInclusive<usize>) -> Result<usize, ProblemError> {
        let rest = self.rest();
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        match rest[..digits].parse() {
            Ok(number) if range.contains(&number) => {
                self.at += digits;
                Ok(number)
            }
            _ => Err(self.error(format!("a number from {} to {}", range.start(), range.end()))),
        }
    }

    /// Reads `word` and a number in `range` after it, if `word` is next.
    pub fn field(&mut self, word: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, ProblemError> {
        if self.eat(word) { self.number(range).map(Some) } else { Ok(None) }
    }

    /// Reads a floating-point number as `{:?}` writes it.
    pub fn float(&mut self) -> Result<f32, ProblemError> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let named = ["inf", "NaN"].into_iter().find(|name| rest[sign..].starts_with(name));
        let end = match named {
            Some(name) => sign + name.len(),
            None => {
                let part_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | '-');
                rest.find(|c: char| !part_of_number(c)).unwrap_or(rest.len())
            }
        };
        match rest[..end].parse() {
            Ok(number) => {
                self.at += end;
                Ok(number)
            }
            Err(_) => Err(self.error("a number such as 0.5 or 1e-5".to_owned())),
        }
    }

    /// # Errors
    /// Where something follows.
    pub fn end(&self) -> Result<(), ProblemError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.error("the end".to_owned())) }
    }

    /// What was expected at the place reached.
    pub fn error(&self, expected: String) -> ProblemError {
        self.blame(self.at, expected)
    }

    /// What was expected at an earlier place.
    pub fn blame(&self, at: usize, expected: String) -> ProblemError {
        ProblemError { name: self.name.to_owned(), at, expected }
    }
}
