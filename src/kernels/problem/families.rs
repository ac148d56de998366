//! Each family's names.

use super::cursor::{Cursor, ProblemError};
use super::parts::{
    activation, block, dims, epilogue, geometry, inferred, layout, order, pixels, required, required_float,
    tile, tile_mark, views,
};
use crate::kernels::chain::ChainKernel;
use crate::kernels::conv::{Blocking, ConvKernel};
use crate::kernels::crossed::{Arithmetic, Crossing};
use crate::kernels::depthwise::DepthwiseKernel;
use crate::kernels::packed::WeightType;
use crate::kernels::polyphase::{Filtering, PolyphaseKernel};
use crate::kernels::product::Order;
use crate::kernels::winograd::{Filters, Method, WinogradKernel};
use crate::kernels::{
    BatchNormKernel, ElementFunction, Elementwise, Fill, GlobalPoolKernel, KernelSpec, LrnKernel, PoolKernel,
    SoftmaxKernel,
};
use crate::ops::{
    BinaryFunction, GlobalPool, GlobalReduce, Lrn, Pool, PoolKind, Softmax, UnaryFunction, Window,
};

type Parsed = Result<KernelSpec, ProblemError>;

/// Reads what follows a family's word.
type Family = fn(&mut Cursor) -> Parsed;

/// A whole problem string.
pub fn kernel(c: &mut Cursor) -> Parsed {
    let families: [(&str, Family); 11] = [
        ("conv_", conv),
        ("depthwise_pointwise_", chain),
        ("depthwise_", depthwise),
        ("maxpool_", |c| pool(c, PoolKind::Max)),
        ("avgpool_", |c| pool(c, PoolKind::Average { count_include_pad: false })),
        ("avgpadpool_", |c| pool(c, PoolKind::Average { count_include_pad: true })),
        ("globalavgpool_", |c| global_pool(c, GlobalReduce::Average)),
        ("globalmaxpool_", |c| global_pool(c, GlobalReduce::Max)),
        ("softmax_", |c| softmax(c, false)),
        ("logsoftmax_", |c| softmax(c, true)),
        ("batchnorm_", batch_norm),
    ];
    for (word, family) in families {
        if c.eat(word) {
            return family(c);
        }
    }
    if c.eat("winograd") {
        return winograd(c);
    }
    if c.eat("polyphase") {
        return polyphase(c);
    }
    if c.eat("lrn") {
        return lrn(c);
    }
    if c.eat("fill") {
        return fill(c);
    }
    elementwise(c)
}

fn conv(c: &mut Cursor) -> Parsed {
    let shape = geometry(c)?;
    let weight_type = if c.eat("_f16") { WeightType::F16 } else { WeightType::F32 };
    let crossed = c.place();
    let arithmetic = arithmetic(c);
    let epilogue = epilogue(c, &shape.y)?;
    tile_mark(c, "the register tile")?;
    let tile = tile(c, true)?;
    let place = c.place();
    let blocking =
        Blocking { pixels: block(c, "_b", "pixels of a block")?, channels: block(c, "x", "its channels")? };
    let order = order(c);
    let [x, y] = views(c, [&shape.x, &shape.y])?;
    let kernel = ConvKernel {
        x,
        y,
        kernel: shape.kernel,
        window: shape.window,
        groups: shape.groups,
        weight_type,
        epilogue,
        tile,
        arithmetic,
        blocking,
        order,
    };
    if kernel.arithmetic.is_crossed() && !kernel.may_cross() {
        let expected =
            "a 1×1 convolution of one group without padding, with f32 weights and contiguous channels,";
        return Err(c.blame(crossed, expected.to_owned()));
    }
    let most = kernel.block_extent().next_multiple_of(tile.rows * tile.columns);
    if kernel.blocking.pixels > most {
        return Err(c.blame(place, format!("a block of at most {most}")));
    }
    Ok(KernelSpec::Conv(kernel))
}

fn arithmetic(c: &mut Cursor) -> Arithmetic {
    match () {
        () if c.eat("_crossed_thirds") => Arithmetic::Crossed(Crossing::Thirds),
        () if c.eat("_crossed") => Arithmetic::Crossed(Crossing::Quarters),
        () => Arithmetic::Straight,
    }
}

/// How many rows, of outputs or of tiles of them, a block has, of `all` that there are.
fn rows_of_block(c: &mut Cursor, all: usize) -> Result<usize, ProblemError> {
    let place = c.place();
    match block(c, "_b", "rows of a block")? {
        rows if rows <= all.max(1) => Ok(rows),
        _ => Err(c.blame(place, format!("a block of at most {all} rows"))),
    }
}

