//! Computes what depends on small constants alone.

use super::context::{Answer, Context, Declined, refuse};
use super::patch::{Patch, Value};
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::{Constant, Epilogue, Op};
use crate::tensor::Tensor;

pub const PASS: Pass = Pass {
    name: "fold_constants",
    description: "compute what depends on small constants alone",
    level: Level::CleanUp,
    visit,
};

/// The most elements, read and written, and the most operations that are worth the time while compiling.
const MAX_WORK: u64 = 1 << 20;

fn visit(context: &Context, node: NodeId) -> Answer {
    let Some(operator) = context.node(node).op.operator() else {
        return Err(Declined::NotACandidate);
    };
    let operands = context.graph.operands(node);
    let values: Option<Vec<&Tensor>> = operands
        .iter()
        .map(|&operand| match &context.node(operand).op {
            Op::Constant(constant) => Some(&constant.value),
            _ => None,
        })
        .collect();
    let values = values.ok_or(Declined::NotACandidate)?;

    let epilogue = &context.node(node).epilogue;
    let (own, epilogue_operands) = values.split_at(values.len() - epilogue.operands());
    let shapes: Vec<_> = own.iter().map(|value| value.shape()).collect();
    let cost = operator.cost(&shapes, context.graph.shape(node));
    let elements = values.iter().map(|value| value.shape()).chain([context.graph.shape(node)]);
    let elements: u64 = elements.map(|shape| shape.elements() as u64).sum();
    let work = elements.saturating_add(cost.multiply_adds).saturating_add(cost.other);
    if work > MAX_WORK {
        let reason = format!("{work} operations are too many to do while compiling");
        return Err(refuse(&[node], reason));
    }
    let mut value = operator.evaluate(own);
    epilogue.apply(&mut value, epilogue_operands);
    let constant = Op::Constant(Constant { value });
    Ok(Patch::rewrite(&[node], constant, Epilogue::default(), std::iter::empty::<Value>()))
}
