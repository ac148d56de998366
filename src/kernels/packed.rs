//! Weights as kernels read them.

use half::f16;

use super::crossed::Arithmetic;
use super::view::CACHE_LINE;

/// How weights are stored in memory. Arithmetic is `f32` in either case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum WeightType {
    #[default]
    F32,
    /// Half the bytes; widened in registers.
    F16,
}

impl WeightType {
    pub fn bytes(self) -> usize {
        match self {
            WeightType::F32 => 4,
            WeightType::F16 => 2,
        }
    }

    /// The first of some finite values that is too large for the type.
    pub fn out_of_range(self, values: &[f32]) -> Option<f32> {
        let too_large = |value: &f32| value.is_finite() && f16::from_f32(*value).is_infinite();
        match self {
            WeightType::F32 => None,
            WeightType::F16 => values.iter().copied().find(too_large),
        }
    }

    pub(super) fn suffix(self) -> &'static str {
        match self {
            WeightType::F32 => "",
            WeightType::F16 => "_f16",
        }
    }
}

/// The layout of packed weights: `[group][panel][kh][kw][c][panel_width]`, output channels innermost, the last
/// panel of each group filled up with zeros. A bias is packed alike, as `f32`: `[group][panel][panel_width]`.
///
/// For crossed products the rows of a tap's channels are in the order that [`Arithmetic::row_of`] says, and input and output channels
/// are scaled by powers of two such that the largest weight of each is about one. Two arrays follow the panels, packed as
/// a bias: what the weights that are taken crosswise add to an output channel's sums, and what brings it back to scale.
/// Then, for each group's reduction `[kh][kw][c]`, what an element of the input is multiplied with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PackedFilter {
    pub groups: usize,
    /// Output channels of one group.
    pub outputs: usize,
    /// `kh · kw · c` of one group.
    pub reduction: usize,
    /// Output channels of one panel; even.
    pub panel_width: usize,
    pub weight_type: WeightType,
    /// How sums of products are computed.
    pub arithmetic: Arithmetic,
}

impl PackedFilter {
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(self.panel_width)
    }

    /// Elements of the packed bias.
    pub fn bias_elements(&self) -> usize {
        self.groups * self.panels() * self.panel_width
    }

    /// Elements of memory, of four bytes each, that the weights of one step of the reduction take.
    pub fn row_elements(&self) -> usize {
        self.panel_width * self.weight_type.bytes() / WeightType::F32.bytes()
    }

    /// Elements of memory that the panels take.
    pub fn panel_elements(&self) -> usize {
        self.groups * self.panels() * self.row_elements() * self.reduction
    }

    /// Elements of memory that the packed weights take.
    pub fn elements(&self) -> usize {
        self.panel_elements()
            + match self.arithmetic {
                Arithmetic::Straight => 0,
                Arithmetic::Crossed(_) => {
                    2 * self.bias_elements() + (self.groups * self.reduction).next_multiple_of(CACHE_LINE)
                }
            }
    }

    pub fn is_crossed(&self) -> bool {
        self.arithmetic.is_crossed()
    }
}
