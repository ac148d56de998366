//! Normalisation, softmax and dropout.

use super::Handler;
use super::elementwise::{combine, scale as weigh};
use super::rearrange::reshape_to;
use crate::import::onnx::call::{Call, axis_of, extent_of};
use crate::import::onnx::fault::{Fault, invalid, unsupported};
use crate::import::onnx::importer::{Importer, Role, Value};
use crate::ops::{BatchNorm, BinaryFunction, Identity, Lrn, Reduce, ReduceFunction, Softmax, Statistics};
use crate::tensor::Shape;

pub const TABLE: &[(&str, Handler)] = &[
    ("BatchNormalization", batch_norm),
    ("LRN", lrn),
    ("Softmax", |i, call| softmax(i, call, false)),
    ("LogSoftmax", |i, call| softmax(i, call, true)),
    ("Dropout", dropout),
];

fn batch_norm(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let epsilon = call.float("epsilon", 1e-5)?;
    call.ignore("consumed_inputs");
    call.ignore("momentum");
    if call.opset < 9 && !call.flag("spatial", true)? {
        return Err(unsupported("'spatial' = 0, statistics for each pixel, is not supported"));
    }
    let inputs = (0..5).map(|at| call.input(at).cloned()).collect::<Result<Vec<_>, _>>()?;
    if call.flag("training_mode", false)? {
        return batch_statistics(i, call, inputs, epsilon);
    }
    // Before version 14, asking for the statistics meant training.
    call.ignore("is_test");
    call.only_outputs(1, "the statistics of training")?;
    let roles = [Role::Other, Role::Scale, Role::Other, Role::Other, Role::Variance];
    let op = BatchNorm { epsilon, statistics: Statistics::Running };
    Ok(vec![i.emit_with(&call.name, op, &inputs, &roles)?])
}

fn lrn(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let size = extent_of(call.int("size", 0)?, "size")?;
    let (alpha, beta) = (call.float("alpha", 1e-4)?, call.float("beta", 0.75)?);
    let op = Lrn { size, alpha, beta, bias: call.float("bias", 1.0)? };
    Ok(vec![i.emit(&call.name, op, &[call.input(0)?.clone()])?])
}

fn softmax(i: &mut Importer, call: &Call, log: bool) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let shape = i.shape(&x)?;
    let axis = axis_of(call.int("axis", if call.opset < 13 { 1 } else { -1 })?, shape.rank())?;
    let (outer, inner) = shape.dims().split_at(axis);
    if call.opset >= 13 || inner[1..].iter().all(|&extent| extent == 1) {
        return Ok(vec![i.emit(&call.name, Softmax { axis, log }, &[x])?]);
    }
    // Older versions normalise over all axes from `axis` on.
    let rows = Shape::from([outer.iter().product(), inner.iter().product()]);
    let rows = reshape_to(i, &format!("{}.rows", call.name), x, rows)?;
    let y = i.emit(&format!("{}.softmax", call.name), Softmax { axis: 1, log }, &[rows])?;
    Ok(vec![reshape_to(i, &call.name, y, shape)?])
}

fn dropout(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    call.ignore("seed");
    call.ignore("is_test");
    call.ignore("consumed_inputs");
    let ratio = call.float("ratio", 0.5)?;
    let x = call.input(0)?.clone();
    let training = match call.optional(2) {
        Some(training) => i.known(training, "whether a dropout trains")?.scalar("training_mode")? != 0.0,
        None => false,
    };
    if training {
        let ratio = match call.optional(1) {
            Some(ratio) => i.known(ratio, "the ratio of a dropout")?.scalar("ratio")?,
            None => 0.5,
        };
        if ratio != 0.0 {
            return Err(unsupported("dropout in training mode: kiln infers and draws no random numbers"));
        }
    }
    if !(0.0..=1.0).contains(&ratio) {
        return Err(invalid(format!("a dropout's ratio lies between 0 and 1, but is {ratio}")));
    }
    let y = match x {
        Value::Known(..) => x,
        x => i.emit(&call.name, Identity { dropout: Some(ratio) }, &[x])?,
    };
    Ok(vec![y, Value::Refused("it reads the mask of a dropout, which is not computed")])
}

/// Normalises with the batch's own statistics; the running ones move towards these.
fn batch_statistics(
    i: &mut Importer,
    call: &Call,
    inputs: Vec<Value>,
    epsilon: f32,
) -> Result<Vec<Value>, Fault> {
    let momentum = call.float("momentum", 0.9)?;
    let [x, scale, shift, mean, variance] =
        <[Value; 5]>::try_from(inputs).map_err(|_| invalid("a batch norm has five inputs"))?;
    let roles = [Role::Other, Role::Scale, Role::Other];
    let op = BatchNorm { epsilon, statistics: Statistics::Batch };
    let y = i.emit_with(&call.name, op, &[x.clone(), scale, shift], &roles)?;
    if call.outputs() < 2 {
        return Ok(vec![y]);
    }
    let axes: Vec<usize> = (0..i.shape(&x)?.rank()).filter(|&axis| axis != 1).collect();
    let part = |what: &str| format!("{}.{what}", call.name);
    let average = |i: &mut Importer, what: &str, x: Value, keep_axes: bool| {
        i.emit(&part(what), Reduce { function: ReduceFunction::Mean, axes: axes.clone(), keep_axes }, &[x])
    };
    let centre = average(i, "batch_mean_kept", x.clone(), true)?;
    let distance = combine(i, &part("distance"), BinaryFunction::Sub, x.clone(), centre)?;
    let squares = combine(i, &part("squares"), BinaryFunction::Mul, distance.clone(), distance)?;
    let batch = [average(i, "batch_mean", x, false)?, average(i, "batch_variance", squares, false)?];
    let mut outputs = vec![y];
    for ((running, batch), what) in [mean, variance].into_iter().zip(batch).zip(["mean", "variance"]) {
        let old = weigh(i, &part(&format!("old_{what}")), running, momentum)?;
        let new = weigh(i, &part(&format!("new_{what}")), batch, 1.0 - momentum)?;
        outputs.push(combine(i, &part(what), BinaryFunction::Add, old, new)?);
    }
    Ok(outputs)
}
