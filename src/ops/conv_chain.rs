//! Convolutions computed as one kernel, each feeding the next through scratch memory.

use std::iter;

use serde::{Deserialize, Serialize};

use super::{Conv, Cost, Epilogue, Operator, ShapeError};
use crate::tensor::{Shape, Tensor};

/// A chain of convolutions, depthwise→pointwise most of all. Only passes make it.
///
/// Inputs: `x`, then for each stage its weight, its bias where `has_bias`, and its epilogue's operands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConvChain {
    pub stages: Vec<ConvStage>,
}

/// One convolution of a [`ConvChain`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConvStage {
    /// The layer it was, for profiles and messages.
    pub name: String,
    pub conv: Conv,
    pub has_bias: bool,
    pub epilogue: Epilogue,
}

impl ConvStage {
    /// How many of the chain's inputs the stage reads: weight, bias, its epilogue's operands.
    pub fn operands(&self) -> usize {
        self.conv_operands() + self.epilogue.operands()
    }

    fn conv_operands(&self) -> usize {
        1 + usize::from(self.has_bias)
    }

    /// The shape of the stage's result for its input `x` and its operands.
    ///
    /// # Errors
    /// Where they do not fit the convolution or its epilogue.
    ///
    /// # Panics
    /// If there are not [`ConvStage::operands`] operands.
    pub fn infer(&self, x: &Shape, operands: &[&Shape]) -> Result<Shape, ShapeError> {
        let (own, epilogue) = operands.split_at(self.conv_operands());
        let inputs: Vec<&Shape> = iter::once(x).chain(own.iter().copied()).collect();
        let shape = self.conv.infer(&inputs)?;
        self.epilogue.check(&shape, epilogue)?;
        Ok(shape)
    }
}

impl Operator for ConvChain {
    fn name(&self) -> &'static str {
        "conv_chain"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn maximum_inputs(&self) -> Option<usize> {
        None
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let needed = 1 + self.stages.iter().map(ConvStage::operands).sum::<usize>();
        if inputs.len() != needed {
            return Err(ShapeError::new(format!(
                "this conv_chain reads {needed} values, not {}: x, then the operands of each stage",
                inputs.len()
            )));
        }
        let mut shape = inputs[0].clone();
        let mut rest = &inputs[1..];
        for stage in &self.stages {
            let (operands, others) = rest.split_at(stage.operands());
            rest = others;
            shape = stage.infer(&shape, operands).map_err(|error| ShapeError {
                problem: format!("in stage '{}': {}", stage.name, error.problem),
                ..error
            })?;
        }
        Ok(shape)
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let mut value = inputs[0].clone();
        let mut rest = &inputs[1..];
        for stage in &self.stages {
            let (operands, others) = rest.split_at(stage.operands());
            rest = others;
            let (own, epilogue) = operands.split_at(stage.conv_operands());
            let conv_inputs: Vec<&Tensor> = iter::once(&value).chain(own.iter().copied()).collect();
            value = stage.conv.evaluate(&conv_inputs);
            stage.epilogue.apply(&mut value, epilogue);
        }
        value
    }

    fn cost(&self, inputs: &[&Shape], _output: &Shape) -> Cost {
        let mut cost = Cost::default();
        let mut shape = inputs[0].clone();
        let mut rest = &inputs[1..];
        for stage in &self.stages {
            let (operands, others) = rest.split_at(stage.operands());
            rest = others;
            let output = stage.infer(&shape, operands).expect("inferred");
            cost += stage.conv.cost(&[&shape, operands[0]], &output);
            cost += stage.epilogue.cost(&output);
            shape = output;
        }
        cost
    }
}
