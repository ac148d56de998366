//! Trained and random parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

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

    pub fn get(&self, key: &str) -> Option<&Arc<Tensor>> {
        self.arrays.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Tensor>)> {
        self.arrays.iter().map(|(key, value)| (key.as_str(), value))
    }
}
