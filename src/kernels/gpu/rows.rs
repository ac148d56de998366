//! Which element a thread works on, where every array is read and written by strides alone.

use super::{Array, Launch, linear_thread};
use crate::codegen::ptx::{Builder, Value};

/// The axes of an element-wise kernel, outermost first, joined where all arrays allow, with the strides of each array.
pub struct Rows {
    axes: Vec<Axis>,
    offsets: Vec<usize>,
    /// Neighbours that a thread works on.
    pub lanes: usize,
}

struct Axis {
    extent: usize,
    /// In elements, one for each array.
    strides: Vec<usize>,
}

impl Rows {
    /// # Panics
    /// If the arrays' dims are not all the same.
    pub fn of(arrays: &[&Array]) -> Self {
        let output = &arrays[arrays.len() - 1].view;
        assert!(arrays.iter().all(|array| array.view.dims == output.dims), "dims differ");
        let mut order: Vec<usize> = (0..output.dims.len()).filter(|&axis| output.dims[axis] > 1).collect();
        order.sort_by_key(|&axis| std::cmp::Reverse(output.strides[axis]));
        let mut axes: Vec<Axis> = Vec::new();
        for axis in order {
            let extent = output.dims[axis];
            let strides: Vec<usize> = arrays.iter().map(|array| array.view.strides[axis]).collect();
            match axes.last_mut() {
                Some(outer)
                    if outer.strides.iter().zip(&strides).all(|(outer, own)| *outer == own * extent) =>
                {
                    *outer = Axis { extent: outer.extent * extent, strides };
                }
                _ => axes.push(Axis { extent, strides }),
            }
        }
        let offsets: Vec<usize> = arrays.iter().map(|array| array.view.offset).collect();
        let lanes = vector_lanes(&axes, &offsets);
        if lanes > 1 {
            let inner = axes.last_mut().expect("lanes run along an axis");
            inner.extent /= lanes;
            inner.strides.iter_mut().for_each(|stride| *stride *= lanes);
        }
        Rows { axes, offsets, lanes }
    }

    /// Whether an array has neighbouring lanes in neighbouring elements.
    pub fn is_contiguous(&self, array: usize) -> bool {
        self.axes.last().is_some_and(|axis| axis.strides[array] > 0)
    }

    fn threads(&self) -> usize {
        self.axes.iter().map(|axis| axis.extent).product()
    }

    pub fn launch(&self) -> Launch {
        Launch::linear(self.threads())
    }

    /// For each array, the number of the first element that this thread works on.
    pub fn positions(&self, b: &mut Builder) -> Vec<Value> {
        let at = linear_thread(b, self.threads());
        let extents: Vec<usize> = self.axes.iter().map(|axis| axis.extent).collect();
        let coordinates = b.coordinates(at, &extents);
        let mut known: Vec<(Vec<usize>, usize, Value)> = Vec::new();
        for (array, &offset) in self.offsets.iter().enumerate() {
            let strides: Vec<usize> = self.axes.iter().map(|axis| axis.strides[array]).collect();
            let position = match known.iter().find(|(other, at, _)| *other == strides && *at == offset) {
                Some((.., position)) => *position,
                None => b.dot(&coordinates, &strides, offset),
            };
            known.push((strides, offset, position));
        }
        known.into_iter().map(|(.., position)| position).collect()
    }
}

fn vector_lanes(axes: &[Axis], offsets: &[usize]) -> usize {
    let Some((inner, outer)) = axes.split_last() else { return 1 };
    let fits = |lanes: usize| {
        inner.extent.is_multiple_of(lanes)
            && inner.strides.last() == Some(&1)
            && (0..offsets.len()).all(|array| match inner.strides[array] {
                0 => true,
                1 => {
                    offsets[array].is_multiple_of(lanes)
                        && outer.iter().all(|axis| axis.strides[array].is_multiple_of(lanes))
                }
                _ => false,
            })
    };
    [4, 2].into_iter().find(|&lanes| fits(lanes)).unwrap_or(1)
}
