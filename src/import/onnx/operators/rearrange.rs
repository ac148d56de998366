//! Operators that move elements without computing with them.

use super::Handler;
use super::elementwise::integers;
use crate::import::onnx::call::{Call, axes_of, axis_of, extent_of};
use crate::import::onnx::fault::{Fault, invalid};
use crate::import::onnx::importer::{FOLDED_ELEMENTS, Importer, Value, computed};
use crate::import::onnx::known::{Ints, Known};
use crate::ops::{Concat, DepthToSpace, Expand, Identity, Reshape, SpaceToDepth, Transpose};
use crate::tensor::Shape;

pub const TABLE: &[(&str, Handler)] = &[
    ("Concat", concat),
    ("DepthToSpace", depth_to_space),
    ("Expand", expand),
    ("Flatten", flatten),
    ("Identity", identity),
    ("Reshape", reshape),
    ("SpaceToDepth", space_to_depth),
    ("Squeeze", squeeze),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
];

/// `value` under another shape of as many elements; known arrays at once.
pub fn reshape_to(i: &mut Importer, name: &str, value: Value, shape: Shape) -> Result<Value, Fault> {
    let from = i.shape(&value)?;
    if from == shape {
        return Ok(value);
    }
    match &value {
        Value::Known(known, _)
            if known.elements() <= FOLDED_ELEMENTS && shape.checked_elements() == Some(known.elements()) =>
        {
            i.charge(&shape)?;
            Ok(computed(known.reshaped(shape)))
        }
        _ => i.emit(name, Reshape { shape }, &[value]),
    }
}

/// `value` with its axes in another order.
pub fn transpose_to(
    i: &mut Importer,
    name: &str,
    value: Value,
    permutation: &[usize],
) -> Result<Value, Fault> {
    if permutation.is_sorted() {
        return Ok(value);
    }
    if let Value::Known(Known::Int(ints), _) = &value {
        let op = Transpose { permutation: permutation.to_vec() };
        let shape = crate::ops::Operator::infer(&op, &[&ints.shape])?;
        i.charge(&shape)?;
        let strides = ints.shape.strides();
        let strides: Vec<usize> = permutation.iter().map(|&axis| strides[axis]).collect();
        let data = indices(&shape).map(|at| ints.data[dot(&at, &strides)]).collect();
        return Ok(computed(Ints { shape, data }));
    }
    i.emit(name, Transpose { permutation: permutation.to_vec() }, &[value])
}

/// All multi-indices of a shape, in row-major order.
pub fn indices(shape: &Shape) -> impl Iterator<Item = Vec<usize>> {
    let (dims, strides) = (shape.dims().to_vec(), shape.strides());
    let elements = shape.checked_elements().unwrap_or(0);
    (0..elements).map(move |at| dims.iter().zip(&strides).map(|(&dim, &stride)| at / stride % dim).collect())
}

pub fn dot(at: &[usize], strides: &[usize]) -> usize {
    at.iter().zip(strides).map(|(at, stride)| at * stride).sum()
}

fn identity(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    Ok(vec![match x {
        Value::Node(_) => i.emit(&call.name, Identity { dropout: None }, &[x])?,
        known => known,
    }])
}

fn reshape(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    call.ignore("consumed_inputs");
    let x = call.input(0)?.clone();
    let allow_zero = call.flag("allowzero", false)?;
    let wanted = match call.ints("shape")? {
        Some(shape) if call.opset < 5 => shape.to_vec(),
        _ => i.known(call.input(1)?, "the shape of a reshape")?.ints("a shape")?.to_vec(),
    };
    let from = i.shape(&x)?;
    let mut dims = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, &extent) in wanted.iter().enumerate() {
        dims.push(match extent {
            0 if !allow_zero => *from.dims().get(axis).ok_or_else(|| {
                invalid(format!("the extent 0 of {wanted:?} copies axis {axis}, which {from} does not have"))
            })?,
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            extent => usize::try_from(extent).map_err(|_| {
                invalid(format!("{wanted:?} is no shape: extents are positive, one may be -1"))
            })?,
        });
    }
    if let Some(open) = open {
        let known = Shape::new(dims.clone()).checked_elements().filter(|&known| known > 0);
        let elements = from.checked_elements().unwrap_or(0);
        let Some(known) = known.filter(|known| elements.is_multiple_of(*known)) else {
            return Err(invalid(format!("{from} cannot be reshaped to {wanted:?}")));
        };
        dims[open] = elements / known;
    }
    Ok(vec![reshape_to(i, &call.name, x, Shape::new(dims))?])
}

fn flatten(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let shape = i.shape(&x)?;
    let rank = i64::try_from(shape.rank()).unwrap_or(i64::MAX);
    let axis = match call.int("axis", 1)? {
        axis if axis == rank => shape.rank(),
        axis => axis_of(axis, shape.rank())?,
    };
    let (outer, inner) = shape.dims().split_at(axis);
    let rows = Shape::from([outer.iter().product(), inner.iter().product()]);
    Ok(vec![reshape_to(i, &call.name, x, rows)?])
}

