//! What each operator is called, with its arguments.

use super::{Layer, Operand};
use crate::graph::{Graph, NodeId, NodeSet};
use crate::ops::{
    Activation, BinaryFunction, Constant, Conv, Coordinates, GlobalReduce, Interpolation, Op, Pad, PadMode,
    Pool, PoolKind, Resize, Rounding, Statistics, UnaryFunction, Window,
};
use crate::tensor::Shape;

/// A call under construction: the word, and the arguments behind the operands.
struct Call {
    word: String,
    arguments: Vec<String>,
    /// Whether the word can stand in a chain.
    chains: bool,
    /// How many of the operands are the layer's own weights, and what their keys end in.
    weights: &'static [&'static str],
}

fn call(word: impl Into<String>, arguments: Vec<String>) -> Call {
    Call { word: word.into(), arguments, chains: true, weights: &[] }
}

/// A number as the language reads it back, exactly.
fn number(value: f32) -> Result<String, String> {
    if !value.is_finite() {
        return Err(format!("{value} cannot be written"));
    }
    let short = format!("{value:?}");
    let back = short.parse::<f64>().ok().map(|wide| wide as f32);
    Ok(if back == Some(value) { short } else { format!("{:?}", f64::from(value)) })
}

fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    format!("[{}]", values.join(", "))
}

/// One number for two that are equal.
fn pair([a, b]: [usize; 2]) -> String {
    if a == b { a.to_string() } else { list([a, b]) }
}

fn sides(padding: [usize; 4]) -> String {
    match padding {
        [a, b, c, d] if a == b && b == c && c == d => a.to_string(),
        [top, left, bottom, right] if top == bottom && left == right => list([top, left]),
        sides => list(sides),
    }
}

/// Arguments that differ from their defaults.
fn window(window: &Window, default_stride: [usize; 2]) -> Vec<String> {
    let mut arguments = Vec::new();
    if window.stride != default_stride {
        arguments.push(format!("stride = {}", pair(window.stride)));
    }
    if window.padding != [0; 4] {
        arguments.push(format!("padding = {}", sides(window.padding)));
    }
    if window.dilation != [1, 1] {
        arguments.push(format!("dilation = {}", pair(window.dilation)));
    }
    arguments
}

/// A layer as it is written.
///
/// # Errors
/// Why the language cannot express it.
pub fn layer(graph: &Graph, constants: &NodeSet, id: NodeId) -> Result<Layer, String> {
    let node = graph.node(id);
    if !node.epilogue.is_empty() {
        return Err("an epilogue cannot be written".to_owned());
    }
    let label = label(graph, id);
    if constants.contains(id) {
        // An output that depends on weights alone.
        let shape = list(node.shape.dims());
        let arguments = vec![shape];
        return Ok(Layer {
            node: id,
            word: "weight".to_owned(),
            operands: Vec::new(),
            arguments,
            weights: vec![("", id)],
            label,
            chains: true,
        });
    }
    let own = graph.operands(id);
    let shapes: Vec<&Shape> = own.iter().map(|&operand| graph.shape(operand)).collect();
    let call = describe(&node.op, &shapes, &node.shape)?;
    let first_weight = own.len().min(1);
    let (read, weights) =
        if call.weights.is_empty() { (&own[..], &own[..0]) } else { own.split_at(first_weight) };
    if let Some(&computed) = weights.iter().find(|weight| !constants.contains(**weight)) {
        return Err(format!("its weights '{}' are computed when the model runs", graph.node(computed).name));
    }
    let operands = read.iter().map(|&operand| describe_operand(graph, constants, operand));
    Ok(Layer {
        node: id,
        word: call.word,
        operands: operands.collect::<Result<_, _>>()?,
        arguments: call.arguments,
        weights: call.weights.iter().copied().zip(weights.iter().copied()).collect(),
        label,
        chains: call.chains,
    })
}

fn describe_operand(graph: &Graph, constants: &NodeSet, id: NodeId) -> Result<Operand, String> {
    if !constants.contains(id) {
        return Ok(Operand::Value(id));
    }
    if let Op::Constant(Constant { value }) = &graph.node(id).op
        && let [only] = value.data()
        && value.shape().dims().iter().all(|&dim| dim == 1)
        && let Ok(number) = number(*only)
    {
        return Ok(Operand::Number(number));
    }
    Ok(Operand::Weight { node: id, shape: list(graph.shape(id).dims()) })
}

/// What a layer's weights are called: what their keys begin with where they have that form, else the layer's name,
/// made to fit.
fn label(graph: &Graph, id: NodeId) -> String {
    let operands = graph.operands(id);
    let key = operands.get(1).and_then(|&weight| match &graph.node(weight).op {
        Op::Parameter(parameter) => parameter.key.strip_suffix(".weight").map(str::to_owned),
        _ => None,
    });
    let name = key.unwrap_or_else(|| scope(&graph.node(id).name));
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).take(120).collect();
    let parts: Vec<&str> = name.split('.').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "layer".to_owned() } else { parts.join(".") }
}

