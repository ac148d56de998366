//! The epilogue as kernels run it: on registers, just before they are stored.

use super::math;
use super::view::{View, is_plain};
use crate::codegen::vector::{Access, Address, Affine, Builder, Reg};
use crate::ops::Activation;

/// An [`Epilogue`](crate::ops::Epilogue) whose operands have found their place in memory.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FusedEpilogue(pub Vec<FusedStep>);

/// A step of a [`FusedEpilogue`].
#[derive(Clone, PartialEq, Debug)]
pub enum FusedStep {
    Activation(Activation),
    /// `x · scale[c] + shift[c]`; two buffers of `channels` elements.
    ScaleShift {
        channels: usize,
    },
    /// `x + operand`; one buffer.
    Add(View),
    /// `x · operand`; one buffer.
    Mul(View),
}

/// The buffers that a kernel declared for an epilogue's operands.
#[derive(Default)]
pub struct EpilogueBuffers<'a> {
    steps: Vec<(&'a FusedStep, Vec<Address>)>,
}

impl FusedEpilogue {
    /// Declares the operands' buffers, in order.
    pub fn declare(&self, k: &mut Builder) -> EpilogueBuffers<'_> {
        let mut buffers = 0;
        let mut declare = |k: &mut Builder, what: &str, elements| {
            buffers += 1;
            k.buffer(&format!("{what}{buffers}"), Access::Read, elements)
        };
        let steps = self.0.iter().map(|step| {
            let operands = match step {
                FusedStep::Activation(_) => vec![],
                FusedStep::ScaleShift { channels } => {
                    vec![declare(k, "scale", *channels), declare(k, "shift", *channels)]
                }
                FusedStep::Add(view) => vec![declare(k, "addend", view.end())],
                FusedStep::Mul(view) => vec![declare(k, "factor", view.end())],
            };
            (step, operands)
        });
        EpilogueBuffers { steps: steps.collect() }
    }

    /// What a kernel's name says of its epilogue, such as `_add_relu`: equal suffixes, equal
    /// steps on a value of the same dims.
    pub fn suffix(&self) -> String {
        let operand = |view: &View| match view.layout() {
            layout if is_plain(&layout) => String::new(),
            layout => format!(".{layout}"),
        };
        let name = |step: &FusedStep| match step {
            FusedStep::Activation(activation) => math::activation_name(activation),
            FusedStep::ScaleShift { .. } => "scaleshift".to_owned(),
            FusedStep::Add(view) => format!("add{}", operand(view)),
            FusedStep::Mul(view) => format!("mul{}", operand(view)),
        };
        self.0.iter().map(|step| format!("_{}", name(step))).collect()
    }

    /// The strides at which the operands are read beside a value of these dims.
    pub fn strides(&self, dims: &[usize]) -> Vec<Vec<usize>> {
        let strides = self.0.iter().filter_map(|step| match step {
            FusedStep::Activation(_) => None,
            FusedStep::ScaleShift { .. } => {
                Some((0..dims.len()).map(|axis| usize::from(axis == 1)).collect())
            }
            FusedStep::Add(view) | FusedStep::Mul(view) => Some(view.strides.clone()),
        });
        strides.collect()
    }

    /// Whether the operands' elements along `axis` of a value of these dims are contiguous or all the same, as
    /// vectors along it need.
    pub fn is_contiguous_along(&self, dims: &[usize], axis: usize) -> bool {
        dims[axis] == 1 || self.strides(dims).iter().all(|strides| strides[axis] <= 1)
    }
}

impl EpilogueBuffers<'_> {
    /// Brings nearer what [`EpilogueBuffers::apply`] reads of arrays as large as the value.
    pub fn prefetch(&self, k: &mut Builder, coordinates: &[Affine]) {
        for (step, operands) in &self.steps {
            if let FusedStep::Add(view) | FusedStep::Mul(view) = step {
                k.prefetch(view.at(&operands[0], coordinates));
            }
        }
    }

    /// Applies the steps to `value`, whose first lane is the element at `coordinates` (`[n, c, …]`) and whose
    /// lanes run along `axis`.
    ///
    /// # Panics
    /// If an operand's elements are neither contiguous nor all the same along `axis` while `lanes > 1`.
    pub fn apply(
        &self,
        k: &mut Builder,
        mut value: Reg,
        coordinates: &[Affine],
        axis: usize,
        lanes: usize,
    ) -> Reg {
        for (step, operands) in &self.steps {
            value = match step {
                FusedStep::Activation(activation) => math::activation(k, *activation, value),
                FusedStep::ScaleShift { .. } => {
                    let stride = usize::from(axis == 1);
                    let [scale, shift] =
                        [0, 1].map(|i| along(k, operands[i].at(&coordinates[1], 1usize), stride, lanes));
                    k.fma(value, scale, shift)
                }
                FusedStep::Add(view) => {
                    let operand = along(k, view.at(&operands[0], coordinates), view.strides[axis], lanes);
                    k.add(value, operand)
                }
                FusedStep::Mul(view) => {
                    let operand = along(k, view.at(&operands[0], coordinates), view.strides[axis], lanes);
                    k.mul(value, operand)
                }
            };
        }
        value
    }
}

/// `lanes` elements that are `stride` (0 or 1) apart.
pub fn along(k: &mut Builder, at: Address, stride: usize, lanes: usize) -> Reg {
    match stride {
        _ if lanes == 1 => k.load_lanes(at, 1),
        0 => k.broadcast(at),
        1 => k.load_lanes(at, lanes),
        _ => panic!("lanes run along an axis of stride {stride}"),
    }
}
