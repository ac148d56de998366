//! Loop nests over arrays that are walked together, and how a grid divides them.

use std::cmp::Reverse;

use crate::codegen::vector::{Affine, Builder, GRID_RANK};

/// How many elements one point of a grid touches, about: 128 KB, some 10 µs.
pub const GRAIN: usize = 32 * 1024;

/// The axes of arrays that are walked together, outermost first, with axes joined where every array's strides
/// allow it.
///
/// A joined axis is walked by the coordinate of its innermost member, which then runs beyond that member's own
/// extent; the coordinates of the others stay zero.
#[derive(Clone, PartialEq, Debug)]
pub struct Nest {
    rank: usize,
    axes: Vec<Axis>,
}

/// An axis of a [`Nest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Axis {
    /// The logical axis whose coordinate walks along it.
    pub axis: usize,
    pub extent: usize,
}

/// The innermost axis of a nest, or a piece of it: `extent` steps from the coordinate at which it starts.
pub type Run = Axis;

/// Writes the code for a run whose first element has these coordinates.
pub type RunBody<'a, T = ()> = dyn Fn(&mut Builder, &[Affine], Run) -> T + 'a;

impl Nest {
    /// The nest over `axes` of arrays with these dims and strides, ordered for the first array: the one written.
    pub fn new(axes: impl IntoIterator<Item = usize>, dims: &[usize], arrays: &[Vec<usize>]) -> Self {
        let mut order: Vec<usize> = axes.into_iter().filter(|&axis| dims[axis] > 1).collect();
        order.sort_by_key(|&axis| Reverse(arrays[0][axis]));
        let mut joined: Vec<Axis> = Vec::new();
        for axis in order {
            let extent = dims[axis];
            match joined.last_mut() {
                Some(outer) if arrays.iter().all(|s| s[outer.axis] == s[axis] * extent) => {
                    *outer = Axis { axis, extent: outer.extent * extent };
                }
                _ => joined.push(Axis { axis, extent }),
            }
        }
        if joined.is_empty() {
            joined.push(Axis { axis: dims.len().saturating_sub(1), extent: 1 });
        }
        Nest { rank: dims.len(), axes: joined }
    }

    /// All axes, outermost first.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// The innermost axis.
    pub fn run(&self) -> Run {
        *self.axes.last().expect("a nest has an axis")
    }

    /// The axes around the innermost one.
    pub fn outer(&self) -> &[Axis] {
        &self.axes[..self.axes.len() - 1]
    }

    /// Takes the innermost axis out and makes `axis`, one of the outer ones, the innermost instead.
    pub fn interchange(mut self, axis: Axis) -> Self {
        self.axes.pop();
        self.axes.retain(|&other| other != axis);
        self.axes.push(axis);
        self
    }

    /// Makes the grid and the loops. `body` gets the coordinates of a run's first element and the run.
    ///
    /// Each element of the nest stands for `work` elements touched; runs are divided at multiples of `align`.
    pub fn emit(&self, k: &mut Builder, work: usize, align: usize, body: &RunBody) {
        let origin = vec![Affine::default(); self.rank.max(1)];
        self.descend(k, &self.pieces(work, align), &origin, 0, body);
    }

    /// For the outermost axes, how many steps of each make a piece: one grid coordinate each.
    fn pieces(&self, work: usize, align: usize) -> Vec<usize> {
        let extents = self.axes.iter().map(|axis| axis.extent);
        let mut inner = extents.product::<usize>().saturating_mul(work);
        let mut pieces = Vec::new();
        for (level, &Axis { extent, .. }) in self.axes.iter().enumerate().take(GRID_RANK) {
            if inner <= GRAIN {
                break;
            }
            inner /= extent;
            let align = if level + 1 == self.axes.len() { align } else { 1 };
            pieces.push(piece(extent, inner, align));
            if pieces[level] > 1 {
                break;
            }
        }
        pieces
    }

    fn descend(&self, k: &mut Builder, pieces: &[usize], at: &[Affine], level: usize, body: &RunBody) {
        let Axis { axis, extent } = self.axes[level];
        let walk = |k: &mut Builder, start: &Affine, extent: usize| {
            if level + 1 == self.axes.len() {
                body(k, &moved(at, axis, start.clone()), Axis { axis, extent });
            } else if extent == 1 {
                self.descend(k, pieces, &moved(at, axis, start.clone()), level + 1, body);
            } else {
                k.repeat(extent, |k, index| {
                    self.descend(k, pieces, &moved(at, axis, start.along(index, 1usize)), level + 1, body);
                });
            }
        };
        match pieces.get(level) {
            Some(&piece) => divide(k, level, extent, piece, &walk),
            None => walk(k, &Affine::default(), extent),
        }
    }
}

/// How many steps of an axis make up one point of a grid, where each step touches `work` elements: a multiple
/// of `align` (or everything), and where it can be, a divisor of the extent.
pub fn piece(extent: usize, work: usize, align: usize) -> usize {
    let points = extent.saturating_mul(work).div_ceil(GRAIN).clamp(1, extent.div_ceil(align));
    let even =
        (points..=points * 2).find(|&p| extent.is_multiple_of(p) && (extent / p).is_multiple_of(align));
    match even {
        Some(points) => extent / points,
        None => extent.div_ceil(points).next_multiple_of(align).min(extent),
    }
}

/// Divides `0 .. extent` into pieces along a grid coordinate. `body` gets a piece's start and extent.
pub fn divide(
    k: &mut Builder,
    coordinate: usize,
    extent: usize,
    piece: usize,
    body: &dyn Fn(&mut Builder, &Affine, usize),
) {
    let index = k.grid(coordinate, extent.div_ceil(piece));
    let start = Affine::default().along(index, piece);
    let rest = |k: &mut Builder| body(k, &start, extent % piece);
    k.branch(index, extent / piece, |k| body(k, &start, piece), rest);
}

/// Runs `body` for each step of `lanes` elements of a range that begins at `start`, with the step's first
/// coordinate and its lanes: a loop of `unroll` steps a round, then the rest as straight code.
pub fn steps(
    k: &mut Builder,
    start: &Affine,
    extent: usize,
    lanes: usize,
    unroll: usize,
    mut body: impl FnMut(&mut Builder, &Affine, usize),
) {
    let round = lanes * unroll;
    k.repeat(extent / round, |k, index| {
        for step in 0..unroll {
            body(k, &start.along(index, round).plus(step * lanes), lanes);
        }
    });
    for done in (extent / round * round..extent).step_by(lanes) {
        body(k, &start.plus(done), lanes.min(extent - done));
    }
}

/// Loops over `axes`, outermost first. `body` gets the coordinates, which start from `at`.
pub fn loops(k: &mut Builder, axes: &[Axis], at: &[Affine], body: &dyn Fn(&mut Builder, &[Affine])) {
    match axes {
        [] => body(k, at),
        [Axis { axis, extent }, inner @ ..] => k.repeat(*extent, |k, index| {
            loops(k, inner, &moved(at, *axis, at[*axis].along(index, 1usize)), body);
        }),
    }
}

/// `at` with another coordinate along `axis`.
pub fn moved(at: &[Affine], axis: usize, coordinate: Affine) -> Vec<Affine> {
    let mut at = at.to_vec();
    at[axis] = coordinate;
    at
}
