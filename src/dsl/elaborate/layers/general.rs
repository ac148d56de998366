//! Layers on arrays of any rank: weights by themselves, matrices, reductions, parts, resizing.

use crate::dsl::diagnostics::Diagnostic;
use crate::dsl::elaborate::arguments::Arguments;
use crate::dsl::elaborate::value::Value;
use crate::dsl::elaborate::{Elaborator, Eval};
use crate::graph::NodeId;
use crate::ops::{
    Coordinates, DepthToSpace, Expand, Init, Interpolation, MatMul, Op, Parameter, Reduce, ReduceFunction,
    Resize, Rounding, Slice, SpaceToDepth,
};
use crate::tensor::Shape;

/// A trained array; its key is the layer's name.
pub fn weight<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let shape = shape_of(e, arguments)?;
    let name = e.layer_name(arguments.label, arguments.operator(), arguments.callee)?;
    let init = Init::Uniform { low: -0.2, high: 0.2 };
    e.count_parameters(arguments, &name, &shape)?;
    e.add_layer(arguments, name.clone(), Op::Parameter(Parameter { key: name, shape, init }), &[])
}

fn shape_of<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Shape> {
    let extents = arguments.extents(e, "shape", 1)?;
    let (_, span) = arguments.get("shape");
    e.check_rank(extents.len(), span)?;
    Ok(Shape::new(extents))
}

pub fn matmul<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let (a, b) = (arguments.tensor(e, "a")?, arguments.tensor(e, "b")?);
    e.add_plain(arguments, MatMul {}, &[a, b])
}

macro_rules! reductions {
    ($($name:ident => $function:ident;)*) => {
        $(pub fn $name<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
            reduce(e, arguments, ReduceFunction::$function)
        })*
    };
}

reductions! {
    reduce_sum => Sum;
    reduce_mean => Mean;
    reduce_max => Max;
    reduce_min => Min;
}

fn reduce<'a>(
    e: &mut Elaborator<'a>,
    arguments: &Arguments<'a>,
    function: ReduceFunction,
) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let rank = rank(e, x);
    let keep_axes = arguments.flag(e, "keep_axes")?;
    let (listed, span) = (arguments.integers(e, "axes")?, arguments.get("axes").1);
    let signed = rank as i64;
    let mut axes: Vec<i64> = listed.iter().map(|&axis| if axis < 0 { axis + signed } else { axis }).collect();
    axes.sort_unstable();
    let known = axes.iter().all(|axis| (0..signed).contains(axis));
    if axes.is_empty() || !known || axes.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(e.fault(Diagnostic::error(
            format!("`axes` are some of a value's {rank} axes, each once"),
            span,
            format!("this is {listed:?}"),
        )));
    }
    let axes = axes.into_iter().map(|axis| axis as usize).collect();
    e.add_plain(arguments, Reduce { function, axes, keep_axes }, &[x])
}

fn rank(e: &Elaborator, x: NodeId) -> usize {
    e.graph.shape(x).rank()
}

/// For each axis, as many elements as `extents` says, from `starts` on, `steps` apart.
pub fn slice<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let starts = arguments.extents(e, "starts", 0)?;
    let extents = arguments.extents(e, "extents", 1)?;
    let steps = match arguments.get("steps").0 {
        Value::List(_) => arguments.integers(e, "steps")?,
        _ => vec![1; starts.len()],
    };
    e.add_plain(arguments, Slice { starts, extents, steps }, &[x])
}

pub fn expand<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let shape = shape_of(e, arguments)?;
    e.add_plain(arguments, Expand { shape }, &[x])
}

pub fn depth_to_space<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let block = arguments.extent(e, "block", 1)?;
    let blocks_first = arguments.flag(e, "blocks_first")?;
    e.add_plain(arguments, DepthToSpace { block, blocks_first }, &[x])
}

pub fn space_to_depth<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let block = arguments.extent(e, "block", 1)?;
    e.add_plain(arguments, SpaceToDepth { block }, &[x])
}

/// Resizes height and width to `size`.
pub fn resize<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let [height, width] = arguments.pair(e, "size", 1)?;
    let (n, c, h, w) = e.image(arguments, x)?;
    let methods = ["nearest", "nearest_below", "linear", "cubic"];
    let interpolation = match arguments.word(e, "method", &methods)? {
        "nearest" => Interpolation::Nearest { rounding: Rounding::PreferFloor },
        "nearest_below" => Interpolation::Nearest { rounding: Rounding::Floor },
        "linear" => Interpolation::Linear,
        _ => Interpolation::Cubic { coefficient: -0.75 },
    };
    let words = ["half_pixel", "align_corners", "asymmetric"];
    let coordinates = match arguments.word(e, "coordinates", &words)? {
        "half_pixel" => Coordinates::HalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        _ => Coordinates::Asymmetric,
    };
    let scale = |to: usize, from: usize| (to as f64 / from as f64) as f32;
    let op = Resize {
        shape: Shape::from([n, c, height, width]),
        scales: vec![1.0, 1.0, scale(height, h), scale(width, w)],
        interpolation,
        coordinates,
        exclude_outside: false,
        antialias: arguments.flag(e, "antialias")?,
        region: Vec::new(),
        extrapolation: 0.0,
    };
    e.add_plain(arguments, op, &[x])
}
