//! Weights in the order in which GPU kernels read them.

use std::collections::HashMap;
use std::sync::Arc;

use half::f16;

use crate::codegen::ptx::Element;
use crate::graph::{Graph, NodeId};
use crate::kernels::gpu::gemm::Precision;
use crate::lower::PackSource;
use crate::tensor::Tensor;

/// An array in the blob of weights.
#[derive(Clone, PartialEq, Debug)]
pub struct GpuPackedArray {
    pub source: GpuPackSource,
    /// Its first byte.
    pub offset: usize,
    pub bytes: usize,
}

/// How an array is made from the values of weight expressions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum GpuPackSource {
    /// `f32` as CPU kernels read it, too.
    Common(PackSource),
    /// The bits of numbers that no weight decides.
    Literal(Vec<u32>),
    /// As it is, rounded to half floats.
    Half { node: NodeId },
    /// `[o, c / groups, kh, kw]` as `[kh][kw][c / groups][o]`.
    Grouped { weight: NodeId },
    /// `[o, c / groups, kh, kw]` as the tiles of a matrix product.
    Filter { weight: NodeId, packed: FilterTiles },
}

/// `[group][panel][step]`, each step `depth` elements of the reduction (`[kh][kw][c]`) of a panel of `outputs`
/// outputs, filled up with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FilterTiles {
    pub groups: usize,
    /// Output channels of a panel.
    pub width: usize,
    pub precision: Precision,
}

impl GpuPackSource {
    pub fn literal(values: &[f32]) -> Self {
        GpuPackSource::Literal(values.iter().map(|value| value.to_bits()).collect())
    }

    /// Bytes of the packed array.
    pub fn bytes(&self, graph: &Graph) -> usize {
        match self {
            GpuPackSource::Common(source) => source.elements(graph) * Element::F32.bytes(),
            GpuPackSource::Literal(bits) => bits.len() * Element::F32.bytes(),
            GpuPackSource::Half { node } => graph.shape(*node).elements() * Element::F16.bytes(),
            GpuPackSource::Grouped { weight } => graph.shape(*weight).elements() * Element::F32.bytes(),
            GpuPackSource::Filter { weight, packed } => {
                let dims = graph.shape(*weight).dims();
                let [panels, steps] = packed.extents(dims[0], dims[1..].iter().product());
                packed.groups
                    * panels
                    * steps
                    * packed.width
                    * packed.precision.depth()
                    * packed.precision.element().bytes()
            }
        }
    }

    /// The weight expressions whose values it needs.
    pub fn nodes(&self) -> Vec<NodeId> {
        match self {
            GpuPackSource::Common(source) => source.nodes(),
            GpuPackSource::Literal(_) => Vec::new(),
            GpuPackSource::Half { node: weight }
            | GpuPackSource::Grouped { weight }
            | GpuPackSource::Filter { weight, .. } => vec![*weight],
        }
    }

    /// Writes the packed array, little-endian, into `target`, which holds zeros.
    ///
    /// # Panics
    /// If `values` lacks one of [`GpuPackSource::nodes`].
    pub fn pack(&self, values: &HashMap<NodeId, Arc<Tensor>>, target: &mut [u8]) {
        match self {
            GpuPackSource::Common(source) => {
                let mut array = vec![0.0; target.len() / Element::F32.bytes()];
                source.pack(values, &mut array);
                put_all(&array, Element::F32, target);
            }
            GpuPackSource::Literal(bits) => {
                let values: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
                put_all(&values, Element::F32, target);
            }
            GpuPackSource::Half { node } => put_all(values[node].data(), Element::F16, target),
            GpuPackSource::Grouped { weight } => {
                let weight = &values[weight];
                let outputs = weight.shape().dims()[0];
                let [channels, taps] = channels_and_taps(weight);
                for (at, &value) in weight.data().iter().enumerate() {
                    let (output, channel, tap) = (at / (channels * taps), at / taps % channels, at % taps);
                    put((tap * channels + channel) * outputs + output, value, Element::F32, target);
                }
            }
            GpuPackSource::Filter { weight, packed } => packed.pack(&values[weight], target),
        }
    }
}

/// The channels of one group, and the positions of the kernel, of `[o, c]` or `[o, c, kh, kw]`.
fn channels_and_taps(weight: &Tensor) -> [usize; 2] {
    let dims = weight.shape().dims();
    [dims[1], dims[2..].iter().product()]
}

impl FilterTiles {
    /// Panels of a group and steps of a reduction, for `outputs` of all groups.
    fn extents(&self, outputs: usize, reduction: usize) -> [usize; 2] {
        [(outputs / self.groups).div_ceil(self.width), reduction.div_ceil(self.precision.depth())]
    }

    fn pack(&self, weight: &Tensor, target: &mut [u8]) {
        let [channels, taps] = channels_and_taps(weight);
        let outputs = weight.shape().dims()[0];
        let reduction = channels * taps;
        let [panels, steps] = self.extents(outputs, reduction);
        let (own, depth, element) = (outputs / self.groups, self.precision.depth(), self.precision.element());
        for (output, filter) in weight.data().chunks_exact(reduction).enumerate() {
            let (group, output) = (output / own, output % own);
            let (panel, column) = (group * panels + output / self.width, output % self.width);
            for tap in 0..taps {
                for channel in 0..channels {
                    let index = tap * channels + channel;
                    let step = panel * steps + index / depth;
                    let place = step * depth * self.width + self.place(index % depth, column);
                    let value = filter[channel * taps + tap];
                    let value = if self.precision == Precision::Tf32 { round_to_tf32(value) } else { value };
                    put(place, value, element, target);
                }
            }
        }
    }

    /// Where an element lies in its step.
    fn place(&self, depth: usize, column: usize) -> usize {
        match self.precision {
            Precision::F32 => depth * self.width + column,
            // As the lanes of a warp hold a tensor core's right factor: for each eight columns, each lane's 16 bytes.
            Precision::Tf32 => {
                let (lane, register) = (column % 8 * 4 + depth % 4, depth / 4);
                column / 8 * 128 + lane * 4 + register
            }
            Precision::F16 => {
                let (lane, register) = (column % 8 * 4 + depth % 8 / 2, depth / 8);
                column / 8 * 256 + lane * 8 + register * 2 + depth % 2
            }
        }
    }
}

/// To nearest with 10 bits behind the leading one, ties away from zero, as `cvt.rna.tf32` does.
fn round_to_tf32(value: f32) -> f32 {
    f32::from_bits(value.to_bits().wrapping_add(0x1000) & 0xffff_e000)
}

fn put_all(values: &[f32], element: Element, target: &mut [u8]) {
    for (at, &value) in values.iter().enumerate() {
        put(at, value, element, target);
    }
}

fn put(at: usize, value: f32, element: Element, target: &mut [u8]) {
    match element {
        Element::F32 => target[at * 4..][..4].copy_from_slice(&value.to_le_bytes()),
        Element::F16 => target[at * 2..][..2].copy_from_slice(&f16::from_f32(value).to_le_bytes()),
    }
}
