//! Times of fused kernels beside those of the kernels that they replace.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::runtime::StepInfo;

/// A fused kernel and what it replaces.
pub struct LayerTime {
    /// The layers computed, as [`name`] puts them.
    pub name: String,
    /// The first of them.
    pub first: String,
    /// The fused kernel's problem string.
    pub kernel: String,
    /// Seconds of the fused kernel.
    pub fused: f64,
    /// Seconds of all kernels that it replaces.
    pub unfused: f64,
    pub multiply_adds: u64,
}

impl LayerTime {
    pub fn to_json(&self) -> Value {
        json!({
            "layers": self.name,
            "kernel": self.kernel,
            "fused_ms": self.fused * 1e3,
            "unfused_ms": self.unfused * 1e3,
            "multiply_adds": self.multiply_adds,
        })
    }
}

/// Sets each fused kernel beside the unfused kernels of the same layers. A kernel for whose layers the other
/// side has none is a row of its own.
pub fn side_by_side(fused: (&[StepInfo], &[f64]), unfused: (&[StepInfo], &[f64])) -> Vec<LayerTime> {
    let mut rows: Vec<LayerTime> = Vec::new();
    let mut row_of_layer: HashMap<&str, usize> = HashMap::new();
    for (step, &seconds) in fused.0.iter().zip(fused.1) {
        for layer in &step.layers {
            row_of_layer.entry(layer).or_insert(rows.len());
        }
        rows.push(LayerTime {
            name: name(&step.layers),
            first: step.layers.first().cloned().unwrap_or_default(),
            kernel: step.kernel.clone(),
            fused: seconds,
            unfused: 0.0,
            multiply_adds: step.work.multiply_adds,
        });
    }
    for (step, &seconds) in unfused.0.iter().zip(unfused.1) {
        match step.layers.iter().find_map(|layer| row_of_layer.get(layer.as_str())) {
            Some(&row) => rows[row].unfused += seconds,
            None => rows.push(LayerTime {
                name: name(&step.layers),
                first: step.layers.first().cloned().unwrap_or_default(),
                kernel: step.kernel.clone(),
                fused: 0.0,
                unfused: seconds,
                multiply_adds: step.work.multiply_adds,
            }),
        }
    }
    rows
}

/// The first layer and the last, what they share of a path named once: `blocks.0.{conv … relu}`.
pub fn name(layers: &[String]) -> String {
    let (first, last) = match layers {
        [] => return String::new(),
        [only] => return only.clone(),
        [first, .., last] => (first.as_str(), last.as_str()),
    };
    let same = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    match first.as_bytes()[..same].iter().rposition(|&byte| byte == b'.') {
        Some(dot) => format!("{}{{{} … {}}}", &first[..=dot], &first[dot + 1..], &last[dot + 1..]),
        None => format!("{first} … {last}"),
    }
}

/// The median of each step over several runs.
pub fn medians(runs: &[Vec<f64>]) -> Vec<f64> {
    let steps = runs.first().map_or(0, Vec::len);
    (0..steps).map(|step| median(runs.iter().map(|run| run[step]).collect())).collect()
}

/// # Panics
/// If there are no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(layers: &[&str]) -> StepInfo {
        StepInfo {
            layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
            kernel: layers.join("+"),
            work: crate::lower::Work { multiply_adds: 1, ..Default::default() },
        }
    }

    #[test]
    fn unfused_kernels_stand_beside_the_fused_one_that_replaces_them() {
        let fused = [step(&["conv", "bn", "relu"]), step(&["fc"])];
        let unfused = [step(&["conv"]), step(&["bn"]), step(&["relu"]), step(&["dropout"]), step(&["fc"])];
        let rows = side_by_side((&fused, &[4.0, 1.0]), (&unfused, &[4.0, 2.0, 1.0, 0.5, 1.5]));
        let rows: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.fused, row.unfused)).collect();
        assert_eq!(rows, [("conv … relu", 4.0, 7.0), ("fc", 1.0, 1.5), ("dropout", 0.0, 0.5)]);
    }

    #[test]
    fn a_shared_path_is_named_once() {
        let name = |layers: &[&str]| super::name(&step(layers).layers);
        assert_eq!(name(&["conv", "bn", "relu"]), "conv … relu");
        assert_eq!(name(&["a.0.conv", "a.0.bn"]), "a.0.{conv … bn}");
        assert_eq!(name(&["a.conv1", "b.conv1"]), "a.conv1 … b.conv1");
        assert_eq!(name(&["only"]), "only");
    }

    #[test]
    fn medians_are_taken_step_by_step() {
        assert_eq!(medians(&[vec![1.0, 9.0], vec![3.0, 7.0], vec![2.0, 8.0]]), [2.0, 8.0]);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }
}
