//! Pictures of a graph: DOT for Graphviz, and SVG laid out here.

mod dot;
mod layout;
mod svg;

pub use dot::to_dot;
pub use svg::to_svg;

use super::{Graph, Node, NodeId};
use crate::ops::{Conv, Epilogue, Op, Window};
use crate::tensor::Shape;

/// What a picture shows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DrawOptions {
    /// Parameters, constants and what is computed from them alone.
    pub parameters: bool,
}

/// What is drawn: boxes in topological order, and arrows between them.
struct Picture {
    boxes: Vec<Label>,
    /// Positions in `boxes`: from a value to its reader. A value that is read twice has two.
    arrows: Vec<(usize, usize)>,
}

/// The text of a box.
struct Label {
    /// The operator with what is fused behind it: `conv 3×3 /2 + relu`.
    title: String,
    name: String,
    shape: String,
    kind: Kind,
}

/// What boxes are coloured by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Endpoint,
    Source,
    /// Convolutions and dense layers.
    Linear,
    Normalisation,
    Elementwise,
    Pooling,
    /// Moves elements without computing.
    Layout,
}

impl Kind {
    fn of(op: &Op) -> Kind {
        match op {
            Op::Input(_) => Kind::Endpoint,
            Op::Parameter(_) | Op::Constant(_) => Kind::Source,
            Op::Conv(_) | Op::ConvChain(_) | Op::Dense(_) | Op::MatMul(_) => Kind::Linear,
            Op::BatchNorm(_) | Op::Lrn(_) | Op::ScaleShift(_) | Op::Softmax(_) => Kind::Normalisation,
            Op::Activation(_) | Op::Binary(_) | Op::Unary(_) => Kind::Elementwise,
            Op::Pool(_) | Op::GlobalPool(_) | Op::Reduce(_) | Op::Resize(_) => Kind::Pooling,
            Op::Concat(_)
            | Op::DepthToSpace(_)
            | Op::Expand(_)
            | Op::Identity(_)
            | Op::Pad(_)
            | Op::Reshape(_)
            | Op::Slice(_)
            | Op::SpaceToDepth(_)
            | Op::Transpose(_) => Kind::Layout,
        }
    }

    /// The fill and the outline, as `#rrggbb`.
    fn colours(self) -> (&'static str, &'static str) {
        match self {
            Kind::Endpoint => ("#e9ecef", "#495057"),
            Kind::Source => ("#f8f9fa", "#adb5bd"),
            Kind::Linear => ("#fde3d0", "#d65a18"),
            Kind::Normalisation => ("#e0ecdc", "#5b8c4a"),
            Kind::Elementwise => ("#fdf3c7", "#c79a10"),
            Kind::Pooling => ("#dbe7f5", "#3f76b5"),
            Kind::Layout => ("#ece4f3", "#8560a8"),
        }
    }
}

impl Picture {
    fn of(graph: &Graph, options: &DrawOptions) -> Picture {
        let weights = graph.weight_expressions();
        let order = graph.listing();
        let shown = order.into_iter().filter(|&id| options.parameters || !weights.contains(id));
        let mut places = vec![None; graph.slots()];
        let mut picture = Picture { boxes: Vec::new(), arrows: Vec::new() };
        for id in shown {
            let place = picture.boxes.len();
            places[id.index()] = Some(place);
            let node = graph.node(id);
            picture.boxes.push(Label {
                title: title(graph, id),
                name: layers(node),
                shape: node.shape.to_string(),
                kind: Kind::of(&node.op),
            });
            let operands = graph.operands(id);
            let read = operands.iter().filter_map(|operand| places[operand.index()]);
            picture.arrows.extend(read.map(|operand| (operand, place)));
        }
        for output in graph.outputs() {
            let place = picture.boxes.len();
            picture.boxes.push(Label {
                title: "output".to_owned(),
                name: output.name.clone(),
                shape: graph.shape(output.node).to_string(),
                kind: Kind::Endpoint,
            });
            picture.arrows.extend(places[output.node.index()].map(|value| (value, place)));
        }
        picture
    }
}

/// The layers that a node stands for: `layer1.0.conv1 … relu`.
fn layers(node: &Node) -> String {
    let first = node.layers().next().unwrap_or(&node.name);
    if first == node.name {
        return node.name.clone();
    }
    let prefix = first.rfind('.').map_or("", |dot| &first[..=dot]);
    format!("{first} … {}", node.name.strip_prefix(prefix).unwrap_or(&node.name))
}

fn title(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    let operands = graph.operands(id);
    let shape = |at: usize| graph.shape(operands[at]);
    let operation = match &node.op {
        Op::Conv(conv) => convolution(conv, shape(1)),
        Op::ConvChain(chain) => {
            let mut weight = 1;
            let stages = chain.stages.iter().map(|stage| {
                let title = convolution(&stage.conv, shape(weight)) + &steps(&stage.epilogue);
                weight += stage.operands();
                title
            });
            stages.collect::<Vec<_>>().join(" → ")
        }
        Op::Pool(pool) => {
            let word = node.op.word().replace('_', " ");
            format!("{word} {}×{}{}", pool.kernel[0], pool.kernel[1], stride(&pool.window))
        }
        op => op.word().replace('_', " "),
    };
    operation + &steps(&node.epilogue)
}

fn convolution(conv: &Conv, weight: &Shape) -> String {
    let (o, i, kh, kw) = weight.nchw().unwrap_or_default();
    let word = match conv.groups {
        1 => "conv".to_owned(),
        groups if i == 1 && o == groups => "depthwise".to_owned(),
        groups if i == 1 => format!("depthwise ×{}", o / groups),
        groups => format!("conv in {groups} groups"),
    };
    format!("{word} {kh}×{kw}{}", stride(&conv.window))
}

/// ` /2` for a stride of 2, nothing for 1.
fn stride(window: &Window) -> String {
    match window.stride {
        [1, 1] => String::new(),
        [vertical, horizontal] if vertical == horizontal => format!(" /{vertical}"),
        [vertical, horizontal] => format!(" /{vertical}×{horizontal}"),
    }
}

fn steps(epilogue: &Epilogue) -> String {
    epilogue.0.iter().map(|step| format!(" + {}", step.name().replace('_', " "))).collect()
}
