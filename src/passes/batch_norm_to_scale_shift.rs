//! Turns an inference-mode batch norm that could not be folded into one multiplication and addition per element.

use super::context::{Answer, Context, Declined, refuse};
use super::normalisation::RunningBatchNorm;
use super::patch::{Expressions, Patch, Value};
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::ScaleShift;

pub const PASS: Pass = Pass {
    name: "batch_norm_to_scale_shift",
    description: "turn an inference-mode batch norm that stands alone into a scale and shift per channel",
    level: Level::CleanUp,
    visit,
};

fn visit(context: &Context, node: NodeId) -> Answer {
    let batch_norm = RunningBatchNorm::at(context, node)
        .ok_or(Declined::NotACandidate)?
        .map_err(|reason| refuse(&[node], reason))?;
    let mut expressions = Expressions::default();
    let (factor, offset) = batch_norm.affine(None, &mut expressions);
    let (_, epilogue_operands) = context.graph.split_operands(node);
    let inputs = [batch_norm.x.into(), factor, offset].into_iter();
    let inputs = inputs.chain(epilogue_operands.into_iter().map(Value::from));
    let epilogue = context.node(node).epilogue.clone();
    Ok(Patch::rewrite(&[node], ScaleShift {}, epilogue, inputs).with(expressions))
}