/// `/layer1/layer1.0/conv1/Conv`, as PyTorch's exporter names nodes, as `layer1.0.conv1`.
fn scope(name: &str) -> String {
    let Some(path) = name.strip_prefix('/') else { return name.to_owned() };
    let parts: Vec<&str> = path.split('/').collect();
    let (_, scopes) = parts.split_last().expect("a split has a part");
    let inner = scopes.iter().enumerate().filter(|&(at, part)| {
        let next = scopes.get(at + 1);
        next.is_none_or(|next| !next.strip_prefix(part).is_some_and(|rest| rest.starts_with('.')))
    });
    let inner: Vec<&str> = inner.map(|(_, part)| *part).collect();
    if inner.is_empty() { path.to_owned() } else { inner.join(".") }
}

fn describe(op: &Op, inputs: &[&Shape], output: &Shape) -> Result<Call, String> {
    Ok(match op {
        Op::Conv(conv) => convolution(conv, inputs),
        Op::Dense(_) => {
            let bias = if inputs.len() > 2 { vec![] } else { vec!["bias = false".to_owned()] };
            let arguments = [inputs[1].dims()[0].to_string()].into_iter().chain(bias).collect();
            Call { weights: &["weight", "bias"], ..call("dense", arguments) }
        }
        Op::BatchNorm(norm) => {
            if norm.epsilon <= 0.0 {
                return Err("a batch norm's epsilon must be positive".to_owned());
            }
            let mut arguments = vec![format!("epsilon = {}", number(norm.epsilon)?)];
            if norm.statistics == Statistics::Batch {
                arguments.push("mode = batch".to_owned());
            }
            let weights = &["weight", "bias", "running_mean", "running_var"];
            Call { weights, ..call("batch_norm", arguments) }
        }
        Op::Activation(activation) => activate(activation)?,
        Op::Unary(unary) => match unary.function {
            UnaryFunction::Sqrt | UnaryFunction::Abs | UnaryFunction::Neg => {
                Call { chains: false, ..call(unary.function.name(), vec![]) }
            }
            function => call(function.name(), vec![]),
        },
        Op::Binary(binary) => match binary.function {
            BinaryFunction::Max | BinaryFunction::Min => {
                Call { chains: false, ..call(binary.function.name(), vec![]) }
            }
            function => call(function.name(), vec![]),
        },
        Op::Pool(pool) => pooling(pool)?,
        Op::GlobalPool(pool) => match pool.reduce {
            GlobalReduce::Average => call("global_avg_pool", vec![]),
            GlobalReduce::Max => call("global_max_pool", vec![]),
        },
        Op::Lrn(lrn) => {
            let numbers = [("alpha", lrn.alpha), ("beta", lrn.beta), ("k", lrn.bias)];
            let mut arguments = vec![lrn.size.to_string()];
            for (name, value) in numbers {
                arguments.push(format!("{name} = {}", number(value)?));
            }
            call("lrn", arguments)
        }
        Op::Concat(concat) => call("concat", vec![format!("axis = {}", concat.axis)]),
        Op::Reshape(reshape) => match (inputs[0].dims(), reshape.shape.dims()) {
            ([n, rest @ ..], [first, _]) if n == first && rest.len() > 1 => call("flatten", vec![]),
            (_, dims) => call("reshape", vec![list(dims)]),
        },
        Op::Transpose(transpose) => call("transpose", vec![list(&transpose.permutation)]),
        Op::Pad(pad) => padding(pad)?,
        Op::Softmax(softmax) => {
            let word = if softmax.log { "log_softmax" } else { "softmax" };
            call(word, vec![format!("axis = {}", softmax.axis)])
        }
        Op::Identity(identity) => match identity.dropout {
            Some(rate) if (0.0..1.0).contains(&rate) => call("dropout", vec![number(rate)?]),
            _ => call("identity", vec![]),
        },
        Op::MatMul(_) => call("matmul", vec![]),
        Op::Reduce(reduce) => {
            let mut arguments = vec![format!("axes = {}", list(&reduce.axes))];
            if reduce.keep_axes {
                arguments.push("keep_axes = true".to_owned());
            }
            call(reduce.function.name(), arguments)
        }
        Op::Slice(slice) => {
            let mut arguments = vec![list(&slice.starts), list(&slice.extents)];
            if slice.steps.iter().any(|&step| step != 1) {
                arguments.push(format!("steps = {}", list(&slice.steps)));
            }
            call("slice", arguments)
        }
        Op::Expand(expand) => call("expand", vec![list(expand.shape.dims())]),
        Op::DepthToSpace(op) => {
            let order = if op.blocks_first { vec!["blocks_first = true".to_owned()] } else { vec![] };
            call("depth_to_space", [op.block.to_string()].into_iter().chain(order).collect())
        }
        Op::SpaceToDepth(op) => call("space_to_depth", vec![op.block.to_string()]),
        Op::Resize(resize) => resizing(resize, inputs[0], output)?,
        Op::ConvChain(_) | Op::ScaleShift(_) | Op::Input(_) | Op::Parameter(_) | Op::Constant(_) => {
            return Err(format!("'{}' is made by the compiler alone", op.word()));
        }
    })
}

