//! Shapes and dense `f32` arrays in row-major order, the currency of every stage.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json_float;

/// The extents of an array, outermost first. Activations are `[n, c, h, w]`.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(Vec<usize>);

impl Shape {
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Shape(dims.into())
    }

    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The number of elements, or `None` where it exceeds `usize`.
    pub fn checked_elements(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
    }

    /// The number of elements of a shape that a [`Graph`](crate::graph::Graph) has accepted.
    ///
    /// # Panics
    /// If the product exceeds `usize`; graphs refuse such shapes when a node is added.
    pub fn elements(&self) -> usize {
        self.checked_elements().expect("the graph admits only shapes whose size was checked")
    }

    /// Row-major strides in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis] * self.0[axis];
        }
        strides
    }

    /// `(n, c, h, w)` of a rank-4 shape.
    pub fn nchw(&self) -> Option<(usize, usize, usize, usize)> {
        match self.0[..] {
            [n, c, h, w] => Some((n, c, h, w)),
            _ => None,
        }
    }

    /// NumPy and ONNX multidirectional broadcasting, or `None` where the shapes do not combine.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let dim =
            |shape: &Shape, axis: usize| (axis + shape.rank()).checked_sub(rank).map_or(1, |at| shape.0[at]);
        (0..rank)
            .map(|axis| match (dim(self, axis), dim(other, axis)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Shape)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Shape(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A dense row-major `f32` array.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "RawTensor")]
pub struct Tensor {
    shape: Shape,
    #[serde(with = "json_float::list")]
    data: Vec<f32>,
}

/// A tensor as it is read, before its size is checked.
#[derive(Deserialize)]
struct RawTensor {
    shape: Shape,
    #[serde(with = "json_float::list")]
    data: Vec<f32>,
}

impl TryFrom<RawTensor> for Tensor {
    type Error = String;

    fn try_from(RawTensor { shape, data }: RawTensor) -> Result<Self, String> {
        if shape.checked_elements() != Some(data.len()) {
            return Err(format!("{} numbers do not fill an array of shape {shape}", data.len()));
        }
        Ok(Tensor { shape, data })
    }
}

impl Tensor {
    /// # Panics
    /// If `data` does not have exactly the shape's number of elements.
    pub fn new(shape: impl Into<Shape>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(Some(data.len()), shape.checked_elements(), "data does not fill shape {shape}");
        Tensor { shape, data }
    }

    pub fn zeros(shape: impl Into<Shape>) -> Self {
        Tensor::full(shape, 0.0)
    }

    pub fn full(shape: impl Into<Shape>, value: f32) -> Self {
        let shape = shape.into();
        let data = vec![value; shape.elements()];
        Tensor { shape, data }
    }

    pub fn scalar(value: f32) -> Self {
        Tensor { shape: Shape::default(), data: vec![value] }
    }

    /// Fills an array of `shape` from the multi-index of each element.
    pub fn from_fn(shape: impl Into<Shape>, mut value: impl FnMut(&[usize]) -> f32) -> Self {
        let shape = shape.into();
        let mut index = vec![0; shape.rank()];
        let data = (0..shape.elements())
            .map(|_| {
                let element = value(&index);
                for axis in (0..index.len()).rev() {
                    index[axis] += 1;
                    if index[axis] < shape.dims()[axis] {
                        break;
                    }
                    index[axis] = 0;
                }
                element
            })
            .collect();
        Tensor { shape, data }
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub fn data(&self) -> &[f32] {
        &self.data
    }

    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The same elements in row-major order under another shape.
    ///
    /// # Panics
    /// If the element counts differ.
    pub fn reshaped(self, shape: impl Into<Shape>) -> Self {
        Tensor::new(shape, self.data)
    }

    /// max|self − reference| / max|reference|: the measure of agreement used everywhere.
    /// Not finite where either holds a value that is not finite (and they differ), or shapes differ.
    pub fn relative_error(&self, reference: &Tensor) -> f64 {
        if self.shape != reference.shape {
            return f64::INFINITY;
        }
        let mut difference = 0f64;
        let mut scale = 0f64;
        for (&a, &b) in self.data.iter().zip(&reference.data) {
            if a.to_bits() != b.to_bits() {
                let delta = (f64::from(a) - f64::from(b)).abs();
                if delta.is_nan() {
                    return f64::INFINITY;
                }
                difference = difference.max(delta);
            }
            scale = scale.max(f64::from(b).abs());
        }
        if difference == 0.0 { 0.0 } else { difference / scale }
    }
}
