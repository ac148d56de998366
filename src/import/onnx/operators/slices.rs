//! Operators that take parts of arrays, or add margins to them.

use super::Handler;
use super::rearrange::{dot, indices, listed_axes};
use crate::import::onnx::call::{Call, axis_of, extent_of};
use crate::import::onnx::fault::{Fault, invalid, unsupported};
use crate::import::onnx::importer::{Importer, Value, computed};
use crate::import::onnx::known::{Ints, Known};
use crate::ops::{Operator, Pad, PadMode, Slice};
use crate::tensor::{Shape, Tensor};

pub const TABLE: &[(&str, Handler)] = &[("Pad", pad), ("Slice", slice), ("Split", split)];

/// A part of `value`; known integers at once, and nothing of what is empty.
fn part(i: &mut Importer, name: &str, value: Value, op: Slice) -> Result<Value, Fault> {
    let shape = i.shape(&value)?;
    let whole = (0..shape.rank()).all(|axis| op.steps[axis] == 1 && op.extents[axis] == shape.dims()[axis]);
    if whole {
        return Ok(value);
    }
    let output = op.infer(&[&shape])?;
    if output.dims().contains(&0) {
        return Ok(computed(Tensor::new(output, Vec::new())));
    }
    if let Value::Known(Known::Int(ints), _) = &value {
        i.charge(&output)?;
        let strides = shape.strides();
        let source = |at: Vec<usize>| {
            let positions: Vec<usize> = (0..at.len()).map(|axis| op.position(axis, at[axis])).collect();
            ints.data[dot(&positions, &strides)]
        };
        let data = indices(&output).map(source).collect();
        return Ok(computed(Ints { shape: output, data }));
    }
    i.emit(name, op, &[value])
}

/// The whole of an array of this shape.
fn whole(shape: &Shape) -> Slice {
    Slice { starts: vec![0; shape.rank()], extents: shape.dims().to_vec(), steps: vec![1; shape.rank()] }
}

/// A list that older versions give as an attribute and newer ones as an input.
fn bounds(i: &Importer, call: &Call, name: &'static str, at: usize) -> Result<Option<Vec<i64>>, Fault> {
    if call.opset < 10 {
        return Ok(call.ints(name)?.map(<[i64]>::to_vec));
    }
    match call.optional(at) {
        None => Ok(None),
        Some(value) => Ok(Some(i.known(value, "the bounds of a slice")?.ints(name)?.to_vec())),
    }
}

fn slice(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let shape = i.shape(&x)?;
    let starts = bounds(i, call, "starts", 1)?.ok_or_else(|| invalid("the starts are missing"))?;
    let ends = bounds(i, call, "ends", 2)?.ok_or_else(|| invalid("the ends are missing"))?;
    let axes = bounds(i, call, "axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = if call.opset < 10 { None } else { bounds(i, call, "steps", 4)? };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(invalid("starts, ends, axes and steps of a slice are of different lengths"));
    }
    let mut op = whole(&shape);
    for (at, &axis) in axes.iter().enumerate() {
        let axis = axis_of(axis, shape.rank())?;
        (op.starts[axis], op.extents[axis]) = range(starts[at], ends[at], steps[at], shape.dims()[axis])?;
        op.steps[axis] = steps[at];
    }
    Ok(vec![part(i, &call.name, x, op)?])
}

/// Where a slice of an axis starts and how many elements it has; bounds count from the end where negative, and are
/// held at the ends.
fn range(start: i64, end: i64, step: i64, extent: usize) -> Result<(usize, usize), Fault> {
    let extent = i64::try_from(extent).map_err(|_| invalid("an axis is too long"))?;
    if step == 0 {
        return Err(invalid("a slice's step is zero"));
    }
    let absolute = |bound: i64| if bound < 0 { bound.saturating_add(extent) } else { bound };
    let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
    let (start, end) = (absolute(start).clamp(low, high), absolute(end).clamp(low, high));
    let distance = if step > 0 { end - start } else { start - end };
    let count = distance.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
    Ok((start.max(0) as usize, count as usize))
}

