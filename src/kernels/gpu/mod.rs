//! Kernels for GPUs, written in PTX.
//!
//! As on the CPU, a family is a struct that says everything about one kernel, and its name is the problem string.
//! Pointers are passed in the order: arrays read, weights, epilogue operands, array written.

pub mod contraction;
pub mod depthwise;
pub mod epilogue;
pub mod gemm;
pub mod gemv;
pub mod grouped;
pub mod lrn;
pub mod map;
mod math;
pub mod pool;
pub mod reduce;
mod rows;
pub mod softmax;

pub use epilogue::{GpuEpilogue, GpuStep};

use epilogue::BoundEpilogue;

use super::View;
use super::view::{dims_name, is_plain};
use crate::codegen::ptx::{Address, Builder, Element, Entry, Space, Target, Value};

/// An array in global memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    pub view: View,
    pub element: Element,
}

impl Array {
    pub fn f32(view: View) -> Self {
        Array { view, element: Element::F32 }
    }

    /// What a kernel's name says of the array beside its dims; nothing for `f32` in the usual layout.
    pub fn suffix(&self) -> String {
        let layout = self.view.layout();
        let element = if self.element == Element::F32 { "" } else { self.element.name() };
        match is_plain(&layout) {
            true => element.to_owned(),
            false => format!("{layout}{element}"),
        }
    }

    /// Whether `lanes` neighbours along `axis`, the first at a multiple of `lanes`, can be moved at once.
    pub fn is_vector(&self, axis: usize, lanes: usize) -> bool {
        let View { dims, strides, offset } = &self.view;
        let others = (0..dims.len()).filter(|&other| other != axis && dims[other] > 1);
        strides[axis] == 1
            && dims[axis].is_multiple_of(lanes)
            && offset.is_multiple_of(lanes)
            && others.into_iter().all(|other| strides[other].is_multiple_of(lanes))
    }

    /// The address of the element at `coordinates`.
    pub fn at(&self, b: &mut Builder, base: Value, coordinates: &[Value]) -> Address {
        let elements = b.dot(coordinates, &self.view.strides, self.view.offset);
        b.offset(base, elements, self.element.bytes())
    }

    /// Loads `lanes` elements along `axis`; zeros where `guard` does not hold.
    pub fn load(
        &self,
        b: &mut Builder,
        base: Value,
        coordinates: &[Value],
        axis: usize,
        lanes: usize,
        guard: Option<Value>,
    ) -> Vec<Value> {
        let at = self.at(b, base, coordinates);
        let stride = self.view.strides[axis];
        if lanes == 1 || self.is_vector(axis, lanes) {
            return b.load(Space::Constant, self.element, lanes, at, guard);
        }
        if stride == 0 {
            return vec![b.load(Space::Constant, self.element, 1, at, guard)[0]; lanes];
        }
        let step = stride * self.element.bytes();
        (0..lanes)
            .flat_map(|lane| b.load(Space::Constant, self.element, 1, at.plus(lane * step), guard))
            .collect()
    }

    /// Stores `values` along `axis` where `guard` holds.
    pub fn store(
        &self,
        b: &mut Builder,
        base: Value,
        coordinates: &[Value],
        axis: usize,
        values: &[Value],
        guard: Option<Value>,
    ) {
        let at = self.at(b, base, coordinates);
        let step = self.view.strides[axis] * self.element.bytes();
        if values.len() == 1 || self.is_vector(axis, values.len()) {
            return b.store_guarded(self.element, at, values, guard);
        }
        for (lane, &value) in values.iter().enumerate() {
            b.store_guarded(self.element, at.plus(lane * step), &[value], guard);
        }
    }
}

/// How many blocks of how many threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Launch {
    pub grid: [usize; 3],
    pub threads: usize,
}

impl Launch {
    /// One thread for each of `count` pieces of work.
    pub fn linear(count: usize) -> Self {
        let threads = THREADS.min(count.next_multiple_of(32));
        Launch { grid: [count.div_ceil(threads), 1, 1], threads }
    }
}

