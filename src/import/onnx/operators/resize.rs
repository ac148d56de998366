//! Interpolation: Resize and its forerunner Upsample.

use super::Handler;
use crate::import::onnx::call::{Call, axis_of};
use crate::import::onnx::fault::{Fault, invalid, unsupported};
use crate::import::onnx::importer::{Importer, Value};
use crate::ops::{Coordinates, Interpolation, Resize, Rounding};
use crate::tensor::Shape;

pub const TABLE: &[(&str, Handler)] = &[("Resize", resize), ("Upsample", upsample)];

fn upsample(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let scales = match call.floats("scales")? {
        Some(scales) => scales.to_vec(),
        None if call.opset < 7 => {
            return Err(unsupported("Upsample of version 1, which gives height_scale and width_scale"));
        }
        None => i.known(call.input(1)?, "the scales of an upsampling")?.floats(),
    };
    let mode = call.text("mode", "nearest")?;
    let scales = Scales::new(i.shape(&x)?, None, Extents::Scales(scales), "stretch")?;
    Ok(vec![emit(i, call, x, scales, before_version_11(mode)?)?])
}

fn resize(i: &mut Importer, call: &Call) -> Result<Vec<Value>, Fault> {
    let x = call.input(0)?.clone();
    let shape = i.shape(&x)?;
    let mode = call.text("mode", "nearest")?;
    if call.opset < 11 {
        let scales = i.known(call.input(1)?, "the scales of a resize")?.floats();
        let scales = Scales::new(shape, None, Extents::Scales(scales), "stretch")?;
        return Ok(vec![emit(i, call, x, scales, before_version_11(mode)?)?]);
    }
    let axes = match call.ints("axes")? {
        None => None,
        Some(axes) => {
            Some(axes.iter().map(|&axis| axis_of(axis, shape.rank())).collect::<Result<Vec<_>, _>>()?)
        }
    };
    let policy = call.text("keep_aspect_ratio_policy", "stretch")?;
    let list = |at: usize, what: &str| -> Result<Option<Vec<f32>>, Fault> {
        let Some(value) = call.optional(at) else { return Ok(None) };
        Ok(Some(i.known(value, what)?.floats()).filter(|list| !list.is_empty()))
    };
    let extents = match (list(2, "the scales of a resize")?, list(3, "the sizes of a resize")?) {
        (Some(scales), None) => Extents::Scales(scales),
        (None, Some(sizes)) => Extents::Sizes(sizes),
        _ => return Err(invalid("either scales or sizes must be given")),
    };
    let coordinates = match call.text("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_crop_and_resize" => Coordinates::CropAndResize,
        other => return Err(unsupported(format!("the coordinate_transformation_mode '{other}'"))),
    };
    let region = match (coordinates, list(1, "the region of a resize")?) {
        (Coordinates::CropAndResize, Some(bounds)) => region(&bounds, axes.as_deref(), shape.rank())?,
        (Coordinates::CropAndResize, None) => return Err(invalid("tf_crop_and_resize needs a region (roi)")),
        _ => Vec::new(),
    };
    let rounding = match call.text("nearest_mode", "round_prefer_floor")? {
        "round_prefer_floor" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return Err(unsupported(format!("the nearest_mode '{other}'"))),
    };
    let coefficient = call.float("cubic_coeff_a", -0.75)?;
    let interpolation = match mode {
        "nearest" => Interpolation::Nearest { rounding },
        "linear" => Interpolation::Linear,
        "cubic" => Interpolation::Cubic { coefficient },
        other => return Err(unsupported(format!("the mode '{other}'"))),
    };
    let style = Style {
        interpolation,
        coordinates,
        exclude_outside: call.flag("exclude_outside", false)?,
        antialias: call.flag("antialias", false)?,
        region,
        extrapolation: call.float("extrapolation_value", 0.0)?,
    };
    let scales = Scales::new(shape, axes.as_deref(), extents, policy)?;
    Ok(vec![emit(i, call, x, scales, style)?])
}

