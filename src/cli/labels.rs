//! The classes of an answer: their labels, the best of them, and how many were right.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Error;
use crate::graph::Graph;
use crate::ops::Op;
use crate::tensor::{Shape, Tensor};

/// The names of classes, by class.
pub struct Labels(Vec<String>);

impl Labels {
    /// The labels in `path`, or else in `NAME.labels.txt` beside the model `NAME.kiln`, if that is there.
    ///
    /// # Errors
    /// Where the file cannot be read or is not a list of labels.
    pub fn load(path: Option<&Path>, model: &Path) -> Result<Option<Self>, Error> {
        let beside: PathBuf = model.with_extension("labels.txt");
        match path {
            Some(path) => Labels::read(path).map(Some),
            None if beside.is_file() => Labels::read(&beside).map(Some),
            None => Ok(None),
        }
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let text = crate::io::read_text(path)?;
        let names = if text.trim_start().starts_with(['[', '{']) {
            let json = serde_json::from_str(&text).map_err(|error| Error::file(path, error))?;
            from_json(json).ok_or_else(|| {
                let forms = r#"["tench", …], {"0": "tench", …} or {"0": ["n01440764", "tench"], …}"#;
                Error::file(path, format!("labels in JSON are {forms}"))
            })?
        } else {
            text.lines().map(|line| line.trim().to_owned()).collect()
        };
        if names.is_empty() {
            return Err(Error::file(path, "holds no labels"));
        }
        Ok(Labels(names))
    }

    /// # Errors
    /// Where there are not as many labels as classes.
    pub fn check(&self, classes: usize) -> Result<(), Error> {
        if self.0.len() == classes {
            return Ok(());
        }
        Err(Error::input(format!("there are {} labels for an output of {classes} classes", self.0.len())))
    }

    pub fn get(&self, class: usize) -> Option<&str> {
        self.0.get(class).map(String::as_str)
    }
}

/// A list of names, or a dictionary from "0", "1", … to a name or to a list that ends in the name.
fn from_json(json: Value) -> Option<Vec<String>> {
    let name = |value: &Value| match value {
        Value::String(name) => Some(name.clone()),
        Value::Array(items) => items.last()?.as_str().map(str::to_owned),
        _ => None,
    };
    match json {
        Value::Array(items) => items.iter().map(name).collect(),
        Value::Object(items) => (0..items.len()).map(|class| name(items.get(&class.to_string())?)).collect(),
        _ => None,
    }
}

/// One of the best classes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Best {
    pub class: usize,
    /// The output's own value.
    pub score: f32,
    /// The score's softmax over the classes, or the score itself where it is one already.
    pub probability: f64,
}

impl Best {
    /// The label, or else the class's number.
    pub fn name(&self, label: Option<&str>) -> String {
        label.map_or_else(|| format!("class {}", self.class), str::to_owned)
    }

    pub fn to_json(self, label: Option<&str>) -> Value {
        json!({ "class": self.class, "label": label, "score": self.score, "probability": self.probability })
    }
}

/// How many classes an output of this shape (`[n, classes]` or `[n, classes, 1, 1]`) distinguishes.
pub fn classes(shape: &Shape) -> Option<usize> {
    match *shape.dims() {
        [_, classes] | [_, classes, 1, 1] if classes > 1 => Some(classes),
        _ => None,
    }
}

/// Whether output `index` of the model holds probabilities already.
pub fn is_softmax(graph: &Graph, index: usize) -> bool {
    let mut id = graph.outputs()[index].node;
    while let Op::Reshape(_) | Op::Identity(_) = graph.node(id).op {
        id = graph.operands(id)[0];
    }
    matches!(graph.node(id).op, Op::Softmax(_))
}

/// The `k` best classes of one image's `scores`, the best first; of equal ones the lower class first.
pub fn best(scores: &[f32], k: usize, softmax: bool) -> Vec<Best> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let rank = |&class: &usize| if scores[class].is_nan() { f32::NEG_INFINITY } else { scores[class] };
    let before = |a: &usize, b: &usize| rank(b).total_cmp(&rank(a)).then(a.cmp(b));
    if k < order.len() {
        order.select_nth_unstable_by(k, before);
        order.truncate(k);
    }
    order.sort_unstable_by(before);
    let high = (0..scores.len()).map(|class| f64::from(rank(&class))).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|&score| (f64::from(score) - high).exp()).sum();
    let probability = |score: f32| match softmax {
        true => f64::from(score),
        false => (f64::from(score) - high).exp() / sum,
    };
    order
        .into_iter()
        .map(|class| Best { class, score: scores[class], probability: probability(scores[class]) })
        .collect()
}

/// How many images' best class is the expected one.
///
/// # Errors
/// Where `expected` does not have one class for each image of `scores [n, classes]`.
pub fn count_right(scores: &Tensor, expected: &Tensor) -> Result<usize, Error> {
    let classes = classes(scores.shape()).ok_or_else(|| {
        Error::input(format!("--expect needs an output [n, classes], not {}", scores.shape()))
    })?;
    let images = scores.data().chunks(classes);
    if expected.data().len() != images.len() {
        return Err(Error::input(format!(
            "--expect has {} classes for {} images",
            expected.data().len(),
            images.len()
        )));
    }
    if let Some(bad) =
        expected.data().iter().find(|v| v.fract() != 0.0 || !(0.0..classes as f32).contains(*v))
    {
        return Err(Error::input(format!(
            "--expect holds {bad}, which is none of the classes 0 to {}",
            classes - 1
        )));
    }
    Ok(images
        .zip(expected.data())
        .filter(|(image, class)| best(image, 1, true)[0].class == **class as usize)
        .count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first() {
        let best = best(&[1.0, 3.0, f32::NAN, 3.0, 2.0], 3, true);
        assert_eq!(best.iter().map(|b| b.class).collect::<Vec<_>>(), [1, 3, 4]);
    }

    #[test]
    fn scores_become_probabilities() {
        let probabilities: Vec<f64> =
            best(&[1000.0, 1000.0], 2, false).iter().map(|b| b.probability).collect();
        assert_eq!(probabilities, [0.5, 0.5]);
    }

    #[test]
    fn labels_come_in_three_forms() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        for text in ["cat\ndog\n", r#"["cat", "dog"]"#, r#"{"1": ["n2", "dog"], "0": "cat"}"#] {
            std::fs::write(&path, text).unwrap();
            let labels = Labels::read(&path).unwrap();
            assert_eq!(
                (labels.get(0), labels.get(1), labels.get(2)),
                (Some("cat"), Some("dog"), None),
                "{text}"
            );
        }
        std::fs::write(&path, r#"{"a": "cat"}"#).unwrap();
        assert!(Labels::read(&path).is_err());
    }

    #[test]
    fn accuracy_counts_the_best_class() {
        let scores = Tensor::new([3, 2], vec![0.1, 0.9, 0.8, 0.2, 0.3, 0.7]);
        assert_eq!(count_right(&scores, &Tensor::new([3], vec![1.0, 1.0, 1.0])).unwrap(), 2);
        assert!(count_right(&scores, &Tensor::new([2], vec![1.0, 1.0])).is_err());
        assert!(count_right(&scores, &Tensor::new([3], vec![1.0, 1.0, 2.0])).is_err());
    }
}
