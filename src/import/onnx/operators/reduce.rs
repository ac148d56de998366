//! Reductions over axes.

use super::Handler;
use super::rearrange::{listed_axes, reshape_to};
use crate::import::onnx::call::{Call, axes_of};
use crate::import::onnx::fault::{Fault, unsupported};
use crate::import::onnx::importer::{Importer, Value};
use crate::import::onnx::known::Known;
use crate::ops::{
    Binary, BinaryFunction, GlobalPool, GlobalReduce, Reduce, ReduceFunction, Unary, UnaryFunction,
};

pub const TABLE: &[(&str, Handler)] = &[
    ("ReduceSum", |i, call| reduce(i, call, ReduceFunction::Sum, 13)),
    ("ReduceMean", |i, call| reduce(i, call, ReduceFunction::Mean, 18)),
    ("ReduceMax", |i, call| reduce(i, call, ReduceFunction::Max, 18)),
    ("ReduceMin", |i, call| reduce(i, call, ReduceFunction::Min, 18)),
    ("ReduceL1", |i, call| {
        let magnitude =
            i.emit(&part(call), Unary { function: UnaryFunction::Abs }, &[call.input(0)?.clone()])?;
        reduce_value(i, call, magnitude, ReduceFunction::Sum, 18)
    }),
    ("ReduceSumSquare", |i, call| {
        let x = call.input(0)?.clone();
        let square = i.emit(&part(call), Binary { function: BinaryFunction::Mul }, &[x.clone(), x])?;
        reduce_value(i, call, square, ReduceFunction::Sum, 18)
    }),
];

fn part(call: &Call) -> String {
    format!("{}.elements", call.name)
}

fn reduce(
    i: &mut Importer,
    call: &Call,
    function: ReduceFunction,
    version: i64,
) -> Result<Vec<Value>, Fault> {
    reduce_value(i, call, call.input(0)?.clone(), function, version)
}

/// From `version` on, the axes are an input.
fn reduce_value(
    i: &mut Importer,
    call: &Call,
    x: Value,
    function: ReduceFunction,
    version: i64,
) -> Result<Vec<Value>, Fault> {
    if matches!(x, Value::Known(Known::Int(_), _)) {
        return Err(unsupported("a reduction of integers"));
    }
    let keep_axes = call.flag("keepdims", true)?;
    let nothing = call.flag("noop_with_empty_axes", false)?;
    let shape = i.shape(&x)?;
    let listed = match call.opset >= version {
        true => listed_axes(i, call, 1)?,
        false => call.ints("axes")?.map(<[i64]>::to_vec),
    };
    let axes = match listed.filter(|axes| !axes.is_empty()) {
        Some(axes) => axes_of(&axes, shape.rank())?,
        None if nothing => return Ok(vec![x]),
        None => (0..shape.rank()).collect(),
    };
    if axes.is_empty() {
        return Ok(vec![x]);
    }
    let pool = match function {
        ReduceFunction::Mean => Some(GlobalReduce::Average),
        ReduceFunction::Max => Some(GlobalReduce::Max),
        _ => None,
    };
    // Over the pixels of images, a reduction is a pooling, which has the better kernels.
    if let (Some(reduce), [2, 3], Some((n, c, _, _)), false) =
        (pool, &axes[..], shape.nchw(), i.is_constant(&x))
    {
        let name = if keep_axes { call.name.clone() } else { format!("{}.pool", call.name) };
        let pooled = i.emit(&name, GlobalPool { reduce }, &[x])?;
        return Ok(vec![if keep_axes { pooled } else { reshape_to(i, &call.name, pooled, [n, c].into())? }]);
    }
    Ok(vec![i.emit(&call.name, Reduce { function, axes, keep_axes }, &[x])?])
}
