//! What expressions evaluate to while a model is built.

use std::fmt::{self, Write};
use std::rc::Rc;

use super::functions::Function;
use super::operators::Operator;
use crate::dsl::ast::Block;
use crate::graph::NodeId;

#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Rc<str>),
    List(List<'a>),
    /// A value of the graph: a model input or what a layer yields.
    Tensor(NodeId),
    Callable(Callable<'a>),
}

/// Something that can be called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Callable<'a> {
    /// With the frame whose names its body sees.
    Block(&'a Block, FrameId),
    Operator(&'static Operator),
    Function(&'static Function),
}

/// Names a frame of variables.
pub(super) type FrameId = usize;

/// A list that is known to be small enough to walk.
#[derive(Clone, Debug)]
pub(super) struct List<'a> {
    items: Rc<[Value<'a>]>,
    /// Items of items counted, too.
    size: usize,
    depth: usize,
}

impl<'a> List<'a> {
    /// The most values that a list may hold, in all its lists.
    pub const MAX_SIZE: usize = 100_000;
    const MAX_DEPTH: usize = 16;

    /// # Errors
    /// Where the list would be too large, or nest too deep; the sentence says which.
    pub fn new(items: Vec<Value<'a>>) -> Result<Self, String> {
        let mut size = items.len();
        let mut depth = 1;
        for item in &items {
            if let Value::List(list) = item {
                size += list.size;
                depth = depth.max(list.depth + 1);
            }
        }
        if size > Self::MAX_SIZE {
            return Err(format!("a list may have {} items, this one has {size}", Self::MAX_SIZE));
        }
        if depth > Self::MAX_DEPTH {
            return Err(format!("lists may nest {} deep", Self::MAX_DEPTH));
        }
        Ok(List { items: items.into(), size, depth })
    }

    pub fn items(&self) -> &[Value<'a>] {
        &self.items
    }

    /// How many values a walk over the list and the lists within meets.
    pub fn size(&self) -> usize {
        self.size
    }
}

impl<'a> Value<'a> {
    pub fn text(text: impl AsRef<str>) -> Self {
        Value::Text(text.as_ref().into())
    }

    /// The kind with its article, as messages say it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number with a fraction",
            Value::Bool(_) => "a truth value",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Tensor(_) => "a layer's value",
            Value::Callable(Callable::Block(..)) => "a block",
            Value::Callable(Callable::Operator(_)) => "an operator",
            Value::Callable(Callable::Function(_)) => "a function",
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether two values are the same, or `None` where they are of kinds that are never compared.
    pub fn equals(&self, other: &Value<'a>) -> Option<bool> {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => Some(a == b),
            (Value::Bool(a), Value::Bool(b)) => Some(a == b),
            (Value::Text(a), Value::Text(b)) => Some(a == b),
            (Value::List(a), Value::List(b)) => {
                if a.items.len() != b.items.len() {
                    return Some(false);
                }
                let mut same = true;
                for (a, b) in a.items.iter().zip(b.items.iter()) {
                    same &= a.equals(b)?;
                }
                Some(same)
            }
            (Value::Callable(a), Value::Callable(b)) => Some(a.name() == b.name()),
            _ => Some(self.as_number()? == other.as_number()?),
        }
    }
}

/// As written in a model file, long lists cut short.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        match self {
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Tensor(_) => f.write_str("a layer's value"),
            Value::Callable(callable) => f.write_str(callable.name()),
            Value::List(list) if list.depth > 3 => f.write_str("[…]"),
            Value::List(list) => {
                f.write_char('[')?;
                for (position, item) in list.items.iter().take(SHOWN).enumerate() {
                    let separator = if position > 0 { ", " } else { "" };
                    write!(f, "{separator}{item}")?;
                }
                f.write_str(if list.items.len() > SHOWN { ", …]" } else { "]" })
            }
        }
    }
}

impl<'a> Callable<'a> {
    pub fn name(&self) -> &'a str {
        match self {
            Callable::Block(block, _) => &block.name.text,
            Callable::Operator(operator) => operator.name(),
            Callable::Function(function) => function.name,
        }
    }
}
