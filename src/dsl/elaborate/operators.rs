//! The operators that model files can name.

use std::sync::LazyLock;

use super::arguments::Arguments;
use super::layers;
use super::value::{List, Value};
use super::{Elaborator, Eval};
use crate::dsl::ast::{Expression, ExpressionKind, UnaryOperator};
use crate::dsl::parser;

/// Adds a layer to the graph.
pub(super) type Build = for<'a, 'b> fn(&'b mut Elaborator<'a>, &'b Arguments<'a>) -> Eval<Value<'a>>;

pub(super) struct Operator {
    /// As a model file would call it, with the defaults of its parameters. `…` marks any number of values.
    pub signature: &'static str,
    pub build: Build,
    name: &'static str,
    parameters: Vec<Parameter>,
}

pub(super) struct Parameter {
    pub name: &'static str,
    /// A literal, a word, or the name of the parameter that has the same value.
    pub default: Option<Expression>,
}

const OPERATORS: [(&str, Build); 53] = [
    (
        "conv(x, channels, kernel, stride = 1, padding = 0, dilation = 1, groups = 1, bias = true)",
        layers::conv,
    ),
    (
        "depthwise_conv(x, kernel, stride = 1, padding = 0, dilation = 1, multiplier = 1, bias = true)",
        layers::depthwise_conv,
    ),
    ("dense(x, units, bias = true)", layers::dense),
    ("batch_norm(x, epsilon = 1e-5, mode = running, initial_scale = 1)", layers::batch_norm),
    ("relu(x)", layers::relu),
    ("relu6(x)", layers::relu6),
    ("leaky_relu(x, slope = 0.01)", layers::leaky_relu),
    ("clip(x, min, max)", layers::clip),
    ("sigmoid(x)", layers::sigmoid),
    ("silu(x)", layers::silu),
    ("hard_sigmoid(x, alpha = 0.16666666666666666, beta = 0.5)", layers::hard_sigmoid),
    ("hard_swish(x)", layers::hard_swish),
    ("tanh(x)", layers::tanh),
    ("max_pool(x, kernel, stride = kernel, padding = 0, dilation = 1, ceil_mode = false)", layers::max_pool),
    (
        "avg_pool(x, kernel, stride = kernel, padding = 0, ceil_mode = false, count_include_pad = true)",
        layers::avg_pool,
    ),
    ("global_avg_pool(x)", layers::global_avg_pool),
    ("global_max_pool(x)", layers::global_max_pool),
    ("lrn(x, size = 5, alpha = 1e-4, beta = 0.75, k = 1)", layers::lrn),
    ("add(a, b)", layers::add),
    ("sub(a, b)", layers::sub),
    ("mul(a, b)", layers::mul),
    ("div(a, b)", layers::div),
    ("concat(x…, axis = 1)", layers::concat),
    ("flatten(x, axis = 1)", layers::flatten),
    ("reshape(x, shape)", layers::reshape),
    ("transpose(x, permutation)", layers::transpose),
    ("pad(x, padding, value = 0)", layers::pad),
    ("softmax(x, axis = -1)", layers::softmax),
    ("dropout(x, rate = 0.5)", layers::dropout),
    ("identity(x)", layers::identity),
    ("exp(x)", layers::exp),
    ("rsqrt(x)", layers::rsqrt),
    ("log(x)", layers::log),
    ("erf(x)", layers::erf),
    ("elu(x, alpha = 1)", layers::elu),
    ("selu(x, alpha = 1.6732632, gamma = 1.050701)", layers::selu),
    ("softplus(x)", layers::softplus),
    ("mish(x)", layers::mish),
    ("pow(a, b)", layers::pow),
    ("prelu(a, b)", layers::prelu),
    ("log_softmax(x, axis = -1)", layers::log_softmax),
    ("matmul(a, b)", layers::matmul),
    ("reduce_sum(x, axes, keep_axes = false)", layers::reduce_sum),
    ("reduce_mean(x, axes, keep_axes = false)", layers::reduce_mean),
    ("reduce_max(x, axes, keep_axes = false)", layers::reduce_max),
    ("reduce_min(x, axes, keep_axes = false)", layers::reduce_min),
    ("slice(x, starts, extents, steps = 1)", layers::slice),
    ("expand(x, shape)", layers::expand),
    ("resize(x, size, method = linear, coordinates = half_pixel, antialias = false)", layers::resize),
    ("depth_to_space(x, block, blocks_first = false)", layers::depth_to_space),
    ("space_to_depth(x, block)", layers::space_to_depth),
    ("pad_axes(x, before, after, value = 0, filling = constant)", layers::pad_axes),
    ("weight(shape)", layers::weight),
];

/// Words that stand for a way of doing something. In their parameter's place they go before variables.
pub(super) struct Words {
    pub parameter: &'static str,
    pub words: &'static [&'static str],
    /// What else the parameter takes, as the beginning of a list.
    pub besides: &'static str,
}

static WORDS: [Words; 5] = [
    Words { parameter: "padding", words: &["same", "valid"], besides: "a number, a list, " },
    Words { parameter: "mode", words: &["running", "batch"], besides: "" },
    Words { parameter: "method", words: &["nearest", "nearest_below", "linear", "cubic"], besides: "" },
    Words { parameter: "coordinates", words: &["half_pixel", "align_corners", "asymmetric"], besides: "" },
    Words { parameter: "filling", words: &["constant", "edge", "reflect", "wrap"], besides: "" },
];