fn convolution(conv: &Conv, inputs: &[&Shape]) -> Call {
    let filter = inputs[1].dims();
    let channels = inputs[0].dims()[1];
    let kernel = pair([filter[2], filter[3]]);
    let depthwise = conv.groups == channels && channels > 1;
    let mut arguments = if depthwise { vec![kernel] } else { vec![filter[0].to_string(), kernel] };
    arguments.extend(window(&conv.window, [1, 1]));
    if depthwise && filter[0] != channels {
        arguments.push(format!("multiplier = {}", filter[0] / channels));
    }
    if !depthwise && conv.groups != 1 {
        arguments.push(format!("groups = {}", conv.groups));
    }
    if inputs.len() < 3 {
        arguments.push("bias = false".to_owned());
    }
    let word = if depthwise { "depthwise_conv" } else { "conv" };
    Call { weights: &["weight", "bias"], ..call(word, arguments) }
}

fn activate(activation: &Activation) -> Result<Call, String> {
    let named = |name: &str, value: f32| Ok::<_, String>(format!("{name} = {}", number(value)?));
    let arguments = match *activation {
        Activation::LeakyRelu { slope } => vec![named("slope", slope)?],
        Activation::Clip { min, max } if min > max => {
            return Err(format!("a clip to [{min}, {max}], of which nothing is between"));
        }
        Activation::Clip { min, max } => vec![number(min)?, number(max)?],
        Activation::HardSigmoid { alpha, beta } => vec![named("alpha", alpha)?, named("beta", beta)?],
        Activation::Elu { alpha } => vec![named("alpha", alpha)?],
        Activation::Selu { alpha, gamma } => vec![named("alpha", alpha)?, named("gamma", gamma)?],
        _ => vec![],
    };
    Ok(call(activation.name(), arguments))
}

fn pooling(pool: &Pool) -> Result<Call, String> {
    let mut arguments = vec![pair(pool.kernel)];
    arguments.extend(window(&pool.window, pool.kernel));
    if pool.ceil_mode {
        arguments.push("ceil_mode = true".to_owned());
    }
    match pool.kind {
        PoolKind::Max => Ok(call("max_pool", arguments)),
        PoolKind::Average { .. } if pool.window.dilation != [1, 1] => {
            Err("average pooling with dilation".to_owned())
        }
        PoolKind::Average { count_include_pad } => {
            if !count_include_pad {
                arguments.push("count_include_pad = false".to_owned());
            }
            Ok(call("avg_pool", arguments))
        }
    }
}

fn padding(pad: &Pad) -> Result<Call, String> {
    let value = number(pad.value)?;
    let ([0, 0, top, left], [0, 0, bottom, right], PadMode::Constant) =
        (&pad.before[..], &pad.after[..], pad.mode)
    else {
        let method = match pad.mode {
            PadMode::Constant => "constant",
            PadMode::Edge => "edge",
            PadMode::Reflect => "reflect",
            PadMode::Wrap => "wrap",
        };
        let arguments = vec![
            list(&pad.before),
            list(&pad.after),
            format!("value = {value}"),
            format!("filling = {method}"),
        ];
        return Ok(call("pad_axes", arguments));
    };
    let sides = sides([*top, *left, *bottom, *right]);
    Ok(call("pad", if pad.value == 0.0 { vec![sides] } else { vec![sides, format!("value = {value}")] }))
}

fn resizing(resize: &Resize, input: &Shape, output: &Shape) -> Result<Call, String> {
    let (Some((n, c, h, w)), Some((images, channels, height, width))) = (input.nchw(), output.nchw()) else {
        return Err("resizing of anything but images".to_owned());
    };
    let scale = |to: usize, from: usize| (to as f64 / from as f64) as f32;
    let expected = [1.0, 1.0, scale(height, h), scale(width, w)];
    let method = match resize.interpolation {
        Interpolation::Nearest { rounding: Rounding::PreferFloor } => "nearest",
        Interpolation::Nearest { rounding: Rounding::Floor }
            if resize.coordinates == Coordinates::Asymmetric =>
        {
            "nearest_below"
        }
        Interpolation::Linear => "linear",
        Interpolation::Cubic { coefficient: -0.75 } => "cubic",
        _ => return Err("this way of interpolating".to_owned()),
    };
    let coordinates = match resize.coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::PytorchHalfPixel if height > 1 && width > 1 => "half_pixel",
        Coordinates::AlignCorners => "align_corners",
        Coordinates::Asymmetric => "asymmetric",
        _ => return Err("these coordinates of a resize".to_owned()),
    };
    if (n, c) != (images, channels) || resize.scales[..] != expected || resize.exclude_outside {
        return Err("this resize".to_owned());
    }
    let mut arguments = vec![pair([height, width]), format!("method = {method}")];
    if coordinates != "half_pixel" {
        arguments.push(format!("coordinates = {coordinates}"));
    }
    if resize.antialias {
        arguments.push("antialias = true".to_owned());
    }
    Ok(call("resize", arguments))
}
