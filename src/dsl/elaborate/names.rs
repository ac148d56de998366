//! What layers are called.
//!
//! A label names its layer below the labels of the block calls around it; a call without a label adds nothing.
//! A layer without a label is named after its operator, below the calls around it, numbered where need be.

use std::collections::{HashMap, HashSet};

use crate::dsl::ast::Span;

#[derive(Default)]
pub(super) struct Names {
    taken: HashMap<String, Span>,
    counters: HashMap<String, usize>,
    /// What labels say: no layer is given such a name by itself.
    reserved: HashSet<String>,
    /// Before labels: the labels of the calls around, each followed by a dot.
    prefix: String,
    /// Before the names of layers without a label: the calls around, labelled or not.
    path: String,
}

/// The state outside of a block call, to return to.
pub(super) struct Outside {
    prefix: String,
    path: String,
}

/// Why a label names nothing.
pub(super) enum LabelError {
    Malformed(&'static str),
    /// Taken by what stands at the span.
    Duplicate(String, Span),
}

impl Names {
    pub fn reserving(labels: impl IntoIterator<Item = String>) -> Self {
        Names { reserved: labels.into_iter().collect(), ..Names::default() }
    }

    /// Enters a call of a block under its label, or under the block's name.
    pub fn enter(&mut self, label: Option<&str>, block: &str) -> Outside {
        let outside = Outside { prefix: self.prefix.clone(), path: self.path.clone() };
        match label {
            Some(label) => {
                self.prefix = format!("{}{label}.", self.prefix);
                self.path.clone_from(&self.prefix);
            }
            // Names that are long enough already are told apart by their numbers.
            None if self.path.len() > MAX_NAME => {}
            None => self.path = format!("{}.", self.numbered(block)),
        }
        outside
    }

    pub fn leave(&mut self, outside: Outside) {
        self.prefix = outside.prefix;
        self.path = outside.path;
    }

    /// The name of a layer with a label.
    pub fn labelled(&mut self, label: &str, span: Span) -> Result<String, LabelError> {
        check(label).map_err(LabelError::Malformed)?;
        let name = format!("{}{label}", self.prefix);
        self.take(&name, span)?;
        Ok(name)
    }

    /// The name of a layer without a label.
    pub fn unlabelled(&mut self, operator: &str, span: Span) -> String {
        loop {
            let name = self.numbered(operator);
            if self.take(&name, span).is_ok() {
                return name;
            }
        }
    }

    /// Whether a block call can have this label here.
    pub fn check_prefix(&self, label: &str) -> Result<(), &'static str> {
        check(label)?;
        let short = self.prefix.len() <= MAX_NAME;
        short.then_some(()).ok_or("with the labels of the calls around it, this label is too long")
    }

    /// Claims a name in full: a model input's, or a weight's.
    pub fn take(&mut self, name: &str, span: Span) -> Result<(), LabelError> {
        if let Some(&first) = self.taken.get(name) {
            return Err(LabelError::Duplicate(name.to_owned(), first));
        }
        self.taken.insert(name.to_owned(), span);
        Ok(())
    }

    /// `base`, `base_1`, `base_2`, … below the calls around.
    fn numbered(&mut self, base: &str) -> String {
        let first = format!("{}{base}", self.path);
        let counter = self.counters.entry(first.clone()).or_default();
        loop {
            let number = *counter;
            *counter += 1;
            let (name, last) = match number {
                0 => (first.clone(), base.to_owned()),
                _ => (format!("{first}_{number}"), format!("{base}_{number}")),
            };
            if !self.reserved.contains(&last) {
                return name;
            }
        }
    }
}

/// The longest label, and what a layer's name may have before it is its label's turn, in bytes.
const MAX_NAME: usize = 200;

/// Whether a label can be part of a weight's name.
fn check(label: &str) -> Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if label.is_empty() {
        Err("a label has at least one letter")
    } else if label.len() > MAX_NAME {
        Err("this label is too long")
    } else if !label.chars().all(allowed) {
        Err("a label consists of letters, digits, `_`, `-` and `.`")
    } else if label.split('.').any(str::is_empty) {
        Err("a label's dots stand between names")
    } else {
        Ok(())
    }
}