/// What other frameworks call things, and what they are called here.
const FOREIGN: [(&str, &str); 30] = [
    ("conv2d", "conv"),
    ("Conv2d", "conv"),
    ("convolution", "conv"),
    ("conv_dw", "depthwise_conv"),
    ("depthwise", "depthwise_conv"),
    ("dwconv", "depthwise_conv"),
    ("linear", "dense"),
    ("Linear", "dense"),
    ("fc", "dense"),
    ("fully_connected", "dense"),
    ("gemm", "dense"),
    ("bn", "batch_norm"),
    ("batchnorm", "batch_norm"),
    ("batch_norm2d", "batch_norm"),
    ("BatchNorm2d", "batch_norm"),
    ("maxpool", "max_pool"),
    ("max_pool2d", "max_pool"),
    ("avgpool", "avg_pool"),
    ("average_pool", "avg_pool"),
    ("avg_pool2d", "avg_pool"),
    ("gap", "global_avg_pool"),
    ("global_pool", "global_avg_pool"),
    ("global_average_pool", "global_avg_pool"),
    ("adaptive_avg_pool", "global_avg_pool"),
    ("cat", "concat"),
    ("concatenate", "concat"),
    ("swish", "silu"),
    ("ReLU", "relu"),
    ("view", "reshape"),
    ("local_response_norm", "lrn"),
];

const FOREIGN_ARGUMENTS: [(&str, &str); 17] = [
    ("out_channels", "channels"),
    ("filters", "channels"),
    ("features", "channels"),
    ("kernel_size", "kernel"),
    ("size", "kernel"),
    ("strides", "stride"),
    ("pad", "padding"),
    ("pads", "padding"),
    ("eps", "epsilon"),
    ("negative_slope", "slope"),
    ("alpha", "slope"),
    ("out_features", "units"),
    ("use_bias", "bias"),
    ("group", "groups"),
    ("dim", "axis"),
    ("p", "rate"),
    ("perm", "permutation"),
];

static TABLE: LazyLock<Vec<Operator>> =
    LazyLock::new(|| OPERATORS.iter().map(|&(signature, build)| Operator::new(signature, build)).collect());

/// The operator of that name.
pub(super) fn find(name: &str) -> Option<&'static Operator> {
    TABLE.iter().find(|operator| operator.name == name)
}

/// The operators as model files would call them.
pub(in crate::dsl) fn signatures() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|(signature, _)| *signature)
}

pub(super) fn names() -> Vec<&'static str> {
    TABLE.iter().map(|operator| operator.name).collect()
}

/// A hint where the name is another framework's.
pub(super) fn foreign(name: &str) -> Option<String> {
    let (_, known_as) = FOREIGN.iter().find(|(foreign, _)| *foreign == name)?;
    Some(format!("it is called `{known_as}` here"))
}

/// What another framework's parameter is called here.
pub(super) fn foreign_argument(name: &str) -> Option<&'static str> {
    FOREIGN_ARGUMENTS.iter().find(|(foreign, _)| *foreign == name).map(|(_, known_as)| *known_as)
}

impl Operator {
    fn new(signature: &'static str, build: Build) -> Self {
        let (name, parameters) =
            signature.strip_suffix(')').and_then(|text| text.split_once('(')).expect("`name(…)`");
        let parameters = parameters.split(", ").map(|parameter| {
            let (name, default) = match parameter.split_once(" = ") {
                Some((name, default)) => (name, Some(default)),
                None => (parameter, None),
            };
            let default = default.map(|text| parser::parse_expression(text).expect("a literal"));
            Parameter { name, default }
        });
        Operator { signature, build, name, parameters: parameters.collect() }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Whether the first parameter takes any number of values.
    pub fn takes_several(&self) -> bool {
        self.parameters[0].name.ends_with('…')
    }

    /// The words that the parameter of that name, or at that position, takes.
    pub fn words(&self, name: Option<&str>, position: usize) -> Option<&'static Words> {
        let name = name.or_else(|| self.parameters.get(position).map(|parameter| parameter.name))?;
        WORDS.iter().find(|words| words.parameter == name)
    }
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.signature)
    }
}

/// The value of a number, a truth value, a string, a bare word or a list of them.
pub(super) fn literal<'a>(expression: &Expression) -> Option<Value<'a>> {
    match &expression.kind {
        ExpressionKind::Int(value) => Some(Value::Int(*value)),
        ExpressionKind::Float(value) => Some(Value::Float(*value)),
        ExpressionKind::Bool(value) => Some(Value::Bool(*value)),
        ExpressionKind::Name(word) => Some(Value::text(word)),
        ExpressionKind::Text(parts) => match parts.as_slice() {
            [] => Some(Value::text("")),
            [crate::dsl::ast::TextPart::Literal(text)] => Some(Value::text(text)),
            _ => None,
        },
        ExpressionKind::List(items) => {
            List::new(items.iter().map(literal).collect::<Option<_>>()?).ok().map(Value::List)
        }
        ExpressionKind::Unary { operator: UnaryOperator::Negate, operand } => match literal(operand)? {
            Value::Int(value) => Some(Value::Int(-value)),
            Value::Float(value) => Some(Value::Float(-value)),
            _ => None,
        },
        _ => None,
    }
}
