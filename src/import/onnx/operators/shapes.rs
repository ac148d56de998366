//! Constants, shapes and arithmetic on them: computed while the network is imported.

use super::Handler;
use super::elementwise::{combine, integers, not_at_run_time};
use super::rearrange::{dot, indices};
use crate::import::onnx::call::{Call, axis_of, extent_of};
use crate::import::onnx::fault::{Fault, invalid, unsupported};
use crate::import::onnx::importer::{Importer, Value, computed, computed_list};
use crate::import::onnx::known::{Ints, Known};
use crate::import::onnx::proto::ElementType;
use crate::import::onnx::tensor;
use crate::ops::{BinaryFunction, Expand, Identity};
use crate::tensor::{Shape, Tensor};

pub const TABLE: &[(&str, Handler)] = &[
    ("Cast", cast),
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("Equal", |i, call| compare(i, call, |a, b| a == b)),
    ("Greater", |i, call| compare(i, call, |a, b| a > b)),
    ("GreaterOrEqual", |i, call| compare(i, call, |a, b| a >= b)),
    ("Less", |i, call| compare(i, call, |a, b| a < b)),
    ("LessOrEqual", |i, call| compare(i, call, |a, b| a <= b)),
    ("And", |i, call| compare(i, call, |a, b| a != 0 && b != 0)),
    ("Or", |i, call| compare(i, call, |a, b| a != 0 || b != 0)),
    ("Not", not),
    ("Where", choose),
    ("Gather", gather),
    ("Range", range),
    ("Shape", shape),
    ("Size", size),
];

fn constant(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let value: Known = if let Some(proto) = call.tensor("value")? {
        tensor::decode(proto, i.folder()).map_err(invalid)?
    } else if let Some(value) = call.optional_float("value_float")? {
        Tensor::scalar(value).into()
    } else if let Some(values) = call.floats("value_floats")? {
        Tensor::new([values.len()], values.to_vec()).into()
    } else if let Some(values) = call.ints("value_ints")? {
        Ints::list(values.to_vec()).into()
    } else if call.node.attribute.iter().any(|attribute| attribute.name == "value_int") {
        Ints { shape: Shape::default(), data: vec![call.int("value_int", 0)?] }.into()
    } else {
        return Err(unsupported("a constant that is neither numbers nor an array of them"));
    };
    Ok(vec![computed(value)])
}

fn shape(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let shape = i.shape(call.input(0)?)?;
    let rank = i64::try_from(shape.rank()).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank) as usize;
    let (start, end) = (place(call.int("start", 0)?), place(call.int("end", rank)?));
    let dims = shape.dims().get(start..end.max(start)).unwrap_or_default();
    Ok(vec![computed_list(dims.iter().map(|&dim| dim as i64).collect())])
}

fn size(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let elements = i.shape(call.input(0)?)?.checked_elements().unwrap_or(0);
    Ok(vec![computed(Ints { shape: Shape::default(), data: vec![elements as i64] })])
}

fn gather(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let (x, at) = (call.input(0)?, call.input(1)?);
    let at = i.known(at, "what a gather picks")?;
    let (from, of_at) = (i.shape(x)?, at.shape().clone());
    let axis = axis_of(call.int("axis", 0)?, from.rank())?;
    let picks = at.ints("the indices of a gather")?;
    let picks = picks.iter().map(|&pick| axis_of(pick, from.dims()[axis])).collect::<Result<Vec<_>, _>>()?;
    let Value::Known(known, _) = x else { return Err(not_at_run_time("Gather")) };
    let mut dims = from.dims().to_vec();
    dims.splice(axis..=axis, of_at.dims().iter().copied());
    let shape = Shape::new(dims);
    i.charge(&shape)?;
    let rank = of_at.rank();
    let (strides, pick_strides) = (from.strides(), of_at.strides());
    let source = indices(&shape).map(|at| {
        let pick = picks[dot(&at[axis..axis + rank], &pick_strides)];
        dot(&at[..axis], &strides) + pick * strides[axis] + dot(&at[axis + rank..], &strides[axis + 1..])
    });
    Ok(vec![match known {
        Known::Int(ints) => {
            let data = source.map(|at| ints.data[at]).collect();
            computed(Ints { shape, data })
        }
        Known::Float(tensor) => {
            let data = source.map(|at| tensor.data()[at]).collect();
            computed(Tensor::new(shape, data))
        }
    }])
}

fn cast(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    call.ignore("saturate");
    call.ignore("round_mode");
    let number = if call.opset < 6 { named_type(call.text("to", "")?) } else { call.int("to", 0)? };
    let kind = i32::try_from(number).ok().and_then(ElementType::from_number);
    let Some(kind) = kind else { return Err(unsupported(format!("a cast to elements of type {number}"))) };
    let x = call.input(0)?.clone();
    Ok(vec![match x {
        Value::Known(known, _) => computed(if kind == ElementType::Bool {
            let data = known.floats().into_iter().map(|value| i64::from(value != 0.0)).collect();
            Known::from(Ints { shape: known.shape().clone(), data })
        } else {
            known.convert(kind.is_float())
        }),
        x if matches!(kind, ElementType::Float | ElementType::Double) => {
            i.emit(&call.name, Identity { dropout: None }, &[x])?
        }
        _ => {
            return Err(unsupported("a cast of values computed when the network runs to anything but float"));
        }
    }])
}

