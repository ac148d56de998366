//! A node as operators see it: typed attributes and inputs, and a record of which attributes were understood.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::fault::{Fault, invalid, unsupported};
use super::importer::Value;
use super::proto::{AttributeProto, NodeProto, TensorProto};

/// One node with the values that it reads.
pub struct Call<'m> {
    pub node: &'m NodeProto,
    /// The version of the operator set that the node's domain has in this model.
    pub opset: i64,
    /// What the layers made of it are called.
    pub name: String,
    /// By position; `None` where an optional input is left out.
    inputs: Vec<Option<Value>>,
    understood: RefCell<BTreeSet<&'static str>>,
}

/// A kind of attribute, as `AttributeProto.AttributeType` numbers them.
#[derive(Clone, Copy)]
enum Kind {
    Float = 1,
    Int = 2,
    Text = 3,
    Tensor = 4,
    Floats = 6,
    Ints = 7,
}

impl<'m> Call<'m> {
    pub fn new(node: &'m NodeProto, opset: i64, name: String, inputs: Vec<Option<Value>>) -> Self {
        Call { node, opset, name, inputs, understood: RefCell::default() }
    }

    fn attribute(&self, name: &'static str, kind: Kind) -> Result<Option<&'m AttributeProto>, Fault> {
        self.understood.borrow_mut().insert(name);
        let Some(attribute) = self.node.attribute.iter().find(|attribute| attribute.name == name) else {
            return Ok(None);
        };
        // Files of the first versions leave the kind out.
        if attribute.kind != 0 && attribute.kind != kind as i32 {
            return Err(invalid(format!("the attribute '{name}' is of another kind than its operator's")));
        }
        Ok(Some(attribute))
    }

    pub fn int(&self, name: &'static str, default: i64) -> Result<i64, Fault> {
        Ok(self.attribute(name, Kind::Int)?.and_then(|attribute| attribute.i).unwrap_or(default))
    }

    pub fn flag(&self, name: &'static str, default: bool) -> Result<bool, Fault> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    pub fn float(&self, name: &'static str, default: f32) -> Result<f32, Fault> {
        Ok(self.optional_float(name)?.unwrap_or(default))
    }

    pub fn optional_float(&self, name: &'static str) -> Result<Option<f32>, Fault> {
        Ok(self.attribute(name, Kind::Float)?.and_then(|attribute| attribute.f))
    }

    pub fn ints(&self, name: &'static str) -> Result<Option<&'m [i64]>, Fault> {
        Ok(self.attribute(name, Kind::Ints)?.map(|attribute| attribute.ints.as_slice()))
    }

    pub fn floats(&self, name: &'static str) -> Result<Option<&'m [f32]>, Fault> {
        Ok(self.attribute(name, Kind::Floats)?.map(|attribute| attribute.floats.as_slice()))
    }

    pub fn text(&self, name: &'static str, default: &'static str) -> Result<&'m str, Fault> {
        match self.attribute(name, Kind::Text)?.and_then(|attribute| attribute.s.as_ref()) {
            None => Ok(default),
            Some(bytes) => std::str::from_utf8(bytes)
                .map_err(|_| invalid(format!("the attribute '{name}' is no UTF-8 text"))),
        }
    }

    pub fn tensor(&self, name: &'static str) -> Result<Option<&'m TensorProto>, Fault> {
        Ok(self.attribute(name, Kind::Tensor)?.and_then(|attribute| attribute.t.as_ref()))
    }

    /// Accepts an attribute that has no influence on the answer.
    pub fn ignore(&self, name: &'static str) {
        self.understood.borrow_mut().insert(name);
    }

    /// The attributes that nothing has asked for.
    pub fn unknown_attributes(&self) -> Vec<&'m str> {
        let understood = self.understood.borrow();
        let names = self.node.attribute.iter().map(|attribute| attribute.name.as_str());
        names.filter(|name| !understood.contains(name)).collect()
    }

    pub fn optional(&self, position: usize) -> Option<&Value> {
        self.inputs.get(position)?.as_ref()
    }

    pub fn input(&self, position: usize) -> Result<&Value, Fault> {
        self.optional(position).ok_or_else(|| invalid(format!("the input at position {position} is missing")))
    }

    /// All inputs of an operator that takes any number of them.
    pub fn several(&self) -> Result<Vec<Value>, Fault> {
        let inputs: Option<Vec<Value>> = self.inputs.iter().cloned().collect();
        inputs.filter(|inputs| !inputs.is_empty()).ok_or_else(|| invalid("an input is missing"))
    }

    /// How many outputs are asked for, unnamed ones at the end not counted.
    pub fn outputs(&self) -> usize {
        self.node.output.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1)
    }

    /// # Errors
    /// Where outputs beyond the first `known` are asked for.
    pub fn only_outputs(&self, known: usize, others: &str) -> Result<(), Fault> {
        if self.outputs() <= known {
            Ok(())
        } else {
            Err(unsupported(format!("{others} cannot be asked for")))
        }
    }
}

/// `axis`, which may count from the end, as an axis of `rank`.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, Fault> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let absolute = if axis < 0 { axis.saturating_add(signed) } else { axis };
    match usize::try_from(absolute) {
        Ok(absolute) if absolute < rank => Ok(absolute),
        _ => Err(invalid(format!("axis {axis} does not exist in an array of {rank} axes"))),
    }
}

/// [`axis_of`] for each; sorted, each once.
pub fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    let mut absolute = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    absolute.sort_unstable();
    if absolute.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(invalid(format!("the axes {axes:?} name one of {rank} axes twice")));
    }
    Ok(absolute)
}

/// A number that must not be negative.
pub fn extent_of(value: i64, what: &str) -> Result<usize, Fault> {
    usize::try_from(value).map_err(|_| invalid(format!("{what} must not be negative, but is {value}")))
}
