//! Functions of single elements.

use std::sync::Arc;

use super::Handler;
use super::rearrange::reshape_to;
use crate::import::onnx::call::{Call, axis_of};
use crate::import::onnx::fault::{Fault, invalid, unsupported};
use crate::import::onnx::importer::{Importer, Value, computed};
use crate::import::onnx::known::{Ints, Known};
use crate::ops::{Activation, Binary, BinaryFunction, Unary, UnaryFunction};
use crate::tensor::{Shape, Tensor};

pub const TABLE: &[(&str, Handler)] = &[
    ("Relu", |i, call| activate(i, call, Activation::Relu)),
    ("Sigmoid", |i, call| activate(i, call, Activation::Sigmoid)),
    ("Tanh", |i, call| activate(i, call, Activation::Tanh)),
    ("HardSwish", |i, call| activate(i, call, Activation::HardSwish)),
    ("LeakyRelu", |i, call| {
        let slope = call.float("alpha", 0.01)?;
        activate(i, call, Activation::LeakyRelu { slope })
    }),
    ("HardSigmoid", |i, call| {
        let (alpha, beta) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
        activate(i, call, Activation::HardSigmoid { alpha, beta })
    }),
    ("Elu", |i, call| {
        let alpha = call.float("alpha", 1.0)?;
        activate(i, call, Activation::Elu { alpha })
    }),
    ("Selu", |i, call| {
        // Version 1 has rounded defaults.
        let (alpha, gamma) = if call.opset < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
        let (alpha, gamma) = (call.float("alpha", alpha)?, call.float("gamma", gamma)?);
        activate(i, call, Activation::Selu { alpha, gamma })
    }),
    ("Softplus", |i, call| activate(i, call, Activation::Softplus)),
    ("Mish", |i, call| activate(i, call, Activation::Mish)),
    ("Softsign", softsign),
    ("PRelu", prelu),
    ("Pow", pow),
    ("Reciprocal", reciprocal),
    ("Log", |i, call| unary(i, call, UnaryFunction::Log)),
    ("Erf", |i, call| unary(i, call, UnaryFunction::Erf)),
    ("Clip", clip),
    ("Sqrt", |i, call| unary(i, call, UnaryFunction::Sqrt)),
    ("Exp", |i, call| unary(i, call, UnaryFunction::Exp)),
    ("Neg", |i, call| unary(i, call, UnaryFunction::Neg)),
    ("Abs", |i, call| unary(i, call, UnaryFunction::Abs)),
    ("Add", |i, call| binary(i, call, BinaryFunction::Add)),
    ("Sub", |i, call| binary(i, call, BinaryFunction::Sub)),
    ("Mul", |i, call| binary(i, call, BinaryFunction::Mul)),
    ("Div", |i, call| binary(i, call, BinaryFunction::Div)),
    ("Max", |i, call| fold(i, call, BinaryFunction::Max)),
    ("Min", |i, call| fold(i, call, BinaryFunction::Min)),
    ("Sum", |i, call| fold(i, call, BinaryFunction::Add)),
];

fn activate(i: &mut Importer, call: &Call, activation: Activation) -> Result<Vec<Value>, Fault> {
    call.ignore("consumed_inputs");
    Ok(vec![i.emit(&call.name, activation, &[call.input(0)?.clone()])?])
}

fn unary(i: &mut Importer, call: &Call, function: UnaryFunction) -> Result<Vec<Value>, Fault> {
    call.ignore("consumed_inputs");
    let x = call.input(0)?;
    if let Value::Known(Known::Int(ints), _) = x {
        let apply = match function {
            UnaryFunction::Neg => i64::wrapping_neg,
            UnaryFunction::Abs => i64::wrapping_abs,
            _ => return Err(invalid(format!("{} of integers", function.name()))),
        };
        let data = ints.data.iter().map(|&value| apply(value)).collect();
        return Ok(vec![computed(Ints { shape: ints.shape.clone(), data })]);
    }
    Ok(vec![i.emit(&call.name, Unary { function }, std::slice::from_ref(x))?])
}