fn split(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let shape = i.shape(&x)?;
    let axis = axis_of(call.int("axis", 0)?, shape.rank())?;
    let extent = shape.dims()[axis];
    let listed = match call.optional(1) {
        Some(value) => Some(i.known(value, "the lengths of a split")?.ints("split")?.to_vec()),
        None => call.ints("split")?.map(<[i64]>::to_vec),
    };
    let count = match call.int("num_outputs", 0)? {
        0 => call.outputs(),
        count => extent_of(count, "num_outputs")?,
    };
    if count != call.outputs() || count == 0 {
        return Err(invalid(format!("{count} parts for {} outputs", call.outputs())));
    }
    let lengths = match listed {
        Some(lengths) => {
            lengths.iter().map(|&length| extent_of(length, "split")).collect::<Result<Vec<_>, _>>()?
        }
        None => {
            let length = extent.div_ceil(count);
            (0..count).map(|at| length.min(extent.saturating_sub(at * length))).collect()
        }
    };
    if lengths.iter().try_fold(0usize, |sum, &length| sum.checked_add(length)) != Some(extent) {
        return Err(invalid(format!("parts of {lengths:?} do not make up axis {axis} of {shape}")));
    }
    let mut start = 0;
    let mut outputs = Vec::new();
    for (at, length) in lengths.into_iter().enumerate() {
        let mut op = whole(&shape);
        (op.starts[axis], op.extents[axis]) = (start, length);
        outputs.push(part(i, &format!("{}.{at}", call.name), x.clone(), op)?);
        start += length;
    }
    Ok(outputs)
}

fn pad(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let shape = i.shape(&x)?;
    let rank = shape.rank();
    let mode = match call.text("mode", "constant")? {
        "constant" => PadMode::Constant,
        "edge" => PadMode::Edge,
        "reflect" => PadMode::Reflect,
        "wrap" => PadMode::Wrap,
        other => return Err(unsupported(format!("the mode '{other}'"))),
    };
    let (pads, value) = if call.opset < 11 {
        let pads = call.ints("pads")?.or(call.ints("paddings")?);
        (pads.ok_or_else(|| invalid("the attribute 'pads' is missing"))?.to_vec(), call.float("value", 0.0)?)
    } else {
        let value = match call.optional(2) {
            Some(value) => i.known(value, "the value of a padding")?.scalar("constant_value")?,
            None => 0.0,
        };
        (i.known(call.input(1)?, "a padding")?.ints("pads")?.to_vec(), value)
    };
    let listed = if call.opset < 18 { None } else { listed_axes(i, call, 3)? };
    let axes = match listed {
        Some(axes) => axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(invalid(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let mut op = Pad { before: vec![0; rank], after: vec![0; rank], value, mode };
    // Negative padding cuts.
    let mut cut = whole(&shape);
    for (at, &axis) in axes.iter().enumerate() {
        let [before, after] = [pads[at], pads[axes.len() + at]];
        [op.before[axis], op.after[axis]] = [before, after].map(|pad| pad.max(0).unsigned_abs() as usize);
        let [first, last] = [before, after].map(|pad| pad.min(0).unsigned_abs() as usize);
        let extent = shape.dims()[axis].checked_sub(first).and_then(|rest| rest.checked_sub(last));
        let Some(extent) = extent.filter(|&extent| extent > 0) else {
            return Err(invalid(format!("pads of {pads:?} leave nothing of axis {axis} of {shape}")));
        };
        (cut.starts[axis], cut.extents[axis]) = (first, extent);
    }
    if op.before.iter().chain(&op.after).all(|&pad| pad == 0) {
        return Ok(vec![part(i, &call.name, x, cut)?]);
    }
    let x = part(i, &format!("{}.cut", call.name), x, cut)?;
    Ok(vec![i.emit(&call.name, op, &[x])?])
}