/// All of a [`Resize`] but the sizes.
struct Style {
    interpolation: Interpolation,
    coordinates: Coordinates,
    exclude_outside: bool,
    antialias: bool,
    region: Vec<[f32; 2]>,
    extrapolation: f32,
}

/// Older versions have one rule for coordinates.
fn before_version_11(mode: &str) -> Result<Style, Fault> {
    let interpolation = match mode {
        "nearest" => Interpolation::Nearest { rounding: Rounding::Floor },
        "linear" | "bilinear" => Interpolation::Linear,
        other => return Err(unsupported(format!("the mode '{other}'"))),
    };
    Ok(Style {
        interpolation,
        coordinates: Coordinates::Asymmetric,
        exclude_outside: false,
        antialias: false,
        region: Vec::new(),
        extrapolation: 0.0,
    })
}

fn emit(i: &mut Importer, call: &Call, x: Value, scales: Scales, style: Style) -> Result<Value, Fault> {
    let Style { interpolation, coordinates, exclude_outside, antialias, region, extrapolation } = style;
    let Scales { shape, scales } = scales;
    let op = Resize {
        shape,
        scales,
        interpolation,
        coordinates,
        exclude_outside,
        antialias,
        region,
        extrapolation,
    };
    i.emit(&call.name, op, &[x])
}

/// `[starts …, ends …]` of the axes as `[start, end]` of every axis.
fn region(bounds: &[f32], axes: Option<&[usize]>, rank: usize) -> Result<Vec<[f32; 2]>, Fault> {
    let all: Vec<usize> = (0..rank).collect();
    let axes = axes.unwrap_or(&all);
    if bounds.len() != 2 * axes.len() {
        return Err(invalid(format!("a region of {} numbers for {} axes", bounds.len(), axes.len())));
    }
    let mut region = vec![[0.0, 1.0]; rank];
    for (at, &axis) in axes.iter().enumerate() {
        region[axis] = [bounds[at], bounds[axes.len() + at]];
    }
    Ok(region)
}

/// What a file says of the output's extents.
enum Extents {
    Scales(Vec<f32>),
    Sizes(Vec<f32>),
}

/// The output's extents, and the factors by which coordinates are computed.
struct Scales {
    shape: Shape,
    scales: Vec<f32>,
}

impl Scales {
    fn new(input: Shape, axes: Option<&[usize]>, extents: Extents, policy: &str) -> Result<Self, Fault> {
        let all: Vec<usize> = (0..input.rank()).collect();
        let axes = axes.unwrap_or(&all);
        let (Extents::Scales(given) | Extents::Sizes(given)) = &extents;
        if given.len() != axes.len() {
            return Err(invalid(format!("{} scales or sizes for {} axes", given.len(), axes.len())));
        }
        let mut scales = vec![1.0; input.rank()];
        let mut dims = input.dims().to_vec();
        for (&axis, &number) in axes.iter().zip(given) {
            let extent = input.dims()[axis] as f64;
            let (scale, size) = match extents {
                Extents::Scales(_) => (number, (f64::from(number) * extent).floor()),
                Extents::Sizes(_) => ((f64::from(number) / extent) as f32, f64::from(number)),
            };
            (scales[axis], dims[axis]) = (scale, checked(size)?);
        }
        if let Extents::Sizes(_) = extents {
            let of_axes = axes.iter().map(|&axis| scales[axis]);
            let common = match policy {
                "stretch" => None,
                "not_larger" => of_axes.reduce(f32::min),
                "not_smaller" => of_axes.reduce(f32::max),
                other => return Err(unsupported(format!("the keep_aspect_ratio_policy '{other}'"))),
            };
            if let Some(scale) = common {
                for &axis in axes {
                    scales[axis] = scale;
                    dims[axis] = checked((f64::from(scale) * input.dims()[axis] as f64 + 0.5).floor())?;
                }
            }
        }
        Ok(Scales { shape: Shape::new(dims), scales })
    }
}

fn checked(extent: f64) -> Result<usize, Fault> {
    if (1.0..4e9).contains(&extent) {
        Ok(extent as usize)
    } else {
        Err(invalid(format!("an extent of {extent}")))
    }
}
