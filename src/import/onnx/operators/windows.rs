//! Convolution and pooling.

use super::Handler;
use crate::import::onnx::call::{Call, extent_of};
use crate::import::onnx::fault::{Fault, invalid, unsupported};
use crate::import::onnx::importer::{Importer, Role, Value};
use crate::ops::{Conv, GlobalPool, GlobalReduce, Pool, PoolKind, Reshape, Window};
use crate::tensor::Shape;

pub const TABLE: &[(&str, Handler)] = &[
    ("Conv", conv),
    ("MaxPool", |i, call| pool(i, call, true)),
    ("AveragePool", |i, call| pool(i, call, false)),
    ("GlobalAveragePool", |i, call| global_pool(i, call, GlobalReduce::Average)),
    ("GlobalMaxPool", |i, call| global_pool(i, call, GlobalReduce::Max)),
];

fn conv(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?;
    let weight = call.input(1)?;
    let weight_shape = i.shape(weight)?;
    let Some(kernel) = weight_shape.dims().get(2..).filter(|kernel| !kernel.is_empty()) else {
        return Err(invalid(format!("convolution weights are [o, c, …], not {weight_shape}")));
    };
    if let Some(declared) = call.ints("kernel_shape")?
        && !declared.iter().map(|&extent| usize::try_from(extent).ok()).eq(kernel.iter().map(|&e| Some(e)))
    {
        return Err(invalid(format!("kernel_shape {declared:?} is not that of weights {weight_shape}")));
    }
    let spatial = Spatial::of(i, x, kernel)?;
    let window = spatial.window(call, false)?;
    let groups = extent_of(call.int("group", 1)?, "group")?;
    let fan_in = weight_shape.dims()[1..].iter().product();
    let mut inputs = vec![
        spatial.lift(i, x, &format!("{}.image", call.name))?,
        spatial.lift(i, weight, &format!("{}.filter", call.name))?,
    ];
    inputs.extend(call.optional(2).cloned());
    let roles = [Role::Other, Role::Weight { fan_in }, Role::Bias];
    let y = i.emit_with(&spatial.inner_name(call), Conv { window, groups }, &inputs, &roles)?;
    Ok(vec![spatial.lower(i, y, &call.name)?])
}

fn pool(i: &mut Importer, call: &Call, max: bool) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?;
    let kernel =
        call.ints("kernel_shape")?.ok_or_else(|| invalid("the attribute kernel_shape is missing"))?;
    let kernel: Vec<usize> =
        kernel.iter().map(|&extent| extent_of(extent, "kernel_shape")).collect::<Result<_, _>>()?;
    let spatial = Spatial::of(i, x, &kernel)?;
    let ceil_mode = call.flag("ceil_mode", false)?;
    let window = spatial.window(call, ceil_mode)?;
    let kind = if max {
        call.ignore("storage_order");
        PoolKind::Max
    } else {
        PoolKind::Average { count_include_pad: call.flag("count_include_pad", false)? }
    };
    let lifted = spatial.lift(i, x, &format!("{}.image", call.name))?;
    let op = Pool { kind, kernel: spatial.kernel, window, ceil_mode };
    let y = i.emit(&spatial.inner_name(call), op, &[lifted])?;
    let indices = Value::Refused("it reads the indices of a max pooling, which are not computed");
    Ok(vec![spatial.lower(i, y, &call.name)?, indices])
}

fn global_pool(i: &mut Importer, call: &Call, reduce: GlobalReduce) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?;
    let spatial = Spatial::of(i, x, &vec![1; i.shape(x)?.rank().saturating_sub(2)])?;
    let lifted = spatial.lift(i, x, &format!("{}.image", call.name))?;
    let y = i.emit(&spatial.inner_name(call), GlobalPool { reduce }, &[lifted])?;
    Ok(vec![spatial.lower(i, y, &call.name)?])
}

/// The axes that a window walks over: height and width, or width alone, which is an image of height 1.
struct Spatial {
    one_dimensional: bool,
    /// Height and width of the input.
    image: [usize; 2],
    kernel: [usize; 2],
}

impl Spatial {
    fn of(i: &Importer, x: &Value, kernel: &[usize]) -> Result<Self, Fault> {
        let shape = i.shape(x)?;
        match (shape.dims(), kernel) {
            (&[_, _, w], &[kw]) => Ok(Spatial { one_dimensional: true, image: [1, w], kernel: [1, kw] }),
            (&[_, _, h, w], &[kh, kw]) => {
                Ok(Spatial { one_dimensional: false, image: [h, w], kernel: [kh, kw] })
            }
            (dims, _) if dims.len() > 4 => Err(unsupported(format!(
                "windows over {} axes; kiln has those over one and two",
                dims.len() - 2
            ))),
            _ => Err(invalid(format!("a kernel of {} axes does not fit an input {shape}", kernel.len()))),
        }
    }