/// The axes that an attribute names in older versions and an input in newer ones.
pub fn listed_axes(i: &Importer, call: &Call, input: usize) -> Result<Option<Vec<i64>>, Fault> {
    if let Some(axes) = call.ints("axes")? {
        return Ok(Some(axes.to_vec()));
    }
    match call.optional(input) {
        None => Ok(None),
        Some(axes) => Ok(Some(i.known(axes, "a list of axes")?.ints("axes")?.to_vec())),
    }
}

fn squeeze(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let shape = i.shape(&x)?;
    let axes = match listed_axes(i, call, 1)? {
        Some(axes) => axes_of(&axes, shape.rank())?,
        None => (0..shape.rank()).filter(|&axis| shape.dims()[axis] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|&&axis| shape.dims()[axis] != 1) {
        return Err(invalid(format!("axis {axis} of {shape} is not 1 and cannot be removed")));
    }
    let kept = (0..shape.rank()).filter(|axis| !axes.contains(axis)).map(|axis| shape.dims()[axis]);
    let kept = Shape::new(kept.collect::<Vec<_>>());
    Ok(vec![reshape_to(i, &call.name, x, kept)?])
}

fn unsqueeze(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let shape = i.shape(&x)?;
    let axes = listed_axes(i, call, 1)?.ok_or_else(|| invalid("the axes are missing"))?;
    let axes = axes_of(&axes, shape.rank() + axes.len())?;
    let mut dims = shape.dims().to_vec();
    for axis in axes {
        dims.insert(axis, 1);
    }
    Ok(vec![reshape_to(i, &call.name, x, Shape::new(dims))?])
}

fn transpose(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let rank = i.shape(&x)?.rank();
    let permutation: Vec<usize> = match call.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(axes) => axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<_, _>>()?,
    };
    let mut sorted = permutation.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(invalid(format!("{permutation:?} does not permute {rank} axes")));
    }
    Ok(vec![transpose_to(i, &call.name, x, &permutation)?])
}

fn concat(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let inputs = call.several()?;
    let shapes = inputs.iter().map(|input| i.shape(input)).collect::<Result<Vec<_>, _>>()?;
    let axis = axis_of(call.int("axis", 1)?, shapes[0].rank())?;
    let op = Concat { axis };
    let integers: Option<Vec<&Ints>> = inputs
        .iter()
        .map(|input| match input {
            Value::Known(Known::Int(ints), _) => Some(ints),
            _ => None,
        })
        .collect();
    if let Some(integers) = integers {
        let shape = crate::ops::Operator::infer(&op, &shapes.iter().collect::<Vec<_>>())?;
        i.charge(&shape)?;
        let outer: usize = shape.dims()[..axis].iter().product();
        let mut data = Vec::new();
        for at in 0..outer {
            for part in &integers {
                let length = part.data.len() / outer;
                data.extend(&part.data[at * length..][..length]);
            }
        }
        return Ok(vec![computed(Ints { shape, data })]);
    }
    // An operand without elements adds nothing.
    let filled = |(input, shape): (Value, &Shape)| (!shape.dims().contains(&0)).then_some(input);
    let filled: Vec<Value> = inputs.clone().into_iter().zip(&shapes).filter_map(filled).collect();
    let operands = if filled.is_empty() { inputs } else { filled };
    Ok(vec![i.emit(&call.name, op, &operands)?])
}

fn expand(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let wanted = i.known(call.input(1)?, "the shape of an expansion")?.ints("a shape")?;
    let dims = wanted.iter().map(|&extent| extent_of(extent, "an extent")).collect::<Result<Vec<_>, _>>()?;
    let (from, wanted) = (i.shape(&x)?, Shape::new(dims));
    let Some(shape) = from.broadcast(&wanted) else {
        return Err(invalid(format!("{from} and {wanted} do not broadcast")));
    };
    if let Value::Known(Known::Int(ints), _) = &x {
        let elements = i.charge(&shape)?;
        let zeros = Ints { shape, data: vec![0; elements] };
        return Ok(vec![integers(i, ints, &zeros, |a, _| Some(a))?]);
    }
    Ok(vec![if shape == from { x } else { i.emit(&call.name, Expand { shape }, &[x])? }])
}

fn depth_to_space(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let block = extent_of(call.int("blocksize", 0)?, "blocksize")?;
    let blocks_first = match call.text("mode", "DCR")? {
        "DCR" => true,
        "CRD" => false,
        other => return Err(invalid(format!("the mode '{other}' is neither DCR nor CRD"))),
    };
    Ok(vec![i.emit(&call.name, DepthToSpace { block, blocks_first }, &[call.input(0)?.clone()])?])
}

fn space_to_depth(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let block = extent_of(call.int("blocksize", 0)?, "blocksize")?;
    Ok(vec![i.emit(&call.name, SpaceToDepth { block }, &[call.input(0)?.clone()])?])
}
