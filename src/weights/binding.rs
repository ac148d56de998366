//! How the arrays of a file fit the parameters of a model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::graph::Graph;
use crate::ops::Op;
use crate::spelling::closest;
use crate::tensor::Shape;

/// What matches, is missing, extra or misshapen, each in the order of keys.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Binding {
    /// Keys of the model that are there in the right shape.
    pub matched: Vec<String>,
    /// Keys of the model that are not there.
    pub missing: Vec<Missing>,
    /// Keys that the model does not ask for; PyTorch's `num_batches_tracked` is not counted.
    pub extra: Vec<String>,
    /// Keys of the model that are there in another shape.
    pub misshapen: Vec<Misshapen>,
    /// What stands before every key that was expected, such as `module.`.
    pub prefix: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Missing {
    pub key: String,
    pub shape: Shape,
    /// The extra key most like it.
    pub nearest: Option<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Misshapen {
    pub key: String,
    /// The model's shape.
    pub expected: Shape,
    pub found: Shape,
}

/// Weights that are not those of the model; the message lists every key at fault.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(pub Box<Binding>);

/// Finds the parameters of `graph` among `arrays`, pairs of a key and a shape.
pub fn bind<'a>(graph: &Graph, arrays: impl IntoIterator<Item = (&'a str, &'a Shape)>) -> Binding {
    let mut arrays: BTreeMap<&str, &Shape> = arrays.into_iter().collect();
    let mut binding = Binding::default();
    for (key, shape) in parameters(graph) {
        match arrays.remove(key) {
            Some(found) if found == shape => binding.matched.push(key.to_owned()),
            Some(found) => binding.misshapen.push(Misshapen {
                key: key.to_owned(),
                expected: shape.clone(),
                found: found.clone(),
            }),
            None => {
                binding.missing.push(Missing { key: key.to_owned(), shape: shape.clone(), nearest: None })
            }
        }
    }
    binding.extra = arrays.into_keys().filter(|key| !is_bookkeeping(key)).map(str::to_owned).collect();
    binding.suggest();
    binding
}

/// The keys and shapes that a model asks for, in the order of keys.
fn parameters(graph: &Graph) -> BTreeMap<&str, &Shape> {
    let nodes = graph.topological_order().into_iter().map(|id| &graph.node(id).op);
    nodes
        .filter_map(|op| match op {
            Op::Parameter(parameter) => Some((parameter.key.as_str(), &parameter.shape)),
            _ => None,
        })
        .collect()
}

/// Whether an array only counts training steps.
pub(super) fn is_bookkeeping(key: &str) -> bool {
    key.ends_with("num_batches_tracked")
}

impl Binding {
    /// Whether every parameter of the model is there in its shape, and nothing else is.
    ///
    /// # Errors
    /// Where a key is missing or misshapen, or, unless `allow_extra`, extra.
    pub fn check(self, allow_extra: bool) -> Result<(), Mismatch> {
        let fits = self.missing.is_empty() && self.misshapen.is_empty();
        if fits && (allow_extra || self.extra.is_empty()) { Ok(()) } else { Err(Mismatch(Box::new(self))) }
    }

    /// Whether extra keys are all that is wrong.
    pub fn only_extra(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty() && !self.extra.is_empty()
    }

    fn suggest(&mut self) {
        let extra: BTreeSet<&str> = self.extra.iter().map(String::as_str).collect();
        let Some(first) = self.missing.first() else { return };
        self.prefix =
            extra.iter().filter_map(|key| key.strip_suffix(first.key.as_str())).find_map(|prefix| {
                let all = self.missing.iter().all(|m| extra.contains(format!("{prefix}{}", m.key).as_str()));
                all.then(|| prefix.to_owned())
            });
        // Comparing every pair of a large network with a foreign file would take seconds and say nothing.
        if self.prefix.is_some() || self.missing.len() * extra.len() > 20_000 {
            return;
        }
        for missing in &mut self.missing {
            missing.nearest = closest(&missing.key, extra.iter().copied()).map(str::to_owned);
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} matched, {} missing, {} misshapen, {} extra",
            self.matched.len(),
            self.missing.len(),
            self.misshapen.len(),
            self.extra.len()
        )?;
        for Missing { key, shape, nearest } in &self.missing {
            write!(f, "\n  missing    {key} {shape}")?;
            if let Some(nearest) = nearest {
                write!(f, "; is it '{nearest}'?")?;
            }
        }
        for Misshapen { key, expected, found } in &self.misshapen {
            write!(f, "\n  misshapen  {key} is {found}, the model's is {expected}")?;
        }
        const SHOWN: usize = 20;
        for key in self.extra.iter().take(SHOWN) {
            write!(f, "\n  extra      {key}")?;
        }
        if self.extra.len() > SHOWN {
            write!(f, "\n  extra      … and {} more", self.extra.len() - SHOWN)?;
        }
        if let Some(prefix) = &self.prefix {
            write!(f, "\n  every missing key is there with '{prefix}' before it")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Init, Parameter};

    fn model(parameters: &[(&str, &[usize])]) -> Graph {
        let mut graph = Graph::new("m");
        for (key, dims) in parameters {
            let init = Init::Uniform { low: 0.0, high: 1.0 };
            let parameter = Parameter { key: (*key).to_owned(), shape: Shape::new(*dims), init };
            graph.add(*key, Op::Parameter(parameter), &[]).unwrap();
        }
        graph
    }

    fn check(arrays: &[(&str, &[usize])], expected: &str) {
        let graph = model(&[("conv1.weight", &[8, 3, 3, 3]), ("fc.bias", &[10])]);
        let shapes: Vec<(&str, Shape)> = arrays.iter().map(|(k, dims)| (*k, Shape::new(*dims))).collect();
        let binding = bind(&graph, shapes.iter().map(|(key, shape)| (*key, shape)));
        assert_eq!(binding.to_string().trim(), expected.trim());
        assert_eq!(
            binding.clone().check(false).is_ok(),
            binding.matched.len() == 2 && binding.extra.is_empty()
        );
    }

    #[test]
    fn reports_say_what_does_not_fit() {
        check(
            &[("conv1.weight", &[8, 3, 3, 3]), ("fc.bias", &[10]), ("bn.num_batches_tracked", &[])],
            "2 matched, 0 missing, 0 misshapen, 0 extra",
        );
        check(
            &[("conv1.weigth", &[8, 3, 3, 3]), ("fc.bias", &[1000])],
            "
0 matched, 1 missing, 1 misshapen, 1 extra
  missing    conv1.weight [8, 3, 3, 3]; is it 'conv1.weigth'?
  misshapen  fc.bias is [1000], the model's is [10]
  extra      conv1.weigth",
        );
        check(
            &[("module.conv1.weight", &[8, 3, 3, 3]), ("module.fc.bias", &[10])],
            "
0 matched, 2 missing, 0 misshapen, 2 extra
  missing    conv1.weight [8, 3, 3, 3]
  missing    fc.bias [10]
  extra      module.conv1.weight
  extra      module.fc.bias
  every missing key is there with 'module.' before it",
        );
    }
}