/// `x / (1 + |x|)`
fn softsign(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let part = |what: &str| format!("{}.{what}", call.name);
    let magnitude = i.emit(&part("abs"), Unary { function: UnaryFunction::Abs }, std::slice::from_ref(&x))?;
    let one = computed(Tensor::scalar(1.0));
    let denominator = combine(i, &part("add"), BinaryFunction::Add, magnitude, one)?;
    Ok(vec![combine(i, &call.name, BinaryFunction::Div, x, denominator)?])
}

fn reciprocal(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    call.ignore("consumed_inputs");
    let one = computed(Tensor::scalar(1.0));
    Ok(vec![combine(i, &call.name, BinaryFunction::Div, one, call.input(0)?.clone())?])
}

fn prelu(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    call.ignore("consumed_inputs");
    let (x, mut slope) = (call.input(0)?.clone(), call.input(1)?.clone());
    let (shape, of_slope) = (i.shape(&x)?, i.shape(&slope)?);
    // Before version 7 there was one slope for each channel, or one for all.
    if call.opset < 7 && of_slope.rank() == 1 && shape.rank() > 2 && of_slope.dims() != [1] {
        let mut dims = vec![1; shape.rank() - 1];
        dims[0] = of_slope.dims()[0];
        slope = reshape_to(i, &format!("{}.slope", call.name), slope, Shape::new(dims))?;
    }
    Ok(vec![combine(i, &call.name, BinaryFunction::Prelu, x, slope)?])
}

/// Powers that take an operation or two are written so.
fn pow(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let (x, mut exponent) = (call.input(0)?.clone(), call.input(1)?.clone());
    if call.opset < 7 {
        exponent = aligned(i, call, &x, exponent)?;
    }
    if let Value::Known(known @ Known::Int(_), name) = &exponent
        && !matches!(x, Value::Known(Known::Int(_), _))
    {
        exponent = Value::Known(known.convert(true), Arc::clone(name));
    }
    let number = match &exponent {
        Value::Known(known, _) if known.elements() == 1 => known.scalar("an exponent").ok(),
        _ => None,
    };
    let widens = i.shape(&exponent)?.rank() > i.shape(&x)?.rank();
    Ok(vec![match number.filter(|_| !widens) {
        Some(2.0) => combine(i, &call.name, BinaryFunction::Mul, x.clone(), x)?,
        Some(0.5) => i.emit(&call.name, Unary { function: UnaryFunction::Sqrt }, &[x])?,
        Some(-1.0) => combine(i, &call.name, BinaryFunction::Div, computed(Tensor::scalar(1.0)), x)?,
        _ => combine(i, &call.name, BinaryFunction::Pow, x, exponent)?,
    }])
}

fn clip(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    call.ignore("consumed_inputs");
    let x = call.input(0)?.clone();
    let (low, high) = (call.optional_float("min")?, call.optional_float("max")?);
    let (least, greatest) = (call.optional(1), call.optional(2));
    let number = |bound: Option<&Value>, or: Option<f32>| match bound {
        None => Some(or),
        Some(Value::Known(known, _)) => known.scalar("a bound").ok().map(Some),
        Some(_) => None,
    };
    if let (Some(min), Some(max)) = (number(least, low), number(greatest, high)) {
        let (min, max) = (min.unwrap_or(f32::NEG_INFINITY), max.unwrap_or(f32::INFINITY));
        let activation = match (min, max) {
            (f32::NEG_INFINITY, f32::INFINITY) => return Ok(vec![x]),
            (0.0, 6.0) => Activation::Relu6,
            (0.0, f32::INFINITY) => Activation::Relu,
            _ => Activation::Clip { min, max },
        };
        return Ok(vec![i.emit(&call.name, activation, &[x])?]);
    }
    // Bounds that are computed when the network runs.
    let mut y = x;
    if let Some(least) = least {
        let name = if greatest.is_some() { format!("{}.min", call.name) } else { call.name.clone() };
        y = combine(i, &name, BinaryFunction::Max, y, least.clone())?;
    }
    if let Some(greatest) = greatest {
        y = combine(i, &call.name, BinaryFunction::Min, y, greatest.clone())?;
    }
    Ok(vec![y])
}

fn binary(i: &mut Importer, call: &Call, function: BinaryFunction) -> Result<Vec<Value>, Fault> {
    call.ignore("consumed_inputs");
    let (a, b) = (call.input(0)?.clone(), call.input(1)?.clone());
    let b = if call.opset < 7 { aligned(i, call, &a, b)? } else { b };
    Ok(vec![combine(i, &call.name, function, a, b)?])
}

