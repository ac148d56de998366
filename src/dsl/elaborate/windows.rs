//! Padding as model files write it.

use super::arguments::Arguments;
use super::value::Value;
use super::{Elaborator, Eval};
use crate::dsl::diagnostics::Diagnostic;
use crate::spelling::closest;

/// `[top, left, bottom, right]` of a window over an image of extents `[h, w]`.
///
/// The argument is one number for all sides, `[vertical, horizontal]`, all four sides, `valid` (none), or
/// `same`: as TensorFlow pads, so that the output has ⌈extent / stride⌉, the odd one at the bottom and right.
pub(super) fn padding<'a>(
    e: &mut Elaborator<'a>,
    arguments: &Arguments<'a>,
    image: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Eval<[usize; 4]> {
    let (value, span) = arguments.get("padding");
    let Value::Text(word) = &value else { return sides(e, arguments) };
    match &**word {
        "valid" => Ok([0; 4]),
        "same" => {
            let total = |axis: usize| {
                let reach = (kernel[axis] - 1) * dilation[axis] + 1;
                let last = (image[axis].div_ceil(stride[axis]).max(1) - 1) * stride[axis];
                (last + reach).saturating_sub(image[axis])
            };
            let (vertical, horizontal) = (total(0), total(1));
            let (top, left) = (vertical / 2, horizontal / 2);
            Ok([top, left, vertical - top, horizontal - left])
        }
        other => {
            let hint = closest(other, ["same", "valid"]).map(|word| format!("did you mean `{word}`?"));
            Err(e.fault(
                Diagnostic::error(
                    format!("`padding` is a number, a list, `same` or `valid`, not \"{other}\""),
                    span,
                    "here",
                )
                .help_if(hint),
            ))
        }
    }
}

/// `[top, left, bottom, right]` from one, two or four numbers.
pub(super) fn sides<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<[usize; 4]> {
    let (value, span) = arguments.get("padding");
    if !matches!(value, Value::List(_)) {
        return e.extent_of(&value, span, "`padding`", 0).map(|all| [all; 4]);
    }
    let sides = e.extents_of(&value, span, "`padding`", 0)?;
    match sides[..] {
        [vertical, horizontal] => Ok([vertical, horizontal, vertical, horizontal]),
        [top, left, bottom, right] => Ok([top, left, bottom, right]),
        _ => Err(e.fault(
            Diagnostic::error(
                format!("`padding` is one, two or four numbers, not {}", sides.len()),
                span,
                format!("this is {value}"),
            )
            .help("`1`, `[vertical, horizontal]` or `[top, left, bottom, right]`"),
        )),
    }
}
