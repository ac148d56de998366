//! Element-wise work done on a value while it is still in registers, before it is stored.

use serde::{Deserialize, Serialize};

use super::{Activation, Cost, ShapeError};
use crate::tensor::{Shape, Tensor};

/// The steps applied, in order, to each element that a node's operator yields.
///
/// Operands are trailing inputs of the node, after the operator's own.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epilogue(pub Vec<EpilogueStep>);

/// One step of an [`Epilogue`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum EpilogueStep {
    Activation(Activation),
    /// `x · scale[c] + shift[c]` along axis 1; two operands of shape `[c]`.
    ScaleShift,
    /// `x + operand`; one operand of the output's own shape.
    Add,
    /// `x · operand`; one operand of the output's own shape.
    Mul,
}

impl EpilogueStep {
    /// The name in the graph's text form.
    pub fn name(&self) -> &'static str {
        match self {
            EpilogueStep::Activation(activation) => activation.name(),
            EpilogueStep::ScaleShift => "scale_shift",
            EpilogueStep::Add => "add",
            EpilogueStep::Mul => "mul",
        }
    }

    /// How many trailing inputs the step reads.
    pub fn operands(&self) -> usize {
        match self {
            EpilogueStep::Activation(_) => 0,
            EpilogueStep::ScaleShift => 2,
            EpilogueStep::Add | EpilogueStep::Mul => 1,
        }
    }

    /// Whether operands of these shapes fit a value of shape `value`.
    pub fn accepts(&self, value: &Shape, operands: &[&Shape]) -> bool {
        match self {
            EpilogueStep::Activation(_) => true,
            EpilogueStep::ScaleShift => {
                value.rank() >= 2 && operands.iter().all(|s| s.dims() == [value.dims()[1]])
            }
            EpilogueStep::Add | EpilogueStep::Mul => operands.iter().all(|s| *s == value),
        }
    }
}

impl Epilogue {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many trailing inputs all steps read together.
    pub fn operands(&self) -> usize {
        self.0.iter().map(EpilogueStep::operands).sum()
    }

    /// Whether operands of these shapes fit the steps on a value of shape `value`.
    ///
    /// # Errors
    /// The first step that lacks an operand or does not take those it is given; operands left over.
    pub fn check(&self, value: &Shape, operands: &[&Shape]) -> Result<(), ShapeError> {
        let mut rest = operands;
        for step in &self.0 {
            let Some((these, others)) = rest.split_at_checked(step.operands()) else {
                return Err(ShapeError::new(format!("epilogue step {} lacks an operand", step.name())));
            };
            rest = others;
            if !step.accepts(value, these) {
                return Err(ShapeError::new(format!(
                    "epilogue step {} does not take operands {these:?} on a value {value}",
                    step.name()
                )));
            }
        }
        match rest {
            [] => Ok(()),
            _ => Err(ShapeError::new(format!("operands {rest:?} belong to no step of the epilogue"))),
        }
    }

    /// Arithmetic on a value of shape `value`.
    pub fn cost(&self, value: &Shape) -> Cost {
        let per_element: u64 = self.0.iter().map(|step| step.operands().max(1) as u64).sum();
        Cost { multiply_adds: 0, other: per_element * value.elements() as u64 }
    }

    /// Reference evaluation, in place.
    pub fn apply(&self, value: &mut Tensor, operands: &[&Tensor]) {
        let mut rest = operands;
        for step in &self.0 {
            let (these, others) = rest.split_at(step.operands());
            rest = others;
            let shape = value.shape().clone();
            let inner: usize = shape.dims().iter().skip(2).product();
            for (at, v) in value.data_mut().iter_mut().enumerate() {
                let x = f64::from(*v);
                *v = match step {
                    EpilogueStep::Activation(activation) => activation.apply(x),
                    EpilogueStep::ScaleShift => {
                        let channel = at / inner % shape.dims()[1];
                        x * f64::from(these[0].data()[channel]) + f64::from(these[1].data()[channel])
                    }
                    EpilogueStep::Add => x + f64::from(these[0].data()[at]),
                    EpilogueStep::Mul => x * f64::from(these[0].data()[at]),
                } as f32;
            }
        }
    }
}
