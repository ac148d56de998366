//! Looking at the values inside a run.

use super::RunError;
use super::executable::Executable;
use crate::graph::NodeId;
use crate::kernels::View;
use crate::lower::{Binding, PlacedValue};
use crate::tensor::{Shape, Tensor};

impl Executable {
    /// [`Executable::run`] that shows the value of each node of [`Compiled::graph`](super::Compiled::graph) that has
    /// one in memory, model inputs included, once it is complete and before its place is used again. The kernels and
    /// the arena are those of any run.
    ///
    /// # Errors
    /// Where the inputs' number or shapes are not the model's.
    pub fn run_observed(
        &mut self,
        inputs: &[Tensor],
        mut observe: impl FnMut(NodeId, Tensor),
    ) -> Result<Vec<Tensor>, RunError> {
        self.check_inputs(inputs)?;
        let inputs: Vec<&[f32]> = inputs.iter().map(Tensor::data).collect();
        let mut outputs = self.empty_outputs();
        let (values, steps) = (self.compiled.plan().values.clone(), self.steps().len());
        let mut values = values.into_iter().peekable();
        for done in 0..=steps {
            // The first round runs nothing: it checks the arrays, and inputs may be complete already.
            let mut targets: Vec<&mut [f32]> = outputs.iter_mut().map(Tensor::data_mut).collect();
            self.execute_steps(done.saturating_sub(1)..done, &inputs, &mut targets, None)?;
            while let Some(PlacedValue { node, view, binding, .. }) =
                values.next_if(|value| value.after <= done)
            {
                let buffer = match binding {
                    Binding::Arena(id) => {
                        let offset = self.compiled.plan().arena.offsets[id];
                        &self.arena.as_mut_slice()[offset..]
                    }
                    Binding::Input(position) => inputs[position],
                    Binding::Output(position) => outputs[position].data(),
                    // Weights and scratch memory hold no activation.
                    Binding::Weights(_) | Binding::Scratch => continue,
                };
                observe(node, gather(&view, buffer));
            }
        }
        Ok(outputs)
    }
}

/// The row-major copy of a view.
fn gather(view: &View, buffer: &[f32]) -> Tensor {
    Tensor::from_fn(Shape::new(view.dims.clone()), |index| {
        let distance: usize = index.iter().zip(&view.strides).map(|(index, stride)| index * stride).sum();
        buffer[view.offset + distance]
    })
}