    /// An attribute with one number for each axis, in the order `[vertical, horizontal]`.
    fn pair(&self, call: &Call, name: &'static str) -> Result<[usize; 2], Fault> {
        let values = match call.ints(name)? {
            None => return Ok([1, 1]),
            Some(values) => values.iter().map(|&v| extent_of(v, name)).collect::<Result<Vec<_>, _>>()?,
        };
        match (values.as_slice(), self.one_dimensional) {
            (&[horizontal], true) => Ok([1, horizontal]),
            (&[vertical, horizontal], false) => Ok([vertical, horizontal]),
            _ => Err(invalid(format!("the attribute '{name}' has {} numbers", values.len()))),
        }
    }

    fn window(&self, call: &Call, ceil_mode: bool) -> Result<Window, Fault> {
        let stride = self.pair(call, "strides")?;
        let dilation = self.pair(call, "dilations")?;
        let pads = call.ints("pads")?;
        let padding = match call.text("auto_pad", "NOTSET")? {
            "NOTSET" => self.padding(pads.unwrap_or_default())?,
            "VALID" => [0; 4],
            side @ ("SAME_UPPER" | "SAME_LOWER") => {
                let mut padding = [0; 4];
                for axis in 0..2 {
                    let total =
                        same_padding(self.image[axis], self.kernel[axis], stride[axis], dilation[axis]);
                    let less = total / 2;
                    let (before, after) =
                        if side == "SAME_UPPER" { (less, total - less) } else { (total - less, less) };
                    (padding[axis], padding[axis + 2]) = (before, after);
                }
                padding
            }
            other => return Err(invalid(format!("auto_pad '{other}' is not known"))),
        };
        let window = Window { stride, padding, dilation };
        for axis in 0..2 {
            window.output_extent(axis, self.image[axis], self.kernel[axis], ceil_mode)?;
        }
        Ok(window)
    }

    fn padding(&self, pads: &[i64]) -> Result<[usize; 4], Fault> {
        let pads = pads.iter().map(|&pad| {
            usize::try_from(pad).map_err(|_| unsupported(format!("padding by {pad}, which cuts the image")))
        });
        match (pads.collect::<Result<Vec<_>, _>>()?.as_slice(), self.one_dimensional) {
            ([], _) => Ok([0; 4]),
            (&[left, right], true) => Ok([0, left, 0, right]),
            (&[top, left, bottom, right], false) => Ok([top, left, bottom, right]),
            (pads, _) => Err(invalid(format!("the attribute 'pads' has {} numbers", pads.len()))),
        }
    }

    /// An array of one spatial axis as one of two.
    fn lift(&self, i: &mut Importer, value: &Value, name: &str) -> Result<Value, Fault> {
        if !self.one_dimensional {
            return Ok(value.clone());
        }
        let shape = i.shape(value)?;
        let &[n, c, w] = shape.dims() else {
            return Err(invalid(format!("an array {shape} does not fit a window over one axis")));
        };
        i.emit(name, Reshape { shape: Shape::from([n, c, 1, w]) }, std::slice::from_ref(value))
    }

    /// The inverse of [`Spatial::lift`].
    fn lower(&self, i: &mut Importer, value: Value, name: &str) -> Result<Value, Fault> {
        if !self.one_dimensional {
            return Ok(value);
        }
        let shape = i.shape(&value)?;
        let &[n, c, _, w] = shape.dims() else { return Err(invalid("a window yields images")) };
        i.emit(name, Reshape { shape: Shape::from([n, c, w]) }, &[value])
    }

    /// What the operator itself is called: the node's own name goes to the value that others read.
    fn inner_name(&self, call: &Call) -> String {
        if self.one_dimensional { format!("{}.row", call.name) } else { call.name.clone() }
    }
}

/// The padding, both sides together, with which an output has `⌈input / stride⌉` elements.
fn same_padding(input: usize, kernel: usize, stride: usize, dilation: usize) -> usize {
    let output = input.div_ceil(stride.max(1));
    let reach = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
    output.saturating_sub(1).saturating_mul(stride).saturating_add(reach).saturating_sub(input)
}
