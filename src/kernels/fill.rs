//! Filling an array with a constant: what padding is made of.

use std::slice;

use super::nest::{Nest, steps};
use super::view::dims_name;
use super::{Family, View};
use crate::codegen::vector::{Access, Builder, Kernel};

/// Every element of `output` becomes `value`. Buffers: the output.
#[derive(Clone, PartialEq, Debug)]
pub struct Fill {
    pub output: View,
    pub value: f32,
}

impl Family for Fill {
    fn name(&self) -> String {
        format!("fill{:?}_{}_{}", self.value, dims_name(&self.output.dims), self.output.layout())
    }

    fn build(&self, lanes: usize) -> Kernel {
        let mut k = Builder::new(self.name(), lanes);
        let y = k.buffer("y", Access::Write, self.output.end());
        let dims = &self.output.dims;
        let nest = Nest::new(0..dims.len(), dims, slice::from_ref(&self.output.strides));
        let run = nest.run();
        let lanes = if run.extent > 1 && self.output.strides[run.axis] == 1 { lanes } else { 1 };
        nest.emit(&mut k, 1, 4 * lanes, &|k, at, run| {
            let value = k.constant(self.value);
            steps(k, &at[run.axis], run.extent, lanes, 4, |k, start, lanes| {
                let mut at = at[..dims.len()].to_vec();
                if let Some(coordinate) = at.get_mut(run.axis) {
                    *coordinate = start.clone();
                }
                k.store_lanes(value, self.output.at(&y, &at), lanes);
            });
        });
        k.finish()
    }
}