/// Before version 7, an operand was broadcast only where `broadcast` said so, aligned at `axis`.
pub fn aligned(i: &mut Importer, call: &Call, a: &Value, b: Value) -> Result<Value, Fault> {
    let broadcast = call.flag("broadcast", false)?;
    let axis = call.int("axis", i64::MAX)?;
    if !broadcast || axis == i64::MAX {
        return Ok(b);
    }
    let (of_a, of_b) = (i.shape(a)?, i.shape(&b)?);
    let start = axis_of(axis, of_a.rank())?;
    let Some(behind) = of_a.rank().checked_sub(start + of_b.rank()) else {
        return Err(invalid(format!("{of_b} does not fit {of_a} from axis {axis} on")));
    };
    let mut dims = of_b.dims().to_vec();
    dims.extend(std::iter::repeat_n(1, behind));
    reshape_to(i, &format!("{}.aligned", call.name), b, Shape::new(dims))
}

/// An operator of any number of arrays, as one of two after another.
fn fold(i: &mut Importer, call: &Call, function: BinaryFunction) -> Result<Vec<Value>, Fault> {
    call.ignore("consumed_inputs");
    let inputs = call.several()?;
    let last = inputs.len() - 1;
    let mut inputs = inputs.into_iter().enumerate();
    let (_, mut y) = inputs.next().expect("there is one");
    for (at, x) in inputs {
        let name = if at == last { call.name.clone() } else { format!("{}.{at}", call.name) };
        y = combine(i, &name, function, y, x)?;
    }
    Ok(vec![y])
}

/// `a ∘ b` with broadcasting, of integers at once.
pub fn combine(
    i: &mut Importer,
    name: &str,
    function: BinaryFunction,
    a: Value,
    b: Value,
) -> Result<Value, Fault> {
    if let (Value::Known(Known::Int(a), _), Value::Known(Known::Int(b), _)) = (&a, &b) {
        return integers(i, a, b, |a, b| match function {
            BinaryFunction::Add => Some(a.wrapping_add(b)),
            BinaryFunction::Sub => Some(a.wrapping_sub(b)),
            BinaryFunction::Mul => Some(a.wrapping_mul(b)),
            BinaryFunction::Div => a.checked_div(b),
            BinaryFunction::Max => Some(a.max(b)),
            BinaryFunction::Min => Some(a.min(b)),
            BinaryFunction::Pow => u32::try_from(b).ok().map(|b| a.wrapping_pow(b)),
            BinaryFunction::Prelu => Some(if a > 0 { a } else { a.wrapping_mul(b) }),
        });
    }
    i.emit(name, Binary { function }, &[a, b])
}

/// A function of two arrays of integers with broadcasting; `None` where it has no value.
pub fn integers(
    i: &mut Importer,
    a: &Ints,
    b: &Ints,
    function: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Value, Fault> {
    let shape = a.shape.broadcast(&b.shape);
    let shape = shape.ok_or_else(|| invalid(format!("{} and {} do not broadcast", a.shape, b.shape)))?;
    i.charge(&shape)?;
    let read = |from: &Ints, at: &[usize]| {
        let skipped = at.len() - from.shape.rank();
        let strides = from.shape.strides();
        let own = at[skipped..].iter().zip(from.shape.dims()).zip(strides);
        from.data[own.map(|((&at, &dim), stride)| if dim == 1 { 0 } else { at * stride }).sum::<usize>()]
    };
    let mut data = Vec::new();
    let mut undefined = false;
    Tensor::from_fn(shape.clone(), |at| {
        match function(read(a, at), read(b, at)) {
            Some(value) => data.push(value),
            None => undefined = true,
        }
        0.0
    });
    if undefined { Err(invalid("an integer is divided by zero")) } else { Ok(computed(Ints { shape, data })) }
}

/// `x · factor`
pub fn scale(i: &mut Importer, name: &str, x: Value, factor: f32) -> Result<Value, Fault> {
    combine(i, name, BinaryFunction::Mul, x, computed(Tensor::scalar(factor)))
}

/// # Errors
/// Always: for functions that are defined on known arrays only.
pub fn not_at_run_time(operator: &str) -> Fault {
    unsupported(format!("{operator} of values that are computed when the network runs"))
}