fn winograd(c: &mut Cursor) -> Parsed {
    let rows = c.number(1..=8)?;
    c.expect("x", "columns of a tile")?;
    let outputs = [rows, c.number(1..=8)?];
    c.expect("_", "the geometry")?;
    let place = c.place();
    let shape = geometry(c)?;
    let Window { stride, dilation, .. } = shape.window;
    let method = Method::all(shape.kernel).iter().find(|method| method.tile() == outputs);
    let Some(&method) = method.filter(|_| stride == [1, 1] && dilation == [1, 1]) else {
        let [rows, columns] = outputs;
        return Err(c.blame(place, format!("a convolution of stride 1 in tiles of {rows}×{columns} outputs")));
    };
    let crossed = c.place();
    let arithmetic = arithmetic(c);
    let epilogue = epilogue(c, &shape.y)?;
    tile_mark(c, "the register tile")?;
    let tile = tile(c, false)?;
    let rows = rows_of_block(c, shape.y[2].div_ceil(method.rows.outputs()))?;
    let channels = block(c, "x", "its channels")?;
    let place = c.place();
    let filters = match c.field("_d", 1..=1 << 20)? {
        Some(_) if !method.transforms_in_registers() || tile.vectors > 1 => {
            return Err(c.blame(
                place,
                "3×3 filters and one vector of channels where they are transformed in registers".to_owned(),
            ));
        }
        Some(depth) => Filters::InRegisters { depth },
        None => Filters::Packed,
    };
    if filters != Filters::Packed && arithmetic.is_crossed() {
        return Err(
            c.blame(crossed, "straight products of filters that are transformed in registers".to_owned())
        );
    }
    // Filters in registers know but one.
    let order = if filters == Filters::Packed { order(c) } else { Order::Panels };
    let [x, y] = views(c, [&shape.x, &shape.y])?;
    let (window, groups) = (shape.window, shape.groups);
    let kernel = WinogradKernel {
        x,
        y,
        window,
        groups,
        epilogue,
        method,
        filters,
        arithmetic,
        tile,
        order,
        rows,
        channels,
    };
    Ok(KernelSpec::Winograd(kernel))
}

fn polyphase(c: &mut Cursor) -> Parsed {
    let outputs = c.number(2..=8)?;
    c.expect("_", "the geometry")?;
    let place = c.place();
    let shape = geometry(c)?;
    let Window { stride, dilation, .. } = shape.window;
    let [taps, width] = shape.kernel;
    let filtering = Filtering::all(taps, stride[0]).find(|filtering| filtering.outputs == outputs);
    let Some(filtering) = filtering.filter(|_| stride[0] > 1 && dilation[0] == 1) else {
        let expected = format!("a strided convolution with minimal filtering for {outputs} rows of outputs");
        return Err(c.blame(place, expected));
    };
    let crossed = c.place();
    let arithmetic = arithmetic(c);
    let epilogue = epilogue(c, &shape.y)?;
    tile_mark(c, "the register tile")?;
    let tile = tile(c, true)?;
    let rows = rows_of_block(c, shape.y[2].div_ceil(filtering.outputs))?;
    let channels = block(c, "x", "its channels")?;
    let order = order(c);
    let place = c.place();
    let [x, y] = views(c, [&shape.x, &shape.y])?;
    if (!x.is_contiguous_along(1) && x.strides[3] != 1) || !y.is_contiguous_along(1) {
        let expected = "an input with contiguous channels or columns, and an output with contiguous channels";
        return Err(c.blame(place, expected.to_owned()));
    }
    let (window, groups) = (shape.window, shape.groups);
    let kernel = PolyphaseKernel {
        x,
        y,
        filtering,
        width,
        window,
        groups,
        epilogue,
        arithmetic,
        tile,
        order,
        rows,
        channels,
    };
    if arithmetic.is_crossed() && !kernel.may_cross() {
        return Err(c.blame(crossed, "straight products of several groups or of separate planes".to_owned()));
    }
    Ok(KernelSpec::Polyphase(kernel))
}

