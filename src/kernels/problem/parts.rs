//! The parts of problem strings that several families share.

use super::cursor::{Cursor, ProblemError};
use crate::kernels::product::{Order, Tile};
use crate::kernels::{FusedEpilogue, FusedStep, View};
use crate::ops::{Activation, Operator, Window};
use crate::tensor::Shape;

/// The largest extent, stride or offset in a problem string.
const MOST: usize = (1 << 31) - 1;

/// The most elements of an array: a kernel alone gets memory for all of its arrays.
const MOST_ELEMENTS: usize = 1 << 28;

/// The most pixels times vectors of a tile, and pixels of a depthwise kernel: beyond any register file.
const MOST_TILE: usize = 64;

/// The geometry of a convolution, as `conv::geometry` writes it.
#[derive(Clone, Copy)]
pub struct Geometry {
    pub groups: usize,
    /// `[n, c, h, w]`
    pub x: [usize; 4],
    /// `[n, o, h', w']`
    pub y: [usize; 4],
    pub kernel: [usize; 2],
    pub window: Window,
}

pub fn geometry(c: &mut Cursor) -> Result<Geometry, ProblemError> {
    let start = c.place();
    let groups = c.field("g", 1..=MOST)?.unwrap_or(1);
    let images = c.field("mb", 1..=MOST)?.unwrap_or(1);
    let mut extent = |word: &str, what: &str| {
        c.expect(word, what)?;
        c.number(1..=MOST)
    };
    let [channels, height, width] =
        [extent("ic", "input channels")?, extent("ih", "input height")?, extent("iw", "input width")?];
    let outputs = extent("oc", "output channels")?;
    c.expect("oh", "output height")?;
    let oh = (c.place(), c.number(1..=MOST)?);
    c.expect("ow", "output width")?;
    let ow = (c.place(), c.number(1..=MOST)?);
    c.expect("kh", "kernel height")?;
    let kh = c.number(1..=MOST)?;
    c.expect("kw", "kernel width")?;
    let kernel = [kh, c.number(1..=MOST)?];
    let window = window(c)?;
    if !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
        return Err(c.blame(start, "groups that divide the channels".to_owned()));
    }
    let (x, y) = ([images, channels, height, width], [images, outputs, oh.1, ow.1]);
    check_size(c, start, &x)?;
    check_size(c, start, &y)?;
    check_size(c, start, &[outputs, channels / groups, kernel[0], kernel[1]])?;
    for (axis, (place, given)) in [oh, ow].into_iter().enumerate() {
        let name = ["height", "width"][axis];
        match window.output_extent(axis, x[2 + axis], kernel[axis], false) {
            Ok(extent) if extent == given => {}
            Ok(extent) => return Err(c.blame(place, format!("{extent}, the output {name} of this window,"))),
            Err(error) => return Err(c.blame(place, format!("another window ({error})"))),
        }
    }
    Ok(Geometry { groups, x, y, kernel, window })
}

/// `sh2sw2ph1pw1pb0pr0dh2dw2`, where each pair is there if it is not the usual.
fn window(c: &mut Cursor) -> Result<Window, ProblemError> {
    let mut pair = |first: &str, second: &str, what: &str, fewest: usize| {
        let Some(a) = c.field(first, fewest..=MOST)? else { return Ok(None) };
        c.expect(second, what)?;
        Ok(Some([a, c.number(fewest..=MOST)?]))
    };
    let stride = pair("sh", "sw", "horizontal stride", 1)?.unwrap_or([1, 1]);
    let [top, left] = pair("ph", "pw", "left padding", 0)?.unwrap_or([0, 0]);
    let [bottom, right] = pair("pb", "pr", "right padding", 0)?.unwrap_or([top, left]);
    let dilation = pair("dh", "dw", "horizontal dilation", 1)?.unwrap_or([1, 1]);
    Ok(Window { stride, padding: [top, left, bottom, right], dilation })
}

pub fn check_size(c: &Cursor, place: usize, dims: &[usize]) -> Result<(), ProblemError> {
    let elements = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    match elements {
        Some(elements) if elements <= MOST_ELEMENTS => Ok(()),
        _ => Err(c.blame(place, format!("arrays of at most {MOST_ELEMENTS} elements"))),
    }
}