/// Before version 6, types were given by name.
fn named_type(name: &str) -> i64 {
    match name {
        "FLOAT" => 1,
        "UINT8" => 2,
        "INT8" => 3,
        "UINT16" => 4,
        "INT16" => 5,
        "INT32" => 6,
        "INT64" => 7,
        "BOOL" => 9,
        "FLOAT16" => 10,
        "DOUBLE" => 11,
        _ => 0,
    }
}

fn range(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let mut bounds = Vec::new();
    for at in 0..3 {
        bounds.push(i.known(call.input(at)?, "the bounds of a range")?.clone());
    }
    let count = |span: f64, step: f64| -> Result<usize, Fault> {
        if step == 0.0 || !span.is_finite() {
            return Err(invalid("a range needs a step that is not zero"));
        }
        extent_of((span / step).ceil().max(0.0) as i64, "the length of a range")
    };
    if let [Known::Int(start), Known::Int(end), Known::Int(step)] = &bounds[..]
        && let (&[start], &[end], &[step]) = (&start.data[..], &end.data[..], &step.data[..])
    {
        let length = count((i128::from(end) - i128::from(start)) as f64, step as f64)?;
        i.charge(&Shape::from([length]))?;
        let values = (0..length as i64).map(|at| start.wrapping_add(at.wrapping_mul(step)));
        return Ok(vec![computed_list(values.collect())]);
    }
    let [start, end, step] = [0, 1, 2].map(|at| bounds[at].scalar("a bound of a range"));
    let (start, end, step) = (f64::from(start?), f64::from(end?), f64::from(step?));
    let length = count(end - start, step)?;
    i.charge(&Shape::from([length]))?;
    let values = (0..length).map(|at| (start + at as f64 * step) as f32);
    Ok(vec![computed(Tensor::new([length], values.collect()))])
}

/// One number, repeated: an array of numbers is made when weights are bound, so a small file stays small here.
fn constant_of_shape(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let wanted = i.known(call.input(0)?, "the shape of a constant")?.ints("a shape")?;
    let dims = wanted.iter().map(|&extent| extent_of(extent, "an extent")).collect::<Result<Vec<_>, _>>()?;
    let shape = Shape::new(dims);
    let value = match call.tensor("value")? {
        Some(proto) => tensor::decode(proto, i.folder()).map_err(invalid)?,
        None => Tensor::scalar(0.0).into(),
    };
    let Known::Int(ints) = value else {
        let scalar = computed(Tensor::scalar(value.scalar("the value of a constant")?));
        if shape.dims().contains(&0) {
            return Ok(vec![computed(Tensor::new(shape, Vec::new()))]);
        }
        return Ok(vec![i.emit(&call.name, Expand { shape }, &[scalar])?]);
    };
    let &[value] = &ints.data[..] else {
        return Err(invalid("the value of a constant must be one number"));
    };
    let elements = i.charge(&shape)?;
    Ok(vec![computed(Ints { shape, data: vec![value; elements] })])
}

/// A function of two known arrays of integers that is true or false.
fn compare(i: &mut Importer, call: &Call, holds: fn(i64, i64) -> bool) -> Result<Vec<Value>, Fault> {
    let purpose = "an operand of a comparison";
    let a = i.known(call.input(0)?, purpose)?.clone();
    let b = i.known(call.input(1)?, purpose)?.clone();
    let (Known::Int(a), Known::Int(b)) = (&a, &b) else { return Err(not_at_run_time("a comparison")) };
    Ok(vec![integers(i, a, b, |a, b| Some(i64::from(holds(a, b))))?])
}

fn not(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let Known::Int(ints) = i.known(call.input(0)?, "what is negated")? else {
        return Err(invalid("a negation of numbers"));
    };
    let data = ints.data.iter().map(|&value| i64::from(value == 0)).collect();
    Ok(vec![computed(Ints { shape: ints.shape.clone(), data })])
}

/// `Where` with a condition that is known: of integers element by element, of other arrays as a whole.
fn choose(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let condition = i.known(call.input(0)?, "the condition of a choice")?.clone();
    let Known::Int(condition) = condition else { return Err(invalid("a condition is true or false")) };
    let (yes, no) = (call.input(1)?, call.input(2)?);
    if let (Value::Known(Known::Int(yes), _), Value::Known(Known::Int(no), _)) = (yes, no) {
        let yes = integers(i, &condition, yes, |c, value| Some(if c != 0 { value } else { 0 }))?;
        let no = integers(i, &condition, no, |c, value| Some(if c != 0 { 0 } else { value }))?;
        return Ok(vec![combine(i, &call.name, BinaryFunction::Add, yes, no)?]);
    }
    let first = condition.data.first().copied().unwrap_or(0) != 0;
    let all = condition.data.iter().all(|&value| (value != 0) == first);
    let (taken, other) = if first { (yes, no) } else { (no, yes) };
    let (shape, of_other) = (i.shape(taken)?, i.shape(other)?);
    let whole = condition.shape.broadcast(&shape).and_then(|both| both.broadcast(&of_other));
    if all && whole == Some(shape) { Ok(vec![taken.clone()]) } else { Err(not_at_run_time("Where")) }
}