/// Threads of a block where nothing asks for another number.
const THREADS: usize = 128;

/// The number of this thread among those of a [`Launch::linear`] of `count`; threads beyond are done.
fn linear_thread(b: &mut Builder, count: usize) -> Value {
    let (block, thread) = (b.block(0), b.thread());
    let threads = b.threads();
    let at = b.mad(block, threads, thread);
    if !count.is_multiple_of(threads as usize) {
        let beyond = b.compare(crate::codegen::ptx::Comparison::Ge, at, count);
        b.return_if(beyond);
    }
    at
}

/// The beginning of a kernel with a thread for each of some extents. Arguments: x, weight, the epilogue's operands, y.
struct PerThread<'a> {
    b: Builder,
    x: Value,
    weight: Value,
    epilogue: BoundEpilogue<'a>,
    y: Value,
    /// The thread's place within the extents.
    place: [Value; 4],
}

impl<'a> PerThread<'a> {
    fn new(entry: &str, extents: [usize; 4], epilogue: &'a GpuEpilogue) -> Self {
        let count = extents.iter().product();
        let mut b = Builder::new(entry, Launch::linear(count).threads as u32);
        let (x, weight) = (b.pointer(), b.pointer());
        let epilogue = epilogue.declare(&mut b);
        let y = b.pointer();
        let at = linear_thread(&mut b, count);
        let place = b.coordinates(at, &extents).try_into().expect("a coordinate for each extent");
        PerThread { b, x, weight, epilogue, y, place }
    }
}

/// What every GPU kernel family can say.
pub trait GpuFamily {
    /// The problem string: equal strings, equal kernels.
    fn name(&self) -> String;

    fn launch(&self) -> Launch;

    /// The kernel, called `entry`.
    fn emit(&self, entry: &str, target: Target) -> Entry;
}

macro_rules! gpu_kernels {
    ($($variant:ident($family:ty)),* $(,)?) => {
        /// Any GPU kernel family.
        #[derive(Clone, PartialEq, Debug)]
        pub enum GpuKernel {
            $($variant($family),)*
        }

        impl GpuFamily for GpuKernel {
            fn name(&self) -> String {
                match self {
                    $(GpuKernel::$variant(family) => family.name(),)*
                }
            }

            fn launch(&self) -> Launch {
                match self {
                    $(GpuKernel::$variant(family) => family.launch(),)*
                }
            }

            fn emit(&self, entry: &str, target: Target) -> Entry {
                match self {
                    $(GpuKernel::$variant(family) => family.emit(entry, target),)*
                }
            }
        }
    };
}

gpu_kernels!(
    BatchNorm(reduce::BatchStatistics),
    Contraction(contraction::Contraction),
    Depthwise(depthwise::Depthwise),
    Gemm(gemm::Gemm),
    Gemv(gemv::Gemv),
    GlobalPool(reduce::GlobalPooling),
    Grouped(grouped::Grouped),
    Lrn(lrn::Lrn),
    Map(map::Map),
    Pool(pool::Pooling),
    Softmax(softmax::SoftmaxLines),
);

/// A problem string as a name that PTX allows.
pub fn identifier(name: &str) -> String {
    let allowed = name.chars().map(|letter| match letter {
        '+' => 'o',
        '-' => 'n',
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '_',
    });
    format!("k_{}", allowed.collect::<String>())
}

/// What names say of `x` and `y`: dims of `y`, then layouts.
fn arrays_name(dims: &[usize], arrays: &[&Array]) -> String {
    let suffixes: Vec<String> = arrays.iter().map(|array| array.suffix()).collect();
    let suffix = match suffixes.iter().all(String::is_empty) {
        true => String::new(),
        false => suffixes.iter().map(|suffix| format!("_{suffix}")).collect(),
    };
    dims_name(dims) + &suffix
}
