//! Layers with weights. Keys and layouts are those of PyTorch's `state_dict`.

use crate::dsl::diagnostics::Diagnostic;
use crate::dsl::elaborate::arguments::Arguments;
use crate::dsl::elaborate::value::Value;
use crate::dsl::elaborate::{Elaborator, Eval, windows};
use crate::ops::{BatchNorm, Conv, Dense, Init, ShapeError, Statistics, Window};

/// How random biases are drawn.
const BIAS: Init = Init::Uniform { low: -0.1, high: 0.1 };

pub fn conv<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let channels = arguments.extent(e, "channels", 1);
    let groups = arguments.extent(e, "groups", 1);
    convolve(e, arguments, channels, groups)
}

/// One filter, or `multiplier` of them, for each channel.
pub fn depthwise_conv<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let (_, groups, _, _) = e.image(arguments, x)?;
    let channels = arguments.extent(e, "multiplier", 1).map(|multiplier| groups.saturating_mul(multiplier));
    convolve(e, arguments, channels, Ok(groups))
}

fn convolve<'a>(
    e: &mut Elaborator<'a>,
    arguments: &Arguments<'a>,
    channels: Eval<usize>,
    groups: Eval<usize>,
) -> Eval<Value<'a>> {
    // Everything is looked at before the first mistake counts, so that all are reported.
    let kernel = arguments.pair(e, "kernel", 1);
    let stride = arguments.pair(e, "stride", 1);
    let dilation = arguments.pair(e, "dilation", 1);
    let bias = arguments.flag(e, "bias");
    let x = arguments.tensor(e, "x")?;
    let (_, c, h, w) = e.image(arguments, x)?;
    let (channels, groups, bias) = (channels?, groups?, bias?);
    let ([kh, kw], stride, dilation) = (kernel?, stride?, dilation?);
    let padding = windows::padding(e, arguments, [h, w], [kh, kw], stride, dilation)?;
    if c % groups != 0 || channels % groups != 0 {
        return Err(e.mismatch(
            arguments,
            ShapeError::with_formula(
                format!("{groups} groups do not divide {c} input and {channels} output channels"),
                format!("{c} mod {groups} = {}, {channels} mod {groups} = {}", c % groups, channels % groups),
            ),
            None,
        ));
    }
    let name = e.layer_name(arguments.label, arguments.operator(), arguments.callee)?;
    let per_group = c / groups;
    let fan_in = per_group.saturating_mul(kh).saturating_mul(kw);
    let weight =
        e.add_parameter(arguments, &name, "weight", [channels, per_group, kh, kw], Init::Kaiming { fan_in })?;
    let mut inputs = vec![x, weight];
    if bias {
        inputs.push(e.add_parameter(arguments, &name, "bias", [channels], BIAS)?);
    }
    let op = Conv { window: Window { stride, padding, dilation }, groups };
    e.add_layer(arguments, name, op, &inputs)
}

pub fn dense<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let units = arguments.extent(e, "units", 1)?;
    let bias = arguments.flag(e, "bias")?;
    let shape = e.graph.shape(x).clone();
    let [_, features] = *shape.dims() else {
        let error = ShapeError::new(format!("`dense` takes rows [n, features], not {shape}"));
        return Err(e.mismatch(arguments, error, Some("make rows of it first: `-> flatten -> dense(…)`")));
    };
    let name = e.layer_name(arguments.label, arguments.operator(), arguments.callee)?;
    let init = Init::Kaiming { fan_in: features };
    let mut inputs = vec![x, e.add_parameter(arguments, &name, "weight", [units, features], init)?];
    if bias {
        inputs.push(e.add_parameter(arguments, &name, "bias", [units], BIAS)?);
    }
    e.add_layer(arguments, name, Dense {}, &inputs)
}

/// Random scales lie about `initial_scale`, the last one of a residual branch small, so that a hundred branches
/// add up to no more than a few (Goyal et al., 2017, start them at 0).
pub fn batch_norm<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let epsilon = arguments.float(e, "epsilon")?;
    if epsilon <= 0.0 {
        let (_, span) = arguments.get("epsilon");
        return Err(e.fault(
            Diagnostic::error("`epsilon` is positive", span, format!("this is {epsilon}"))
                .because("(x - mean) / sqrt(variance + epsilon)"),
        ));
    }
    let mode = arguments.word(e, "mode", &["running", "batch"])?;
    let scale = arguments.float(e, "initial_scale")?;
    let shape = e.graph.shape(x).clone();
    let Some(&c) = shape.dims().get(1) else {
        let error = ShapeError::new(format!("`batch_norm` takes [n, c, …], not {shape}"));
        return Err(e.mismatch(arguments, error, None));
    };
    let name = e.layer_name(arguments.label, arguments.operator(), arguments.callee)?;
    let uniform = |low: f32, high: f32| Init::Uniform { low: low * scale, high: high * scale };
    let mut parameters = vec![("weight", uniform(0.5, 1.5)), ("bias", uniform(-0.2, 0.2))];
    let statistics = if mode == "batch" {
        Statistics::Batch
    } else {
        parameters.push(("running_mean", Init::Uniform { low: -0.2, high: 0.2 }));
        parameters.push(("running_var", Init::Uniform { low: 0.5, high: 1.5 }));
        Statistics::Running
    };
    let mut inputs = vec![x];
    for (suffix, init) in parameters {
        inputs.push(e.add_parameter(arguments, &name, suffix, [c], init)?);
    }
    e.add_layer(arguments, name, BatchNorm { epsilon, statistics }, &inputs)
}