fn chain(c: &mut Cursor) -> Parsed {
    let place = c.place();
    let shape = geometry(c)?;
    if shape.groups != 1 {
        return Err(c.blame(place, "one group (of the pointwise half)".to_owned()));
    }
    let [n, _, h, w] = shape.y;
    let depthwise_epilogue = epilogue(c, &[n, shape.x[1], h, w])?;
    c.expect("_pw", "where the pointwise half's epilogue begins")?;
    let arithmetic = arithmetic(c);
    let pointwise_epilogue = epilogue(c, &shape.y)?;
    tile_mark(c, "neighbouring depthwise pixels")?;
    let columns = pixels(c)?;
    tile_mark(c, "the pointwise tile")?;
    let tile = tile(c, true)?;
    let rows = rows_of_block(c, h)?;
    let channels = c.field("x", 1..=1 << 20)?.unwrap_or(shape.y[1]);
    let order = order(c);
    let [x, y] = views(c, [&shape.x, &shape.y])?;
    Ok(KernelSpec::Chain(ChainKernel {
        x,
        y,
        kernel: shape.kernel,
        window: shape.window,
        depthwise_epilogue,
        pointwise_epilogue,
        columns,
        tile,
        arithmetic,
        order,
        rows,
        channels,
    }))
}

fn depthwise(c: &mut Cursor) -> Parsed {
    let place = c.place();
    let shape = geometry(c)?;
    if shape.groups != shape.x[1] || shape.groups != shape.y[1] {
        return Err(c.blame(place, "a group for each channel".to_owned()));
    }
    let epilogue = epilogue(c, &shape.y)?;
    tile_mark(c, "neighbouring pixels")?;
    let columns = pixels(c)?;
    let rows = rows_of_block(c, shape.y[2])?;
    let [x, y] = views(c, [&shape.x, &shape.y])?;
    let (kernel, window) = (shape.kernel, shape.window);
    Ok(KernelSpec::Depthwise(DepthwiseKernel { x, y, kernel, window, epilogue, columns, rows }))
}

fn pool(c: &mut Cursor, kind: PoolKind) -> Parsed {
    let place = c.place();
    let x = image_dims(c)?;
    c.expect("_", "the window")?;
    let window_place = c.place();
    let kernel = [required(c, "kh", "kernel height", 1)?, required(c, "kw", "kernel width", 1)?];
    let stride = [required(c, "_sh", "vertical stride", 1)?, required(c, "sw", "horizontal stride", 1)?];
    let padding = [
        required(c, "_pt", "top padding", 0)?,
        required(c, "pl", "left padding", 0)?,
        required(c, "pb", "bottom padding", 0)?,
        required(c, "pr", "right padding", 0)?,
    ];
    let mut dilation = [1, 1];
    if let Some(vertical) = c.field("_dh", 1..=1 << 20)? {
        dilation = [vertical, required(c, "dw", "horizontal dilation", 1)?];
    }
    let ceil_mode = c.eat("_ceil");
    let pool = Pool { kind, kernel, window: Window { stride, padding, dilation }, ceil_mode };
    let y = inferred(c, place, window_place, &pool, &x)?;
    let [x, y] = views(c, [&x, &y])?;
    let epilogue = epilogue(c, &y.dims)?;
    Ok(KernelSpec::Pool(PoolKernel { pool, x, y, epilogue }))
}

/// The extents of images: `n1c64h56w56`.
fn image_dims(c: &mut Cursor) -> Result<Vec<usize>, ProblemError> {
    let place = c.place();
    let dims = dims(c)?;
    if dims.len() == 4 { Ok(dims) } else { Err(c.blame(place, "extents such as n1c64h56w56".to_owned())) }
}

fn global_pool(c: &mut Cursor, reduce: GlobalReduce) -> Parsed {
    let x = image_dims(c)?;
    let [x, y] = views(c, [&x, &[x[0], x[1], 1, 1]])?;
    let epilogue = epilogue(c, &y.dims)?;
    Ok(KernelSpec::GlobalPool(GlobalPoolKernel { pool: GlobalPool { reduce }, x, y, epilogue }))
}

/// Extents of an array with channels: of rank two or more.
fn channel_dims(c: &mut Cursor) -> Result<Vec<usize>, ProblemError> {
    let place = c.place();
    let dims = dims(c)?;
    if dims.len() >= 2 { Ok(dims) } else { Err(c.blame(place, "extents of two axes or more".to_owned())) }
}

fn lrn(c: &mut Cursor) -> Parsed {
    let size = c.number(1..=1 << 20)?;
    c.expect("_", "the extents")?;
    let dims = channel_dims(c)?;
    let alpha = required_float(c, "_alpha", "alpha")?;
    let beta = required_float(c, "_beta", "beta")?;
    let bias = required_float(c, "_bias", "bias")?;
    let [x, y] = views(c, [&dims, &dims])?;
    let epilogue = epilogue(c, &dims)?;
    Ok(KernelSpec::Lrn(LrnKernel { lrn: Lrn { size, alpha, beta, bias }, x, y, epilogue }))
}

