//! The graph's text form: prints and parses back exactly. Pass tests are written in it.
//!
//! ```text
//! model "example"
//!
//! %0 "image" = input : [1, 3, 8, 8]
//! %1 "stem.weight" = parameter {distribution="kaiming", fan_in=27} : [16, 3, 3, 3]
//! %2 "stem" = conv(%0, %1) {padding=[1, 1, 1, 1], stride=[2, 2]} + relu : [1, 16, 4, 4]
//! %3 "sum" = add(%2, %2) : [1, 16, 4, 4]
//!
//! output "features" = %3
//! ```
//!
//! - A value is a label, its name, the operator with its operands, attributes in braces (JSON values), the steps of
//!   its epilogue after `+` with their own operands, its shape, and the other layers it stands for, if any:
//!   `fuses ["conv1", "bn1"]`.
//! - Attributes that have their default are left out. A parameter's key defaults to its name, its distribution to
//!   uniform in [-1, 1). A constant's `data` is listed in row-major order.
//! - An operator that is one of several functions goes by the function's name: `relu`, `add`, `max_pool`.
//! - A fused chain lists its stages in brackets: `conv_chain(%0) ["dw" conv(%1) {groups=8} + relu "pw" conv(%2)]`.
//! - When written by hand, labels may be words (`%x`), names may be left out (the label is the name), and so may the
//!   shapes of values that operators compute. Space, line breaks and `//` comments go anywhere between tokens.
//! - Printing numbers the values in topological order, inputs first.

mod parse;
mod print;
#[cfg(test)]
mod tests;

pub use parse::ParseError;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ops::Init;
use crate::spelling::closest;

type Attributes = Map<String, Value>;

/// The initialiser of parameters written without one.
const DEFAULT_INIT: Init = Init::Uniform { low: -1.0, high: 1.0 };

/// An operator that is one of several functions, under the function's name: `(word, operator, attribute, value)`.
type Shorthand = (&'static str, &'static str, &'static str, &'static str);

const SHORTHANDS: &[Shorthand] = &[
    ("relu", "activation", "function", "relu"),
    ("relu6", "activation", "function", "relu6"),
    ("leaky_relu", "activation", "function", "leaky_relu"),
    ("clip", "activation", "function", "clip"),
    ("sigmoid", "activation", "function", "sigmoid"),
    ("silu", "activation", "function", "silu"),
    ("hard_sigmoid", "activation", "function", "hard_sigmoid"),
    ("hard_swish", "activation", "function", "hard_swish"),
    ("tanh", "activation", "function", "tanh"),
    ("elu", "activation", "function", "elu"),
    ("selu", "activation", "function", "selu"),
    ("softplus", "activation", "function", "softplus"),
    ("mish", "activation", "function", "mish"),
    ("add", "binary", "function", "add"),
    ("sub", "binary", "function", "sub"),
    ("mul", "binary", "function", "mul"),
    ("div", "binary", "function", "div"),
    ("max", "binary", "function", "max"),
    ("min", "binary", "function", "min"),
    ("pow", "binary", "function", "pow"),
    ("prelu", "binary", "function", "prelu"),
    ("reduce_sum", "reduce", "function", "sum"),
    ("reduce_mean", "reduce", "function", "mean"),
    ("reduce_max", "reduce", "function", "max"),
    ("reduce_min", "reduce", "function", "min"),
    ("sqrt", "unary", "function", "sqrt"),
    ("rsqrt", "unary", "function", "rsqrt"),
    ("exp", "unary", "function", "exp"),
    ("log", "unary", "function", "log"),
    ("erf", "unary", "function", "erf"),
    ("neg", "unary", "function", "neg"),
    ("abs", "unary", "function", "abs"),
    ("max_pool", "pool", "reduce", "max"),
    ("average_pool", "pool", "reduce", "average"),
    ("global_max_pool", "global_pool", "reduce", "max"),
    ("global_average_pool", "global_pool", "reduce", "average"),
];

/// The operators that have no [`SHORTHANDS`].
const OPERATORS: &[&str] = &[
    "input",
    "parameter",
    "constant",
    "batch_norm",
    "concat",
    "conv",
    "conv_chain",
    "dense",
    "depth_to_space",
    "expand",
    "identity",
    "lrn",
    "matmul",
    "pad",
    "reshape",
    "resize",
    "scale_shift",
    "slice",
    "softmax",
    "space_to_depth",
    "transpose",
];

/// Every attribute of an operator or epilogue step. Goes through JSON text, where an `f32` is as short as it can be.
fn attributes_of(item: &impl Serialize) -> Attributes {
    let json = serde_json::to_string(item).expect("operators serialise");
    match serde_json::from_str(&json) {
        Ok(Value::Object(attributes)) => attributes,
        other => unreachable!("operators serialise to objects, not {other:?}"),
    }
}

/// The inverse of [`attributes_of`], where an attribute that the item does not have is an error.
fn from_attributes<T: Serialize + DeserializeOwned>(attributes: Attributes) -> Result<T, String> {
    let given: Vec<String> = attributes.keys().cloned().collect();
    let item: T = serde_json::from_value(Value::Object(attributes)).map_err(|error| error.to_string())?;
    let known = attributes_of(&item);
    match given.iter().find(|key| !known.contains_key(*key)) {
        None => Ok(item),
        Some(unknown) => {
            let hint = nearest(unknown, known.keys().map(String::as_str));
            Err(format!("there is no attribute '{unknown}'{hint}"))
        }
    }
}

/// A question after a word that is none of `known`, where one of them is close; else nothing.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    closest(word, known).map_or(String::new(), |best| format!("; is '{best}' meant?"))
}
