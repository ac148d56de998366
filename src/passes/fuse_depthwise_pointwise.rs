//! Chains a depthwise convolution with the pointwise one after it (MobileNets, §3.1): the map between them stays
//! in scratch memory.

use super::context::{Answer, Context, Declined, refuse};
use super::patch::Patch;
use super::{Level, Pass};
use crate::graph::NodeId;
use crate::ops::{Conv, ConvChain, ConvStage, Epilogue, EpilogueStep, Op};

pub const PASS: Pass = Pass {
    name: "fuse_depthwise_pointwise",
    description: "compute a depthwise convolution and the pointwise one after it as one kernel",
    level: Level::Fusion,
    visit,
};

fn visit(context: &Context, node: NodeId) -> Answer {
    let Op::Conv(pointwise) = context.node(node).op else {
        return Err(Declined::NotACandidate);
    };
    let operands = context.graph.operands(node);
    let depthwise = operands[0];
    let Op::Conv(conv) = context.node(depthwise).op else {
        return Err(Declined::NotACandidate);
    };
    if conv.groups == 1 {
        return Err(Declined::NotACandidate);
    }
    let nodes = [depthwise, node];
    check_depthwise(context, depthwise, &conv)
        .and_then(|()| check_pointwise(context, node, &pointwise))
        .and_then(|()| context.sole_reader(depthwise, node))
        .map_err(|reason| refuse(&nodes, reason))?;

    let stages = vec![stage(context, depthwise, conv), stage(context, node, pointwise)];
    let inputs = context.graph.operands(depthwise).into_iter().chain(operands.into_iter().skip(1));
    Ok(Patch::rewrite(&nodes, ConvChain { stages }, Epilogue::default(), inputs))
}

/// One filter per channel, and an epilogue that reads no further map.
fn check_depthwise(context: &Context, node: NodeId, conv: &Conv) -> Result<(), String> {
    let operands = context.graph.operands(node);
    let channels = context.graph.shape(operands[0]).dims()[1];
    let filters = context.graph.shape(node).dims()[1];
    let this = context.node(node);
    let name = &this.name;
    if conv.groups != channels {
        return Err(format!(
            "'{name}' has {} groups of {channels} channels: it is not depthwise",
            conv.groups
        ));
    }
    if filters != channels {
        return Err(format!("'{name}' makes {filters} channels out of {channels}, not one of each"));
    }
    if this.epilogue.0.iter().any(|step| matches!(step, EpilogueStep::Add | EpilogueStep::Mul)) {
        return Err(format!("the epilogue of '{name}' reads another map"));
    }
    weights_are_known(context, node)
}

/// 1×1, each output pixel from the input pixel at the same place.
fn check_pointwise(context: &Context, node: NodeId, conv: &Conv) -> Result<(), String> {
    let operands = context.graph.operands(node);
    let name = &context.node(node).name;
    let [_, _, kh, kw] = *context.graph.shape(operands[1]).dims() else { unreachable!("rank 4") };
    if (kh, kw) != (1, 1) {
        return Err(format!("'{name}' has a {kh}×{kw} kernel: it is not pointwise"));
    }
    if conv.groups != 1 {
        return Err(format!("'{name}' has {} groups", conv.groups));
    }
    if conv.window.stride != [1, 1] {
        let [vertical, horizontal] = conv.window.stride;
        return Err(format!("'{name}' has stride {vertical}×{horizontal}"));
    }
    if conv.window.padding != [0; 4] {
        return Err(format!("'{name}' pads its input"));
    }
    weights_are_known(context, node)
}

fn weights_are_known(context: &Context, node: NodeId) -> Result<(), String> {
    let (own, _) = context.graph.split_operands(node);
    if own[1..].iter().all(|&operand| context.is_weight(operand)) {
        Ok(())
    } else {
        Err(format!("the weights of '{}' are computed when the model runs", context.node(node).name))
    }
}

fn stage(context: &Context, node: NodeId, conv: Conv) -> ConvStage {
    let (own, _) = context.graph.split_operands(node);
    let this = context.node(node);
    ConvStage { name: this.name.clone(), conv, has_bias: own.len() == 3, epilogue: this.epilogue.clone() }
}
