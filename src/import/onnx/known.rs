//! Arrays whose elements are known while a network is imported: weights, shapes, and what is computed from them.

use std::sync::Arc;

use super::fault::{Fault, invalid};
use crate::tensor::{Shape, Tensor};

/// An array whose elements are known. Integers of all widths and truth values are kept as `i64`.
#[derive(Clone, PartialEq, Debug)]
pub enum Known {
    Float(Arc<Tensor>),
    Int(Ints),
}

/// A dense row-major array of integers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ints {
    pub shape: Shape,
    pub data: Vec<i64>,
}

impl Ints {
    /// `[length]`
    pub fn list(data: Vec<i64>) -> Self {
        Ints { shape: Shape::from([data.len()]), data }
    }
}

impl From<Tensor> for Known {
    fn from(tensor: Tensor) -> Known {
        Known::Float(Arc::new(tensor))
    }
}

impl From<Ints> for Known {
    fn from(ints: Ints) -> Known {
        Known::Int(ints)
    }
}

impl Known {
    pub fn shape(&self) -> &Shape {
        match self {
            Known::Float(tensor) => tensor.shape(),
            Known::Int(ints) => &ints.shape,
        }
    }

    pub fn elements(&self) -> usize {
        match self {
            Known::Float(tensor) => tensor.data().len(),
            Known::Int(ints) => ints.data.len(),
        }
    }

    /// The same elements under another shape of as many.
    pub fn reshaped(&self, shape: Shape) -> Known {
        match self {
            Known::Float(tensor) => Tensor::clone(tensor).reshaped(shape).into(),
            Known::Int(ints) => Ints { shape, data: ints.data.clone() }.into(),
        }
    }

    /// The elements as integers.
    ///
    /// # Errors
    /// Where they are not.
    pub fn ints(&self, what: &str) -> Result<&[i64], Fault> {
        match self {
            Known::Int(ints) => Ok(&ints.data),
            Known::Float(_) => Err(invalid(format!("{what} must be integers"))),
        }
    }

    /// The elements as numbers, integers rounded to the nearest `f32`.
    pub fn floats(&self) -> Vec<f32> {
        match self {
            Known::Float(tensor) => tensor.data().to_vec(),
            Known::Int(ints) => ints.data.iter().map(|&value| value as f32).collect(),
        }
    }

    /// The elements as numbers under their shape.
    pub fn to_tensor(&self) -> Arc<Tensor> {
        match self {
            Known::Float(tensor) => Arc::clone(tensor),
            Known::Int(ints) => Arc::new(Tensor::new(ints.shape.clone(), self.floats())),
        }
    }

    /// Its one element as a number.
    ///
    /// # Errors
    /// Where there are none or several.
    pub fn scalar(&self, what: &str) -> Result<f32, Fault> {
        match self.floats()[..] {
            [value] => Ok(value),
            ref values => Err(invalid(format!("{what} must be one number, not {}", values.len()))),
        }
    }

    /// The same numbers as an array of floating-point numbers, or of integers.
    pub fn convert(&self, float: bool) -> Known {
        match self {
            Known::Int(_) if float => Known::Float(self.to_tensor()),
            Known::Float(tensor) if !float => {
                // Towards zero, as a cast does; what no integer can be is held at the ends.
                let data = tensor.data().iter().map(|&value| value as i64).collect();
                Ints { shape: tensor.shape().clone(), data }.into()
            }
            known => known.clone(),
        }
    }
}
