//! The two ends of a matrix product: what its sums start from, and what becomes of them.

use super::epilogue::EpilogueBuffers;
use super::product::sum;
use super::view::View;
use crate::codegen::vector::{Address, Affine, Builder, Reg};

/// What the sums of a product start from, and what becomes of them.
pub(super) trait Ends {
    /// Whether ends read or write what is worth [bringing nearer](Ends::bring_nearer).
    fn are_far(&self) -> bool {
        false
    }

    /// Asks for what the ends of elements read and write, before their sums are computed.
    fn bring_nearer(&self, _k: &mut Builder, _at: &Elements) {}

    /// What the sums of each pixel's elements start from, in all lanes: zero, unless ends say otherwise.
    fn start(&self, k: &mut Builder, at: &Elements) -> Vec<Reg> {
        at.pixels.iter().map(|_| k.constant(0.0)).collect()
    }

    /// Takes the sums of each pixel's elements; called after [`Ends::start`] of every vector of the tile.
    fn finish(&self, k: &mut Builder, at: &Elements, sums: Vec<Reg>);
}

/// A vector of output channels of some pixels.
#[derive(Clone)]
pub(super) struct Elements<'a> {
    /// The first channel, counted within the group.
    pub channel: Affine,
    /// How many channels the output has there; at most a vector.
    pub lanes: usize,
    /// Rows and columns, counted from the region's first.
    pub pixels: &'a [[Affine; 2]],
}

/// The ends of a whole layer: sums start from the bias and go through the epilogue to `y`.
pub(super) struct Layer<'a> {
    /// Of the group, packed as [`PackedFilter`] says.
    pub bias: Address,
    pub epilogue: &'a EpilogueBuffers<'a>,
    pub y: (&'a View, Address),
    pub image: Affine,
    /// The group's first channel in `y`.
    pub first_channel: Affine,
    /// The region's first row and column in `y`.
    pub origin: [Affine; 2],
}

impl Layer<'_> {
    /// The coordinates of a pixel's elements in `y`.
    fn coordinates(&self, at: &Elements, pixel: &[Affine; 2]) -> [Affine; 4] {
        let [row, column] = [0, 1].map(|axis| sum(&self.origin[axis], &pixel[axis]));
        [self.image.clone(), sum(&self.first_channel, &at.channel), row, column]
    }
}

impl Ends for Layer<'_> {
    fn are_far(&self) -> bool {
        true
    }

    fn bring_nearer(&self, k: &mut Builder, at: &Elements) {
        for pixel in at.pixels {
            let coordinates = self.coordinates(at, pixel);
            self.epilogue.prefetch(k, &coordinates);
            k.prefetch(self.y.0.at(&self.y.1, &coordinates));
        }
    }

    fn start(&self, k: &mut Builder, at: &Elements) -> Vec<Reg> {
        at.pixels.iter().map(|_| k.load(self.bias.at(&at.channel, 1usize))).collect()
    }

    fn finish(&self, k: &mut Builder, at: &Elements, sums: Vec<Reg>) {
        for (pixel, value) in at.pixels.iter().zip(sums) {
            let coordinates = self.coordinates(at, pixel);
            let value = self.epilogue.apply(k, value, &coordinates, 1, at.lanes);
            k.store_lanes(value, self.y.0.at(&self.y.1, &coordinates), at.lanes);
        }
    }
}
