//! What is given for a network's open dimensions and for inputs that must be known: `-D batch=1`.

use std::collections::{BTreeMap, BTreeSet};

use super::importer::extent;
use super::known::{Ints, Known};
use super::proto::{Extent, TensorType, ValueInfoProto};
use crate::tensor::{Shape, Tensor};

/// Values for open dimensions and for inputs, by name.
#[derive(Clone, Default, Debug)]
pub struct Bindings {
    defines: BTreeMap<String, Known>,
}

impl Bindings {
    /// Values as written: a number, or a list of numbers such as `[1, 2]`.
    ///
    /// # Errors
    /// Where one is neither.
    pub fn parse(defines: &[(String, String)]) -> Result<Self, String> {
        let mut bindings = Bindings::default();
        for (name, text) in defines {
            let value = parse(text).ok_or_else(|| {
                format!("'{name}' cannot be '{text}': give a number, or a list of numbers such as [1, 2]")
            })?;
            bindings.define(name, value);
        }
        Ok(bindings)
    }

    /// Gives an input, or an open dimension, its value.
    pub fn define(&mut self, name: &str, value: impl Into<Known>) {
        self.defines.insert(name.to_owned(), value.into());
    }

    pub fn value(&self, input: &str) -> Option<&Known> {
        self.defines.get(input)
    }

    pub fn dimensions(&self) -> Dimensions<'_> {
        Dimensions { bindings: self, open: Vec::new(), used: BTreeSet::new() }
    }
}

fn parse(text: &str) -> Option<Known> {
    let text = text.trim();
    let (inner, list) = match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let parts: Vec<&str> = match inner.trim() {
        "" if list => Vec::new(),
        inner => inner.split(',').map(str::trim).collect(),
    };
    let shape = if list { Shape::from([parts.len()]) } else { Shape::default() };
    if !list && parts.len() != 1 {
        return None;
    }
    if let Some(data) = parts.iter().map(|part| integer(part)).collect::<Option<Vec<i64>>>() {
        return Some(Ints { shape, data }.into());
    }
    let data = parts.iter().map(|part| part.parse().ok()).collect::<Option<Vec<f32>>>()?;
    Some(Tensor::new(shape, data).into())
}

fn integer(text: &str) -> Option<i64> {
    match text {
        "true" => Some(1),
        "false" => Some(0),
        _ => text.parse().ok(),
    }
}

/// The dimensions of the inputs while they are bound.
pub struct Dimensions<'b> {
    bindings: &'b Bindings,
    /// What is still open, in words.
    open: Vec<String>,
    used: BTreeSet<String>,
}

impl Dimensions<'_> {
    /// The shape of an input, if all of its dimensions are bound.
    pub fn shape(&mut self, input: &str, tensor: &TensorType) -> Option<Shape> {
        let Some(shape) = &tensor.shape else {
            self.open.push(format!("input '{input}' has no shape, not even its number of axes"));
            return None;
        };
        let mut dims = Vec::with_capacity(shape.dim.len());
        let mut names = Vec::new();
        for (axis, dim) in shape.dim.iter().enumerate() {
            let name = match &dim.value {
                Some(Extent::Name(name)) if !name.is_empty() => name.clone(),
                _ => format!("{input}.{axis}"),
            };
            if let Ok(Some(extent)) = extent(&dim.value) {
                dims.push(extent);
                names.push(extent.to_string());
                continue;
            }
            let given = match self.bindings.defines.get(&name) {
                Some(Known::Int(ints)) => ints.data.first().copied(),
                _ => None,
            };
            if let Some(extent) = given.and_then(|given| usize::try_from(given).ok()) {
                self.used.insert(name.clone());
                dims.push(extent);
            }
            names.push(name);
        }
        if dims.len() == shape.dim.len() {
            return Some(Shape::new(dims));
        }
        let is_open = |name: &&String| {
            name.parse::<usize>().is_err() && !self.bindings.defines.contains_key(name.as_str())
        };
        let open: Vec<&String> = names.iter().filter(is_open).collect();
        let how: Vec<String> = open.iter().map(|name| format!("-D '{name}=1'")).collect();
        self.open.push(format!(
            "input '{input}' is [{}]: every extent must be known; bind {} to a positive number, as in {}",
            names.join(", "),
            open.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "),
            how.join(" ")
        ));
        None
    }

    /// # Errors
    /// Where dimensions are open, or something was given that the network does not have.
    pub fn check(self, bindings: &Bindings, inputs: &[ValueInfoProto]) -> Result<(), String> {
        if !self.open.is_empty() {
            return Err(self.open.join("\n  "));
        }
        let is_input = |name: &str| inputs.iter().any(|input| input.name == name);
        let unknown = bindings.defines.keys().find(|name| !self.used.contains(*name) && !is_input(name));
        match unknown {
            None => Ok(()),
            Some(name) if self.used.is_empty() => {
                Err(format!("'{name}' is given, but no input has an open dimension of that name"))
            }
            Some(name) => {
                let known: Vec<&str> = self.used.iter().map(String::as_str).collect();
                Err(format!("'{name}' is no open dimension of the inputs; they have {}", known.join(", ")))
            }
        }
    }
}
