//! Lets a convolution or pooling pad its input itself.

use super::context::{Answer, Context, Declined, refuse};
use super::patch::Patch;
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::{Op, Operator, Pad, PadMode, PoolKind, Window};

pub const PASS: Pass = Pass {
    name: "fold_padding",
    description: "let a convolution or pooling pad its input itself",
    level: Level::Fusion,
    visit,
};

fn visit(context: &Context, node: NodeId) -> Answer {
    let this = context.node(node);
    if !matches!(this.op, Op::Conv(_) | Op::Pool(_)) {
        return Err(Declined::NotACandidate);
    }
    let mut inputs = context.graph.operands(node);
    let padded = inputs[0];
    let Op::Pad(pad) = &context.node(padded).op else {
        return Err(Declined::NotACandidate);
    };
    let nodes = [padded, node];
    if !context.node(padded).epilogue.is_empty() {
        return Err(refuse(&nodes, format!("'{}' has an epilogue", context.node(padded).name)));
    }
    inputs[0] = context.graph.operands(padded)[0];
    let mut op = this.op.clone();
    fold(pad, &mut op).map_err(|reason| refuse(&nodes, reason))?;
    if let Op::Pool(pool) = op {
        pool.infer(&[context.graph.shape(inputs[0])]).map_err(|error| refuse(&nodes, error.problem))?;
    }
    Ok(Patch::rewrite(&nodes, op, this.epilogue.clone(), inputs))
}

/// Moves the padding into the operator.
///
/// # Errors
/// Why the operator cannot pad so.
fn fold(pad: &Pad, op: &mut Op) -> Result<(), String> {
    let ([0, 0, top, left], [0, 0, bottom, right]) = (&pad.before[..], &pad.after[..]) else {
        return Err("it pads the batch or the channels".into());
    };
    if pad.mode != PadMode::Constant {
        return Err("it pads with what the map holds".into());
    }
    let window: &mut Window = match op {
        Op::Conv(conv) => {
            needs(pad, 0.0, "a convolution")?;
            &mut conv.window
        }
        Op::Pool(pool) => {
            if pool.ceil_mode {
                return Err("in ceil mode the last window depends on what is padding".into());
            }
            match &mut pool.kind {
                PoolKind::Max => needs(pad, f32::NEG_INFINITY, "max pooling")?,
                PoolKind::Average { count_include_pad } => {
                    needs(pad, 0.0, "average pooling")?;
                    if !*count_include_pad && pool.window.padding != [0; 4] {
                        return Err("the pooling does not count its own padding, but does count this".into());
                    }
                    *count_include_pad = true;
                }
            }
            &mut pool.window
        }
        other => unreachable!("{} has no window", other.name()),
    };
    for (side, more) in window.padding.iter_mut().zip([top, left, bottom, right]) {
        *side += more;
    }
    Ok(())
}

fn needs(pad: &Pad, value: f32, operator: &str) -> Result<(), String> {
    if pad.value == value { Ok(()) } else { Err(format!("{operator} pads with {value}, not {}", pad.value)) }
}
