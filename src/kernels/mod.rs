//! Kernel families, each described once in the vector loop language.
//!
//! A family is a struct that says everything about one kernel: views of its arrays, window, epilogue, tile. From
//! it come the kernel's name (the problem string, which names the kernel everywhere), and its code for any
//! vector width. Buffers are declared in the order: arrays read, weights, epilogue operands, array written,
//! scratch.

pub mod batch_norm;
pub mod chain;
pub mod conv;
pub mod crossed;
pub mod depthwise;
mod describe;
pub mod elementwise;
mod ends;
pub mod epilogue;
pub mod fill;
pub mod global_pool;
pub mod gpu;
pub mod lrn;
pub mod math;
pub mod matmul;
mod nest;
pub mod packed;
pub mod polyphase;
pub mod pool;
pub mod problem;
pub mod product;
mod reduce;
pub mod reduction;
pub mod sampling;
pub mod softmax;
mod special;
pub mod view;
pub mod winograd;

pub use batch_norm::BatchNormKernel;
pub use elementwise::{ElementFunction, Elementwise};
pub use epilogue::{FusedEpilogue, FusedStep};
pub use fill::Fill;
pub use global_pool::GlobalPoolKernel;
pub use lrn::LrnKernel;
pub use matmul::MatMulKernel;
pub use pool::PoolKernel;
pub use reduction::ReduceKernel;
pub use sampling::SamplingKernel;
pub use softmax::SoftmaxKernel;
pub use view::View;

use crate::codegen::vector::Kernel;

/// What every kernel family can say.
pub trait Family {
    /// The problem string: equal strings, equal kernels.
    fn name(&self) -> String;

    /// The kernel for vectors of `lanes` elements.
    fn build(&self, lanes: usize) -> Kernel;
}

macro_rules! kernel_specs {
    ($($variant:ident($family:ty)),* $(,)?) => {
        /// Any kernel family.
        #[derive(Clone, PartialEq, Debug)]
        pub enum KernelSpec {
            $($variant($family),)*
        }

        impl Family for KernelSpec {
            fn name(&self) -> String {
                match self {
                    $(KernelSpec::$variant(family) => family.name(),)*
                }
            }

            fn build(&self, lanes: usize) -> Kernel {
                match self {
                    $(KernelSpec::$variant(family) => family.build(lanes),)*
                }
            }
        }
    };
}

kernel_specs!(
    BatchNorm(batch_norm::BatchNormKernel),
    Chain(chain::ChainKernel),
    Conv(conv::ConvKernel),
    Depthwise(depthwise::DepthwiseKernel),
    Elementwise(elementwise::Elementwise),
    Fill(fill::Fill),
    GlobalPool(global_pool::GlobalPoolKernel),
    Lrn(lrn::LrnKernel),
    MatMul(matmul::MatMulKernel),
    Polyphase(polyphase::PolyphaseKernel),
    Pool(pool::PoolKernel),
    Reduce(reduction::ReduceKernel),
    Sampling(sampling::SamplingKernel),
    Softmax(softmax::SoftmaxKernel),
    Winograd(winograd::WinogradKernel),
);