/// `n1c64h56w56`, `a1b1000` or `scalar`.
pub fn dims(c: &mut Cursor) -> Result<Vec<usize>, ProblemError> {
    let start = c.place();
    let mut dims = Vec::new();
    if c.eat("scalar") {
        return Ok(dims);
    }
    if c.eat("n") {
        dims.push(c.number(1..=MOST)?);
        for (name, what) in [("c", "channels"), ("h", "height"), ("w", "width")] {
            c.expect(name, what)?;
            dims.push(c.number(1..=MOST)?);
        }
    } else {
        for letter in 'a'..='z' {
            match c.field(letter.encode_utf8(&mut [0; 4]), 1..=MOST)? {
                Some(dim) => dims.push(dim),
                None => break,
            }
        }
        if dims.is_empty() || dims.len() == 4 {
            return Err(c.blame(start, "extents such as n1c64h56w56 or a1b1000".to_owned()));
        }
    }
    check_size(c, start, &dims)?;
    Ok(dims)
}

/// The extents that an operator makes of those of its input.
pub fn inferred(
    c: &Cursor,
    array: usize,
    window: usize,
    op: &impl Operator,
    x: &[usize],
) -> Result<Vec<usize>, ProblemError> {
    let y = op
        .infer(&[&Shape::new(x)])
        .map_err(|error| c.blame(window, format!("a window that fits ({error})")))?;
    check_size(c, array, y.dims())?;
    Ok(y.dims().to_vec())
}

/// The views of arrays of the given dims: each one's layout, or nothing where all are the usual.
pub fn views<const N: usize>(c: &mut Cursor, dims: [&[usize]; N]) -> Result<[View; N], ProblemError> {
    let mut views = dims.map(usual);
    let all_usual = !["_nhwc", "_nchw", "_dense"].into_iter().any(|word| c.clone().eat(word));
    if !all_usual {
        for (view, dims) in views.iter_mut().zip(dims) {
            c.expect("_", "the next array's layout")?;
            *view = layout(c, dims)?;
        }
    }
    Ok(views)
}

/// Channels-last, or row-major where there are no channels.
fn usual(dims: &[usize]) -> View {
    match *dims {
        [n, c, h, w] => View::channels_last([n, c, h, w], [0; 4]),
        _ => View::row_major(&Shape::new(dims)),
    }
}

/// `nhwch3712+80`: strides and offset of an array, as [`View::layout`] writes them.
pub fn layout(c: &mut Cursor, dims: &[usize]) -> Result<View, ProblemError> {
    let start = c.place();
    let is_image = dims.len() == 4;
    let mut view = if is_image && c.eat("nhwc") {
        usual(dims)
    } else if is_image && c.eat("nchw") || !is_image && c.eat("dense") {
        View::row_major(&Shape::new(dims))
    } else {
        let layouts = if is_image { "'nhwc' or 'nchw'" } else { "'dense'" };
        return Err(c.error(format!("{layouts} (a layout)")));
    };
    for (axis, letter) in axis_letters(dims.len()).enumerate() {
        if let Some(stride) = c.field(letter.encode_utf8(&mut [0; 4]), 0..=MOST)? {
            view.strides[axis] = stride;
        }
    }
    if let Some(offset) = c.field("+", 0..=MOST)? {
        view.offset = offset;
    }
    let reach = view
        .dims
        .iter()
        .zip(&view.strides)
        .try_fold(view.offset, |reach, (dim, stride)| reach.checked_add((dim - 1).checked_mul(*stride)?));
    if reach.is_none_or(|reach| reach >= MOST_ELEMENTS) {
        return Err(c.blame(start, format!("a layout within {MOST_ELEMENTS} elements")));
    }
    Ok(view)
}

fn axis_letters(rank: usize) -> impl Iterator<Item = char> {
    let letters = if rank == 4 { "nchw" } else { "abcdefghijklmnopqrstuvwxyz" };
    letters.chars().take(rank)
}