fn softmax(c: &mut Cursor, log: bool) -> Parsed {
    let dims = dims(c)?;
    c.expect("_axis", "the axis")?;
    let place = c.place();
    let axis = c.number(0..=25)?;
    if axis >= dims.len() {
        return Err(c.blame(place, format!("an axis below {}", dims.len())));
    }
    let [x, y] = views(c, [&dims, &dims])?;
    let epilogue = epilogue(c, &dims)?;
    Ok(KernelSpec::Softmax(SoftmaxKernel { softmax: Softmax { axis, log }, x, y, epilogue }))
}

fn batch_norm(c: &mut Cursor) -> Parsed {
    let dims = channel_dims(c)?;
    let epsilon = required_float(c, "_epsilon", "epsilon")?;
    let [x, y] = views(c, [&dims, &dims])?;
    let epilogue = epilogue(c, &dims)?;
    Ok(KernelSpec::BatchNorm(BatchNormKernel { epsilon, x, y, epilogue }))
}

fn fill(c: &mut Cursor) -> Parsed {
    let value = c.float()?;
    c.expect("_", "the extents")?;
    let dims = dims(c)?;
    c.expect("_", "the layout")?;
    Ok(KernelSpec::Fill(Fill { output: layout(c, &dims)?, value }))
}

fn elementwise(c: &mut Cursor) -> Parsed {
    let functions = [
        ("copy", ElementFunction::Copy),
        ("scaleshift", ElementFunction::ScaleShift),
        ("sqrt", ElementFunction::Unary(UnaryFunction::Sqrt)),
        ("rsqrt", ElementFunction::Unary(UnaryFunction::Rsqrt)),
        ("exp", ElementFunction::Unary(UnaryFunction::Exp)),
        ("log", ElementFunction::Unary(UnaryFunction::Log)),
        ("erf", ElementFunction::Unary(UnaryFunction::Erf)),
        ("neg", ElementFunction::Unary(UnaryFunction::Neg)),
        ("abs", ElementFunction::Unary(UnaryFunction::Abs)),
        ("add", ElementFunction::Binary(BinaryFunction::Add)),
        ("sub", ElementFunction::Binary(BinaryFunction::Sub)),
        ("mul", ElementFunction::Binary(BinaryFunction::Mul)),
        ("div", ElementFunction::Binary(BinaryFunction::Div)),
        ("max", ElementFunction::Binary(BinaryFunction::Max)),
        ("min", ElementFunction::Binary(BinaryFunction::Min)),
        ("pow", ElementFunction::Binary(BinaryFunction::Pow)),
        ("prelu", ElementFunction::Binary(BinaryFunction::Prelu)),
    ];
    let place = c.place();
    let function = match c.one_of(&functions) {
        Some(function) => function,
        None if c.eat("batchnorm") => ElementFunction::BatchNorm { epsilon: c.float()? },
        None => match activation(c)? {
            Some(activation) => ElementFunction::Activation(activation),
            None => {
                return Err(c.blame(
                    place,
                    "a kernel family (conv, winograd4x4, polyphase4, depthwise, depthwise_pointwise, maxpool, avgpool, \
                     avgpadpool, globalavgpool, globalmaxpool, lrn, softmax, batchnorm, fill, copy, or a function \
                     of elements; matrix products, reductions and samplings cannot be run alone)"
                        .to_owned(),
                ));
            }
        },
    };
    c.expect("_", "the extents")?;
    let dims = dims(c)?;
    let dims = dims.as_slice();
    let (inputs, output) = match function {
        ElementFunction::Binary(_) => {
            let [a, b, y] = views(c, [dims; 3])?;
            (vec![a, b], y)
        }
        ElementFunction::ScaleShift => {
            let [x, scale, shift, y] = views(c, [dims; 4])?;
            (vec![x, scale, shift], y)
        }
        ElementFunction::BatchNorm { .. } => {
            let [x, scale, shift, mean, variance, y] = views(c, [dims; 6])?;
            (vec![x, scale, shift, mean, variance], y)
        }
        ElementFunction::Copy | ElementFunction::Unary(_) | ElementFunction::Activation(_) => {
            let [x, y] = views(c, [dims; 2])?;
            (vec![x], y)
        }
    };
    let epilogue = epilogue(c, dims)?;
    Ok(KernelSpec::Elementwise(Elementwise { function, inputs, output, epilogue }))
}
