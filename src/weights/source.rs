//! Where a compilation takes arrays from.

use std::ops::Range;
use std::sync::Arc;

use super::{WeightFile, Weights, binding};
use crate::Error;
use crate::graph::Graph;
use crate::ops::Parameter;
use crate::tensor::{Shape, Tensor};

/// Arrays in memory, or a file that is read while arrays are packed, so that little of it is in memory at any time.
pub enum WeightSource {
    Memory(Weights),
    File(WeightFile),
}

impl From<Weights> for WeightSource {
    fn from(weights: Weights) -> Self {
        WeightSource::Memory(weights)
    }
}

/// The same arrays, shared.
impl From<&Weights> for WeightSource {
    fn from(weights: &Weights) -> Self {
        WeightSource::Memory(weights.clone())
    }
}

impl From<WeightFile> for WeightSource {
    fn from(file: WeightFile) -> Self {
        WeightSource::File(file)
    }
}

impl WeightSource {
    /// The key and shape of each array, in the order of keys.
    pub fn arrays(&self) -> Vec<(&str, &Shape)> {
        match self {
            WeightSource::Memory(weights) => {
                weights.iter().map(|(key, value)| (key, value.shape())).collect()
            }
            WeightSource::File(file) => file.arrays().collect(),
        }
    }

    /// The array of a key, if there is one.
    ///
    /// # Errors
    /// As [`WeightFile::read`].
    pub fn get(&mut self, key: &str) -> Result<Option<Arc<Tensor>>, Error> {
        match self {
            WeightSource::Memory(weights) => Ok(weights.get(key).cloned()),
            WeightSource::File(file) if file.shape(key).is_some() => {
                file.read(key).map(|value| Some(value.into()))
            }
            WeightSource::File(_) => Ok(None),
        }
    }

    /// Whether parts of a parameter can be had without the whole.
    pub fn has_parts(&self, parameter: &Parameter) -> bool {
        match self {
            WeightSource::Memory(_) => false,
            WeightSource::File(file) => {
                file.shape(&parameter.key) == Some(&parameter.shape) && file.has_parts(&parameter.key)
            }
        }
    }

    /// Some elements, in row-major order, of an array that [has parts](WeightSource::has_parts).
    ///
    /// # Errors
    /// As [`WeightFile::read`].
    ///
    /// # Panics
    /// If it has none.
    pub fn part(&mut self, key: &str, elements: Range<usize>) -> Result<Vec<f32>, Error> {
        match self {
            WeightSource::Memory(_) => unreachable!("arrays in memory are taken whole"),
            WeightSource::File(file) => file.read_part(key, elements),
        }
    }

    /// Drops an array that is in memory.
    pub fn forget(&mut self, key: &str) {
        if let WeightSource::Memory(weights) = self {
            weights.remove(key);
        }
    }

    /// All arrays that a model asks for and that are there in its shapes, kept in memory from now on.
    ///
    /// # Errors
    /// As [`WeightFile::read`].
    pub fn hold(&mut self, graph: &Graph) -> Result<Weights, Error> {
        let weights = match self {
            WeightSource::Memory(weights) => return Ok(weights.clone()),
            WeightSource::File(file) => {
                let matched = binding::bind(graph, file.arrays()).matched;
                let mut weights = Weights::default();
                for key in matched {
                    let value = file.read(&key)?;
                    weights.insert(key, value);
                }
                weights
            }
        };
        *self = WeightSource::Memory(weights.clone());
        Ok(weights)
    }
}
