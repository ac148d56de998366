//! What tables say of a kernel beside its name.

use super::crossed::Arithmetic;
use super::product::Tile;
use super::{ElementFunction, KernelSpec, View};

impl KernelSpec {
    /// How it computes: `direct`, `crossed`, `winograd4x4`, `depthwise`, … Products of other families are crossed too,
    /// which the kernel's name says.
    pub fn algorithm(&self) -> &'static str {
        match self {
            KernelSpec::BatchNorm(_) => "batch norm",
            KernelSpec::Chain(_) => "depthwise+pointwise",
            KernelSpec::Conv(kernel) if kernel.arithmetic.is_crossed() => "crossed",
            KernelSpec::Conv(_) => "direct",
            KernelSpec::Depthwise(_) => "depthwise",
            KernelSpec::Elementwise(kernel) if kernel.function == ElementFunction::Copy => "copy",
            KernelSpec::Elementwise(_) => "elementwise",
            KernelSpec::Fill(_) => "fill",
            KernelSpec::GlobalPool(_) => "global pool",
            KernelSpec::Lrn(_) => "lrn",
            KernelSpec::MatMul(_) => "matmul",
            KernelSpec::Polyphase(_) => "polyphase",
            KernelSpec::Pool(_) => "pool",
            KernelSpec::Reduce(_) => "reduce",
            KernelSpec::Sampling(_) => "sample",
            KernelSpec::Softmax(_) => "softmax",
            KernelSpec::Winograd(kernel) => match kernel.method.tile() {
                [4, 4] => "winograd4x4",
                [4, _] => "winograd4x2",
                [_, 4] => "winograd2x4",
                _ => "winograd2x2",
            },
        }
    }

    /// The register tile, output rows × columns × vectors of channels, where the kernel has one; neighbouring pixels
    /// of depthwise convolution.
    pub fn tile(&self) -> Option<String> {
        let text = |Tile { rows, columns, vectors }: Tile| format!("{rows}x{columns}x{vectors}");
        match self {
            KernelSpec::Conv(kernel) => Some(text(kernel.tile)),
            KernelSpec::Polyphase(kernel) => Some(text(kernel.tile)),
            KernelSpec::Winograd(kernel) => Some(text(kernel.tile)),
            KernelSpec::Chain(kernel) => Some(format!("{}+{}", kernel.columns, text(kernel.tile))),
            KernelSpec::Depthwise(kernel) => Some(kernel.columns.to_string()),
            _ => None,
        }
    }

    /// Multiply-adds as direct convolution counts them.
    pub fn multiply_adds(&self) -> u64 {
        match self {
            KernelSpec::Chain(kernel) => kernel.multiply_adds(),
            KernelSpec::Conv(kernel) => kernel.multiply_adds(),
            KernelSpec::Depthwise(kernel) => kernel.multiply_adds(),
            KernelSpec::MatMul(kernel) => kernel.multiply_adds(),
            KernelSpec::Polyphase(kernel) => kernel.multiply_adds(),
            KernelSpec::Winograd(kernel) => kernel.multiply_adds(),
            _ => 0,
        }
    }

    /// Multiply-adds that the algorithm cannot do without: those of the products, for Winograd's method and minimal
    /// filtering; what is left of them, for crossed products.
    pub fn essential_multiply_adds(&self) -> u64 {
        match self {
            KernelSpec::Conv(kernel) => {
                spared(kernel.multiply_adds(), kernel.arithmetic, &kernel.x, &kernel.y)
            }
            KernelSpec::Chain(kernel) => {
                spared(kernel.multiply_adds(), kernel.arithmetic, &kernel.x, &kernel.y)
            }
            KernelSpec::Polyphase(kernel) => kernel.essential_multiply_adds(),
            KernelSpec::Winograd(kernel) => {
                let [n, o, h, w] = kernel.y.dims[..] else { unreachable!("rank 4") };
                let [height, width] = kernel.method.tile();
                let tiles = n * h.div_ceil(height) * w.div_ceil(width);
                let channels = kernel.arithmetic.multiply_adds(kernel.x.dims[1] / kernel.groups);
                (tiles * kernel.method.products() * o * channels) as u64
            }
            _ => self.multiply_adds(),
        }
    }
}

/// The multiply-adds of a 1×1 convolution, and what may come before it, but for those that crossing its products spares.
fn spared(multiply_adds: u64, arithmetic: Arithmetic, x: &View, y: &View) -> u64 {
    let channels = x.dims[1];
    multiply_adds - (y.elements() * (channels - arithmetic.multiply_adds(channels))) as u64
}
