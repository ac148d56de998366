//! Matrix products.

use super::Handler;
use super::elementwise::{combine, scale};
use super::rearrange::{reshape_to, transpose_to};
use crate::import::onnx::call::Call;
use crate::import::onnx::fault::{Fault, invalid};
use crate::import::onnx::importer::{Importer, Role, Value};
use crate::ops::{BinaryFunction, Dense, MatMul};
use crate::tensor::Shape;

pub const TABLE: &[(&str, Handler)] = &[("Gemm", gemm), ("MatMul", matmul)];

/// `alpha · A' · B' + beta · C`, where `'` may transpose.
fn gemm(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let (trans_a, trans_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
    // Before version 7 this said that C may be broadcast; now it always may.
    call.ignore("broadcast");
    let part = |what: &str| format!("{}.{what}", call.name);
    let mut a = call.input(0)?.clone();
    let b = call.input(1)?.clone();
    for (value, what) in [(&a, "A"), (&b, "B")] {
        let shape = i.shape(value)?;
        if shape.rank() != 2 {
            return Err(invalid(format!("{what} must be a matrix, not {shape}")));
        }
    }
    if trans_a {
        a = transpose_to(i, &part("a"), a, &[1, 0])?;
    }
    let addend = call.optional(2).cloned();
    let outputs = i.shape(&b)?.dims()[usize::from(!trans_b)];
    let is_bias =
        |i: &Importer, c: &Value| i.is_constant(c) && i.shape(c).is_ok_and(|shape| shape.dims() == [outputs]);
    let bias = match &addend {
        Some(c) if beta == 1.0 && alpha == 1.0 && i.is_constant(&b) && is_bias(i, c) => Some(c.clone()),
        _ => None,
    };
    let plain = alpha == 1.0 && (addend.is_none() || bias.is_some());
    let name = if plain { call.name.clone() } else { part("product") };
    let mut y = if i.is_constant(&b) {
        let b = if trans_b { b } else { transpose_to(i, &part("weight"), b, &[1, 0])? };
        product(i, &name, a, b, bias.clone())?
    } else {
        let b = if trans_b { transpose_to(i, &part("b"), b, &[1, 0])? } else { b };
        i.emit(&name, MatMul {}, &[a, b])?
    };
    if alpha != 1.0 {
        y = scale(i, &if addend.is_none() { call.name.clone() } else { part("scaled") }, y, alpha)?;
    }
    if let (Some(c), None) = (addend, bias) {
        let c = if beta == 1.0 { c } else { scale(i, &part("addend"), c, beta)? };
        y = combine(i, &call.name, BinaryFunction::Add, y, c)?;
    }
    Ok(vec![y])
}

/// `a [m, k]` times the transpose of the weights `b [n, k]`.
fn product(i: &mut Importer, name: &str, a: Value, b: Value, bias: Option<Value>) -> Result<Value, Fault> {
    let fan_in = i.shape(&b)?.dims()[1];
    let inputs: Vec<Value> = [a, b].into_iter().chain(bias).collect();
    i.emit_with(name, Dense {}, &inputs, &[Role::Other, Role::Weight { fan_in }, Role::Bias])
}

fn matmul(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let (a, b) = (call.input(0)?.clone(), call.input(1)?.clone());
    let (of_a, of_b) = (i.shape(&a)?, i.shape(&b)?);
    let part = |what: &str| format!("{}.{what}", call.name);
    let (Some((&k, outer)), false) = (of_a.dims().split_last(), of_b.rank() == 0) else {
        return Err(invalid("a scalar is no matrix"));
    };
    let (true, false, &[_, n]) = (i.is_constant(&b), i.is_constant(&a), of_b.dims()) else {
        return Ok(vec![batched(i, call, a, b)?]);
    };
    let b = transpose_to(i, &part("weight"), b, &[1, 0])?;
    if outer.len() == 1 {
        return Ok(vec![product(i, &call.name, a, b, None)?]);
    }
    let rows = reshape_to(i, &part("rows"), a, Shape::from([outer.iter().product(), k]))?;
    let y = product(i, &part("product"), rows, b, None)?;
    let dims: Vec<usize> = outer.iter().copied().chain([n]).collect();
    Ok(vec![reshape_to(i, &call.name, y, Shape::new(dims))?])
}

/// A product of any two arrays; those of one axis are a row at the left and a column at the right.
fn batched(i: &mut Importer, call: &Call, mut a: Value, mut b: Value) -> Result<Value, Fault> {
    let (of_a, of_b) = (i.shape(&a)?, i.shape(&b)?);
    let part = |what: &str| format!("{}.{what}", call.name);
    let (row, column) = (of_a.rank() == 1, of_b.rank() == 1);
    if row {
        a = reshape_to(i, &part("row"), a, Shape::from([1, of_a.dims()[0]]))?;
    }
    if column {
        b = reshape_to(i, &part("column"), b, Shape::from([of_b.dims()[0], 1]))?;
    }
    if !row && !column {
        return i.emit(&call.name, MatMul {}, &[a, b]);
    }
    let y = i.emit(&part("product"), MatMul {}, &[a, b])?;
    let mut dims = i.shape(&y)?.dims().to_vec();
    if column {
        dims.pop();
    }
    if row {
        dims.remove(dims.len() - if column { 1 } else { 2 });
    }
    reshape_to(i, &call.name, y, Shape::new(dims))
}
