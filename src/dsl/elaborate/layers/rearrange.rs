//! Layers that move elements without computing with them.

use crate::dsl::diagnostics::Diagnostic;
use crate::dsl::elaborate::arguments::Arguments;
use crate::dsl::elaborate::value::Value;
use crate::dsl::elaborate::{Elaborator, Eval, windows};
use crate::ops::{Concat, Pad, PadMode, Reshape, ShapeError, Transpose};
use crate::tensor::Shape;

pub fn concat<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let inputs = arguments.several(e)?;
    let rank = e.graph.shape(inputs[0]).rank();
    let axis = arguments.axis(e, "axis", rank)?;
    e.add_plain(arguments, Concat { axis }, &inputs)
}

/// Joins all axes from `axis` on.
pub fn flatten<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let dims = e.graph.shape(x).dims().to_vec();
    let axis = arguments.axis(e, "axis", dims.len())?;
    let mut shape = dims[..axis].to_vec();
    shape.push(dims[axis..].iter().product());
    e.add_plain(arguments, Reshape { shape: Shape::new(shape) }, &[x])
}

/// One extent may be -1: what remains.
pub fn reshape<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let extents = arguments.integers(e, "shape")?;
    let (value, span) = arguments.get("shape");
    e.check_rank(extents.len(), span)?;
    let from = e.graph.shape(x).clone();
    let rest = extents.iter().filter(|&&extent| extent == -1).count();
    if rest > 1 || extents.iter().any(|&extent| extent < -1 || extent == 0) {
        return Err(e.fault(Diagnostic::error(
            "a shape has positive extents, and at most one -1 for what remains",
            span,
            format!("this is {value}"),
        )));
    }
    let mut known = extents.iter().filter(|&&extent| extent > 0);
    let known = known.try_fold(1usize, |product, &extent| product.checked_mul(usize::try_from(extent).ok()?));
    let remaining =
        known.filter(|known| from.elements().is_multiple_of(*known)).map(|known| from.elements() / known);
    let Some(remaining) = remaining.or((rest == 0).then_some(1)) else {
        let known = known.map_or_else(|| "more than memory holds".to_owned(), |known| known.to_string());
        return Err(e.mismatch(
            arguments,
            ShapeError::with_formula(
                format!("{from} cannot be reshaped to {value}"),
                format!("{} elements are no multiple of {known}", from.elements()),
            ),
            None,
        ));
    };
    let shape = extents.iter().map(|&extent| usize::try_from(extent).unwrap_or(remaining));
    e.add_plain(arguments, Reshape { shape: Shape::new(shape.collect::<Vec<_>>()) }, &[x])
}

pub fn transpose<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let permutation = arguments.extents(e, "permutation", 0)?;
    e.add_plain(arguments, Transpose { permutation }, &[x])
}

/// Pads height and width.
pub fn pad<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let value = arguments.float(e, "value")?;
    e.image(arguments, x)?;
    let [top, left, bottom, right] = windows::sides(e, arguments)?;
    let op = Pad {
        before: vec![0, 0, top, left],
        after: vec![0, 0, bottom, right],
        value,
        mode: PadMode::Constant,
    };
    e.add_plain(arguments, op, &[x])
}

/// Pads any axes, with a number or with what the array holds.
pub fn pad_axes<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let (before, after) = (arguments.extents(e, "before", 0)?, arguments.extents(e, "after", 0)?);
    let value = arguments.float(e, "value")?;
    let mode = match arguments.word(e, "filling", &["constant", "edge", "reflect", "wrap"])? {
        "constant" => PadMode::Constant,
        "edge" => PadMode::Edge,
        "reflect" => PadMode::Reflect,
        _ => PadMode::Wrap,
    };
    e.add_plain(arguments, Pad { before, after, value, mode }, &[x])
}
