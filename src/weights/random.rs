//! Reproducible random parameters and inputs.

use super::Weights;
use crate::graph::Graph;
use crate::ops::{Init, Op};
use crate::tensor::{Shape, Tensor};

/// Random values for every parameter of `graph`, each drawn from its [`Init`].
///
/// The same on every machine, and easily made elsewhere: element `i`, in row-major order, of the parameter
/// with key `K` is
/// ```text
/// h = fnv1a64(utf8(K)) xor seed
/// z = h + (i + 1) · 0x9E3779B97F4A7C15                          all modulo 2^64
/// z = (z xor z >> 30) · 0xBF58476D1CE4E5B9                      the finalizer of SplitMix64
/// z = (z xor z >> 27) · 0x94D049BB133111EB
/// z =  z xor z >> 31
/// u = (z >> 40) / 2^24                                          exact in f32
/// value = low + (high - low) · u                                each step rounded to f32
/// ```
/// where a [`Init::Kaiming`] has `high = f32(sqrt(6 / fan_in))`, the root taken in `f64`, and `low = -high`.
pub fn random(graph: &Graph, seed: u64) -> Weights {
    let mut weights = Weights::default();
    for id in graph.topological_order() {
        if let Op::Parameter(parameter) = &graph.node(id).op
            && weights.get(&parameter.key).is_none()
        {
            let (low, high) = range(parameter.init);
            weights
                .insert(parameter.key.as_str(), uniform(&parameter.key, &parameter.shape, low, high, seed));
        }
    }
    weights
}

/// Random values in [-1, 1) for the model input `name`, by the scheme of [`random`] with the name as key.
pub fn random_input(name: &str, shape: &Shape, seed: u64) -> Tensor {
    uniform(name, shape, -1.0, 1.0, seed)
}

/// Random values for each input of a graph, in order, as [`random_input`] draws them.
pub fn random_inputs(graph: &Graph, seed: u64) -> Vec<Tensor> {
    graph.inputs().iter().map(|&id| random_input(&graph.node(id).name, graph.shape(id), seed)).collect()
}

fn range(init: Init) -> (f32, f32) {
    match init {
        Init::Kaiming { fan_in } => {
            let bound = (6.0 / fan_in as f64).sqrt() as f32;
            (-bound, bound)
        }
        Init::Uniform { low, high } => (low, high),
    }
}

fn uniform(key: &str, shape: &Shape, low: f32, high: f32, seed: u64) -> Tensor {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = fnv1a64(key.as_bytes()) ^ seed;
    let data = (0..shape.elements())
        .map(|_| {
            state = state.wrapping_add(GOLDEN);
            low + (high - low) * unit(state)
        })
        .collect();
    Tensor::new(shape.clone(), data)
}

/// A value in [0, 1) of 24 bits: SplitMix64 (Steele, Lea and Flood, 2014).
fn unit(mut z: u64) -> f32 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 40) as f32 / (1 << 24) as f32
}

/// Fowler, Noll and Vo's hash, variant 1a, 64 bits.
fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this Python program prints:
    /// ```text
    /// h, m = 0xcbf29ce484222325, 2**64
    /// for b in b'conv1.weight': h = (h ^ b) * 0x100000001b3 % m
    /// for i in range(4):
    ///     z = ((h ^ 7) + (i + 1) * 0x9E3779B97F4A7C15) % m
    ///     z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % m
    ///     z = (z ^ z >> 27) * 0x94D049BB133111EB % m
    ///     print(-1 + 2 * ((z ^ z >> 31) >> 40) / 2**24)      # every step is exact
    /// ```
    #[test]
    fn values_are_those_of_the_documented_scheme() {
        let tensor = uniform("conv1.weight", &Shape::from([4]), -1.0, 1.0, 7);
        assert_eq!(tensor.data(), [0.531_264_9, -0.937_496_9, 0.074_737_55, -0.304_745_32]);
    }

    #[test]
    fn kaiming_draws_fill_their_range() {
        let (low, high) = range(Init::Kaiming { fan_in: 6 });
        assert_eq!((low, high), (-1.0, 1.0));
        let tensor = uniform("w", &Shape::from([10_000]), low, high, 0);
        let mean = tensor.data().iter().sum::<f32>() / 10_000.0;
        let variance = tensor.data().iter().map(|v| v * v).sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0 / 3.0).abs() < 0.02, "{mean} {variance}");
        assert!(tensor.data().iter().all(|v| (-1.0..1.0).contains(v)));
    }
}
