//! Sums, and extremes, over some axes of products of arrays: reductions, products of matrices, and samplings.

use super::{Array, GpuFamily, Launch, arrays_name, linear_thread};
use crate::codegen::ptx::{Builder, Class, Entry, Space, Target, Value};
use crate::kernels::view::dims_name;
use crate::ops::ReduceFunction;

/// `y = Σ Π factors` over the axes that `y` lacks (or the mean, or an extreme), one output to a thread.
///
/// Arguments: the factors, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Contraction {
    pub function: ReduceFunction,
    /// The dims of `y`, then those that are reduced; along an axis that a factor lacks its stride is 0.
    pub factors: Vec<Array>,
    pub y: Array,
}

impl Contraction {
    /// The extents that are reduced.
    fn reduced(&self) -> &[usize] {
        &self.factors[0].view.dims[self.y.view.dims.len()..]
    }

    pub fn multiply_adds(&self) -> u64 {
        match self.factors.len() {
            1 => 0,
            _ => self.factors[0].view.elements() as u64,
        }
    }

    /// Calls `body` for each point of the extents that are left, behind the coordinates in `at`.
    fn each(
        b: &mut Builder,
        extents: &[usize],
        at: &mut Vec<Value>,
        body: &mut dyn FnMut(&mut Builder, &[Value]),
    ) {
        let Some((&extent, inner)) = extents.split_first() else { return body(b, at) };
        b.repeat(extent, |b, index| {
            at.push(index);
            Contraction::each(b, inner, at, body);
            at.pop();
        });
    }
}

impl GpuFamily for Contraction {
    fn name(&self) -> String {
        let strides = self.factors.iter().map(|factor| {
            let strides: Vec<String> = factor.view.strides.iter().map(usize::to_string).collect();
            format!("_s{}o{}{}", strides.join("s"), factor.view.offset, factor.element.name())
        });
        format!(
            "{}_{}_over_{}{}",
            self.function.name(),
            arrays_name(&self.y.view.dims, &[&self.y]),
            dims_name(self.reduced()),
            strides.collect::<String>()
        )
    }

    fn launch(&self) -> Launch {
        Launch::linear(self.y.view.elements())
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let mut b = Builder::new(entry, self.launch().threads as u32);
        let pointers: Vec<Value> = self.factors.iter().map(|_| b.pointer()).collect();
        let y = b.pointer();
        let dims = &self.y.view.dims;
        let thread = linear_thread(&mut b, self.y.view.elements());
        let place = b.coordinates(thread, dims);
        let start = match self.function {
            ReduceFunction::Sum | ReduceFunction::Mean => 0.0,
            ReduceFunction::Max => f32::NEG_INFINITY,
            ReduceFunction::Min => f32::INFINITY,
        };
        let total = b.variable(Class::F32, start);
        let mut at = place.clone();
        Contraction::each(&mut b, self.reduced(), &mut at, &mut |b, at| {
            let mut factors = self.factors.iter().zip(&pointers);
            let mut load = |b: &mut Builder| {
                factors.next().map(|(array, &base)| {
                    let from = array.at(b, base, at);
                    b.load(Space::Constant, array.element, 1, from, None)[0]
                })
            };
            let first = load(b).expect("there is a factor");
            match (self.function, load(b)) {
                (ReduceFunction::Sum | ReduceFunction::Mean, Some(second)) => {
                    b.accumulate(total, first, second)
                }
                (ReduceFunction::Sum | ReduceFunction::Mean, None) => b.accumulate_sum(total, first),
                (ReduceFunction::Max, _) => b.accumulate_max(total, first),
                (ReduceFunction::Min, _) => {
                    let least = b.fmin(total, first);
                    b.assign(total, least);
                }
            }
        });
        let value = match self.function {
            ReduceFunction::Mean => b.fdiv(total, self.reduced().iter().product::<usize>() as f32),
            _ => total,
        };
        let to = self.y.at(&mut b, y, &place);
        b.store(Space::Global, self.y.element, to, &[value]);
        b.finish()
    }
}
