//! Convolution problems as one-line strings, such as `mb1g1ic3ih224iw224oc64kh7kw7sh2sw2dh1dw1pt3pl3pb3pr3`.

use std::collections::BTreeMap;
use std::fmt;

use kiln::graph::{Graph, NodeId};
use kiln::ops::{Conv, Init, Input, Op, Parameter, Window};
use kiln::tensor::Shape;

/// Everything that decides a convolution's kernel but its epilogue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// `[n, c, h, w]`
    pub x: [usize; 4],
    pub outputs: usize,
    /// `[kh, kw]`
    pub kernel: [usize; 2],
    pub groups: usize,
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// `[top, left, bottom, right]`
    pub padding: [usize; 4],
}

const KEYS: [&str; 16] =
    ["mb", "g", "ic", "ih", "iw", "oc", "kh", "kw", "sh", "sw", "dh", "dw", "pt", "pl", "pb", "pr"];

impl Problem {
    /// The problem of a convolution in a graph, if `id` is one.
    pub fn of(graph: &Graph, id: NodeId) -> Option<Problem> {
        let Op::Conv(Conv { window, groups }) = graph.node(id).op else { return None };
        let operands = graph.operands(id);
        let x = graph.shape(operands[0]).dims().try_into().ok()?;
        let [outputs, _, kh, kw] = graph.shape(operands[1]).dims().try_into().ok()?;
        let Window { stride, padding, dilation } = window;
        Some(Problem { x, outputs, kernel: [kh, kw], groups, stride, dilation, padding })
    }

    fn fields(&self) -> [usize; 16] {
        let ([n, c, h, w], [kh, kw], [sh, sw], [dh, dw], [pt, pl, pb, pr]) =
            (self.x, self.kernel, self.stride, self.dilation, self.padding);
        [n, self.groups, c, h, w, self.outputs, kh, kw, sh, sw, dh, dw, pt, pl, pb, pr]
    }

    /// Reads a problem string; fields that are left out are 1, or 0 for padding.
    pub fn parse(text: &str) -> Result<Problem, String> {
        let mut fields: BTreeMap<&str, usize> = BTreeMap::new();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| c.is_ascii_digit()).ok_or(format!("no number in '{rest}'"))?;
            let end = rest[digits..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
            let key = &rest[..digits];
            if !KEYS.contains(&key) {
                return Err(format!("unknown field '{key}' in '{text}'"));
            }
            fields.insert(key, rest[digits..end].parse().map_err(|_| format!("bad number in '{text}'"))?);
            rest = &rest[end..];
        }
        let get = |key: &str| fields.get(key).copied().unwrap_or(usize::from(!key.starts_with('p')));
        Ok(Problem {
            x: ["mb", "ic", "ih", "iw"].map(get),
            outputs: get("oc"),
            kernel: ["kh", "kw"].map(get),
            groups: get("g"),
            stride: ["sh", "sw"].map(get),
            dilation: ["dh", "dw"].map(get),
            padding: ["pt", "pl", "pb", "pr"].map(get),
        })
    }

    /// A graph of this convolution with a bias and the given nodes behind it.
    pub fn graph(&self) -> Graph {
        let Problem { x, outputs, kernel: [kh, kw], groups, stride, dilation, padding } = *self;
        let mut graph = Graph::new("problem");
        let parameter = |key: &str, shape: Shape, fan_in: usize| Parameter {
            key: key.to_owned(),
            shape,
            init: Init::Kaiming { fan_in },
        };
        let channels = x[1] / groups;
        let fan_in = channels * kh * kw;
        let weight = parameter("w", Shape::from([outputs, channels, kh, kw]), fan_in);
        let bias = parameter("b", Shape::from([outputs]), fan_in);
        let x = graph.add("x", Op::Input(Input { shape: Shape::from(x) }), &[]).expect("an input");
        let weight = graph.add("w", Op::Parameter(weight), &[]).expect("a parameter");
        let bias = graph.add("b", Op::Parameter(bias), &[]).expect("a parameter");
        let conv = Conv { window: Window { stride, padding, dilation }, groups };
        let y = graph.add("conv", conv, &[x, weight, bias]).expect("the problem is consistent");
        let z = graph.add("relu", kiln::ops::Activation::Relu, &[y]).expect("takes any shape");
        graph.add_output("y", z);
        graph
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in KEYS.iter().zip(self.fields()) {
            if value != usize::from(!key.starts_with('p')) {
                write!(f, "{key}{value}")?;
            }
        }
        Ok(())
    }
}