/// The steps of an epilogue on values of the given dims, such as `_add_relu`.
pub fn epilogue(c: &mut Cursor, dims: &[usize]) -> Result<FusedEpilogue, ProblemError> {
    let mut steps = Vec::new();
    loop {
        let mut next = c.clone();
        if !next.eat("_") {
            break;
        }
        let operand = |c: &mut Cursor| if c.eat(".") { layout(c, dims) } else { Ok(usual(dims)) };
        let step = if next.eat("scaleshift") {
            FusedStep::ScaleShift { channels: dims.get(1).copied().unwrap_or(1) }
        } else if next.eat("add") {
            FusedStep::Add(operand(&mut next)?)
        } else if next.eat("mul") {
            FusedStep::Mul(operand(&mut next)?)
        } else if let Some(activation) = activation(&mut next)? {
            FusedStep::Activation(activation)
        } else {
            break;
        };
        steps.push(step);
        *c = next;
    }
    Ok(FusedEpilogue(steps))
}

/// An activation with its parameters, as `math::activation_name` writes it.
pub fn activation(c: &mut Cursor) -> Result<Option<Activation>, ProblemError> {
    let plain = [
        ("relu6", Activation::Relu6),
        ("relu", Activation::Relu),
        ("sigmoid", Activation::Sigmoid),
        ("silu", Activation::Silu),
        ("hard_swish", Activation::HardSwish),
        ("tanh", Activation::Tanh),
        ("softplus", Activation::Softplus),
        ("mish", Activation::Mish),
    ];
    if let Some(activation) = c.one_of(&plain) {
        return Ok(Some(activation));
    }
    let pair = |c: &mut Cursor| {
        let first = c.float()?;
        c.expect(":", "between two numbers")?;
        Ok((first, c.float()?))
    };
    Ok(if c.eat("leaky_relu") {
        Some(Activation::LeakyRelu { slope: c.float()? })
    } else if c.eat("clip") {
        let (min, max) = pair(c)?;
        Some(Activation::Clip { min, max })
    } else if c.eat("elu") {
        Some(Activation::Elu { alpha: c.float()? })
    } else if c.eat("selu") {
        let (alpha, gamma) = pair(c)?;
        Some(Activation::Selu { alpha, gamma })
    } else if c.eat("hard_sigmoid") {
        let (alpha, beta) = pair(c)?;
        Some(Activation::HardSigmoid { alpha, beta })
    } else {
        None
    })
}

/// `_t` and what a family calls its tile there; an epilogue ends before it.
pub fn tile_mark(c: &mut Cursor, what: &str) -> Result<(), ProblemError> {
    if c.eat("_t") {
        return Ok(());
    }
    let mut next = c.clone();
    let is_word = next.eat("_");
    let expected = format!("an epilogue step (such as relu, add) or 't' ({what})");
    Err(if is_word { next.error(expected) } else { c.error(format!("'_t' ({what})")) })
}

/// Neighbouring pixels computed together.
pub fn pixels(c: &mut Cursor) -> Result<usize, ProblemError> {
    c.number(1..=MOST_TILE)
}

/// `1x14x2`, or `14x2` where a tile has one row.
pub fn tile(c: &mut Cursor, has_rows: bool) -> Result<Tile, ProblemError> {
    let start = c.place();
    let mut rows = 1;
    if has_rows {
        rows = c.number(1..=MOST_TILE)?;
        c.expect("x", "columns of the tile")?;
    }
    let columns = c.number(1..=MOST_TILE)?;
    c.expect("x", "vectors of the tile")?;
    let vectors = c.number(1..=MOST_TILE)?;
    if rows * columns * vectors > MOST_TILE {
        return Err(c.blame(start, format!("a tile of at most {MOST_TILE} registers")));
    }
    Ok(Tile { rows, columns, vectors })
}

/// The extent of a block.
pub fn block(c: &mut Cursor, word: &str, what: &str) -> Result<usize, ProblemError> {
    c.expect(word, what)?;
    c.number(1..=MOST)
}

pub fn order(c: &mut Cursor) -> Order {
    if c.eat("_px") { Order::Pixels } else { Order::Panels }
}

/// `word` and a number in at least `fewest`.
pub fn required(c: &mut Cursor, word: &str, what: &str, fewest: usize) -> Result<usize, ProblemError> {
    c.expect(word, what)?;
    c.number(fewest..=MOST)
}

/// `word` and a floating-point number.
pub fn required_float(c: &mut Cursor, word: &str, what: &str) -> Result<f32, ProblemError> {
    c.expect(word, what)?;
    c.float()
}
