//! Trained and random parameters.

mod binding;
mod file;
mod hub;
mod pytorch;
mod random;
mod safetensors;
mod source;

pub use binding::{Binding, Mismatch, Misshapen, Missing, bind};
pub use file::WeightFile;
pub use hub::HubAddress;
pub use random::{random, random_input, random_inputs};
pub use safetensors::{save, write};
pub use source::WeightSource;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::Error;
use crate::tensor::Tensor;

/// Arrays by parameter key (a PyTorch `state_dict` key, such as `layer1.0.conv1.weight`).
#[derive(Clone, Default, Debug)]
pub struct Weights {
    arrays: BTreeMap<String, Arc<Tensor>>,
}

impl Weights {
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Arc<Tensor>>) {
        self.arrays.insert(key.into(), value.into());
    }

    /// Takes an array out.
    pub fn remove(&mut self, key: &str) -> Option<Arc<Tensor>> {
        self.arrays.remove(key)
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Tensor>> {
        self.arrays.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Tensor>)> {
        self.arrays.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Every floating-point array of a weight file. [`WeightFile`] reads only those that a model asks for.
    ///
    /// # Errors
    /// Where the file cannot be read, is damaged, or holds a value that is not finite.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        WeightFile::open(path.as_ref())?.read_all()
    }
}
