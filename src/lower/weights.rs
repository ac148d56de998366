//! Weights in the order in which kernels read them.

use std::collections::HashMap;
use std::sync::Arc;

use super::packing::{finish_filter, pack_panel, pack_phases, pack_winograd, panels};
use crate::graph::{Graph, NodeId};
use crate::kernels::packed::PackedFilter;
use crate::kernels::polyphase::PhaseFilters;
use crate::kernels::winograd::{Filters, Method, WinogradKernel};
use crate::tensor::Tensor;

/// An array in the weights' memory.
#[derive(Clone, PartialEq, Debug)]
pub struct PackedArray {
    pub source: PackSource,
    /// Its first element.
    pub offset: usize,
    pub elements: usize,
}

/// How an array is made from the values of weight expressions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PackSource {
    /// `[o, c, kh, kw]` (or `[o, c · kh · kw]`) as panels.
    Filter {
        weight: NodeId,
        taps: usize,
        packed: PackedFilter,
    },
    /// `[o, c, 3, 3]` transformed for Winograd's method: a group of panels for each product.
    Winograd {
        weight: NodeId,
        method: Method,
        packed: PackedFilter,
    },
    /// `[o, c, kh, kw]` transformed along rows, phase by phase: a group of panels for each product.
    Polyphase {
        weight: NodeId,
        filters: PhaseFilters,
    },
    /// `[o]` as panels; zeros where there is no bias.
    Bias {
        bias: Option<NodeId>,
        packed: PackedFilter,
    },
    /// `[c, 1, kh, kw]` as `[kh][kw][c]`.
    Depthwise {
        weight: NodeId,
    },
    /// As it is.
    Plain {
        node: NodeId,
    },
    /// `scale / sqrt(variance + epsilon)` of a batch norm; the epsilon's bits.
    NormScale {
        scale: NodeId,
        variance: NodeId,
        epsilon: u32,
    },
    /// `shift - mean · scale / sqrt(variance + epsilon)` of a batch norm.
    NormShift {
        scale: NodeId,
        shift: NodeId,
        mean: NodeId,
        variance: NodeId,
        epsilon: u32,
    },
    Zeros {
        elements: usize,
    },
}

impl PackSource {
    /// The weights of a convolution by Winograd's method.
    pub fn winograd(weight: NodeId, kernel: &WinogradKernel, lanes: usize) -> Self {
        let packed = kernel.packed_filter(lanes);
        match kernel.filters {
            Filters::Packed => PackSource::Winograd { weight, method: kernel.method, packed },
            // A filter's elements are innermost in the reduction, as in the weight itself.
            Filters::InRegisters { .. } => PackSource::Filter { weight, taps: 1, packed },
        }
    }

    /// Elements of the packed array.
    pub fn elements(&self, graph: &Graph) -> usize {
        match self {
            PackSource::Filter { packed, .. } | PackSource::Winograd { packed, .. } => packed.elements(),
            PackSource::Polyphase { filters, .. } => filters.elements(),
            PackSource::Bias { packed, .. } => packed.bias_elements(),
            PackSource::Depthwise { weight: node }
            | PackSource::Plain { node }
            | PackSource::NormScale { scale: node, .. }
            | PackSource::NormShift { scale: node, .. } => graph.shape(*node).elements(),
            PackSource::Zeros { elements } => *elements,
        }
    }

    /// The weight expressions whose values it needs.
    pub fn nodes(&self) -> Vec<NodeId> {
        match *self {
            PackSource::Filter { weight: node, .. }
            | PackSource::Winograd { weight: node, .. }
            | PackSource::Polyphase { weight: node, .. }
            | PackSource::Depthwise { weight: node }
            | PackSource::Plain { node } => vec![node],
            PackSource::Bias { bias, .. } => bias.into_iter().collect(),
            PackSource::NormScale { scale, variance, .. } => vec![scale, variance],
            PackSource::NormShift { scale, shift, mean, variance, .. } => vec![scale, shift, mean, variance],
            PackSource::Zeros { .. } => vec![],
        }
    }

    /// The node and value of a weight that is too large for the type it is to be stored as.
    pub fn out_of_range(&self, values: &HashMap<NodeId, Arc<Tensor>>) -> Option<(NodeId, f32)> {
        match self {
            PackSource::Filter { weight, packed, .. } => {
                Some((*weight, packed.weight_type.out_of_range(values[weight].data())?))
            }
            _ => None,
        }
    }

    /// Writes the packed array into `target`, which holds zeros.
    ///
    /// # Panics
    /// If `values` lacks one of [`PackSource::nodes`].
    pub fn pack(&self, values: &HashMap<NodeId, Arc<Tensor>>, target: &mut [f32]) {
        match self {
            PackSource::Filter { weight, taps, packed } => {
                for (filters, place) in panels(packed) {
                    pack_panel(&values[weight].data()[filters], *taps, packed, &mut target[place]);
                }
                finish_filter(*taps, packed, target);
            }
            PackSource::Winograd { weight, method, packed } => {
                pack_winograd(values[weight].data(), *method, packed, target)
            }
            PackSource::Polyphase { weight, filters } => pack_phases(values[weight].data(), filters, target),
            PackSource::Bias { bias: Some(bias), packed } => {
                let width = packed.panels() * packed.panel_width;
                let groups = values[bias].data().chunks_exact(packed.outputs);
                for (group, target) in groups.zip(target.chunks_exact_mut(width)) {
                    target[..packed.outputs].copy_from_slice(group);
                }
            }
            PackSource::Depthwise { weight } => {
                let weight = &values[weight];
                let channels = weight.shape().dims()[0];
                let taps = weight.data().len() / channels.max(1);
                for (channel, filter) in weight.data().chunks_exact(taps).enumerate() {
                    for (tap, &value) in filter.iter().enumerate() {
                        target[tap * channels + channel] = value;
                    }
                }
            }
            PackSource::NormScale { scale, variance, epsilon } => {
                let [scale, variance] = [scale, variance].map(|node| values[node].data());
                for (channel, target) in target.iter_mut().enumerate() {
                    *target = norm_scale(scale[channel], variance[channel], *epsilon) as f32;
                }
            }
            PackSource::NormShift { scale, shift, mean, variance, epsilon } => {
                let [scale, shift, mean, variance] =
                    [scale, shift, mean, variance].map(|node| values[node].data());
                for (channel, target) in target.iter_mut().enumerate() {
                    let factor = norm_scale(scale[channel], variance[channel], *epsilon);
                    *target = (f64::from(shift[channel]) - f64::from(mean[channel]) * factor) as f32;
                }
            }
            PackSource::Plain { node } => target.copy_from_slice(values[node].data()),
            PackSource::Bias { bias: None, .. } | PackSource::Zeros { .. } => {}
        }
    }
}

fn norm_scale(scale: f32, variance: f32, epsilon: u32) -> f64 {
    f64::from(scale) / (f64::from(variance) + f64::from(f32::from_bits(epsilon))).sqrt()
}
