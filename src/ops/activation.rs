//! Element-wise activations, as nodes of their own and as steps of an [`Epilogue`](super::Epilogue).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::json_float;
use crate::tensor::{Shape, Tensor};

/// A function of one element.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)` (MobileNets)
    Relu6,
    /// `x` where positive, `slope · x` elsewhere
    LeakyRelu {
        slope: f32,
    },
    /// `min(max(x, min), max)`
    Clip {
        #[serde(with = "json_float")]
        min: f32,
        #[serde(with = "json_float")]
        max: f32,
    },
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x · sigmoid(x)`, also called swish
    Silu,
    /// `min(max(alpha · x + beta, 0), 1)` (ONNX HardSigmoid)
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    /// `x · hard_sigmoid(x)` with `alpha = 1/6`, `beta = 1/2` (ONNX HardSwish)
    HardSwish,
    Tanh,
    /// `x` where positive, `alpha · (e^x - 1)` elsewhere
    Elu {
        alpha: f32,
    },
    /// `gamma · x` where positive, `gamma · alpha · (e^x - 1)` elsewhere (Klambauer et al., 2017)
    Selu {
        alpha: f32,
        gamma: f32,
    },
    /// `ln(1 + e^x)`
    Softplus,
    /// `x · tanh(softplus(x))` (Misra, 2019)
    Mish,
}

impl Activation {
    pub fn name(&self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::Clip { .. } => "clip",
            Activation::Sigmoid => "sigmoid",
            Activation::Silu => "silu",
            Activation::HardSigmoid { .. } => "hard_sigmoid",
            Activation::HardSwish => "hard_swish",
            Activation::Tanh => "tanh",
            Activation::Elu { .. } => "elu",
            Activation::Selu { .. } => "selu",
            Activation::Softplus => "softplus",
            Activation::Mish => "mish",
        }
    }

    pub fn apply(&self, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let elu = |x: f64, alpha: f32| if x > 0.0 { x } else { f64::from(alpha) * x.exp_m1() };
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        match *self {
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::LeakyRelu { slope } if x < 0.0 => x * f64::from(slope),
            Activation::LeakyRelu { .. } => x,
            Activation::Clip { min, max } => x.max(f64::from(min)).min(f64::from(max)),
            Activation::Sigmoid => sigmoid(x),
            Activation::Silu => x * sigmoid(x),
            Activation::HardSigmoid { alpha, beta } => {
                (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
            }
            Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Activation::Tanh => x.tanh(),
            Activation::Elu { alpha } => elu(x, alpha),
            Activation::Selu { alpha, gamma } => f64::from(gamma) * elu(x, alpha),
            Activation::Softplus => softplus(x),
            Activation::Mish => x * softplus(x).tanh(),
        }
    }
}

impl Operator for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let x = inputs[0];
        let data = x.data().iter().map(|&v| self.apply(f64::from(v)) as f32).collect();
        Tensor::new(x.shape().clone(), data)
    }

    fn cost(&self, _inputs: &[&Shape], output: &Shape) -> Cost {
        Cost { multiply_adds: 0, other: output.elements() as u64 }
    }
}
