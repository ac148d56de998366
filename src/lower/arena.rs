//! One block of memory for all activations, its places reused as soon as values are dead.

use serde::Serialize;

use crate::kernels::View;

/// When a buffer is needed, in steps.
#[derive(Clone, Debug)]
pub struct Lifetime {
    pub elements: usize,
    /// The layout around whose interior readers expect a border of zeros.
    pub border: Option<View>,
    pub first: usize,
    pub last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn size(&self) -> usize {
        self.elements.next_multiple_of(ALIGNMENT)
    }
}

/// The place of every buffer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ArenaPlan {
    /// Each buffer's first element.
    pub offsets: Vec<usize>,
    /// Whether a buffer's border must be zeroed in each run, since its place has held something else.
    pub zeroed: Vec<bool>,
    /// The size of the arena.
    pub elements: usize,
    /// What it would be if no place were reused.
    pub elements_without_reuse: usize,
}

/// Places start on cache lines.
const ALIGNMENT: usize = 16;

impl ArenaPlan {
    /// Places buffers, largest first, each at the lowest offset where it meets no buffer that lives at the same
    /// time.
    ///
    /// The arena is made of zeros, and kernels write interiors only. So a border stays zero as long as only buffers of the
    /// very same layout take turns in a place; for any other it is zeroed again.
    pub fn of(lifetimes: &[Lifetime]) -> Self {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|&id| (std::cmp::Reverse(lifetimes[id].elements), lifetimes[id].first, id));
        let mut plan = ArenaPlan { offsets: vec![0; lifetimes.len()], ..ArenaPlan::default() };
        let mut placed: Vec<usize> = Vec::new();
        for id in order {
            let size = lifetimes[id].size();
            let offset = lowest_gap(&plan, lifetimes, &placed, id, size);
            plan.offsets[id] = offset;
            plan.elements = plan.elements.max(offset + size);
            plan.elements_without_reuse += size;
            placed.push(id);
        }
        plan.zeroed = (0..lifetimes.len()).map(|id| plan.must_be_zeroed(lifetimes, id)).collect();
        plan
    }

    /// Whether what was last in a buffer's place, in this run or else in the one before, has another layout.
    fn must_be_zeroed(&self, lifetimes: &[Lifetime], id: usize) -> bool {
        let buffer = &lifetimes[id];
        let range = |id: usize| (self.offsets[id], self.offsets[id] + lifetimes[id].size());
        let (start, end) = range(id);
        let shares = |&other: &usize| {
            let (other_start, other_end) = range(other);
            let lives = lifetimes[other].first <= lifetimes[other].last;
            other != id && lives && other_start < end && start < other_end
        };
        let steps_before = |other: usize| {
            let first = lifetimes[other].first;
            // Those that come later in a run were there in the run before.
            (first >= buffer.first, std::cmp::Reverse(first))
        };
        let last = (0..lifetimes.len()).filter(shares).min_by_key(|&other| steps_before(other));
        buffer.border.is_some()
            && last.is_some_and(|other| {
                self.offsets[other] != self.offsets[id] || lifetimes[other].border != buffer.border
            })
    }
}

/// The lowest offset where `size` elements meet no placed buffer that lives at the same time as `id`.
fn lowest_gap(plan: &ArenaPlan, lifetimes: &[Lifetime], placed: &[usize], id: usize, size: usize) -> usize {
    let buffer = &lifetimes[id];
    let mut taken: Vec<(usize, usize)> = placed
        .iter()
        .filter(|&&other| buffer.overlaps(&lifetimes[other]))
        .map(|&other| (plan.offsets[other], plan.offsets[other] + lifetimes[other].size()))
        .collect();
    taken.sort_unstable();
    let mut offset = 0;
    for (start, end) in taken {
        if start >= offset + size {
            break;
        }
        offset = offset.max(end);
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(elements: usize, border: usize, first: usize, last: usize) -> Lifetime {
        let view = (border > 0).then(|| View::channels_last([1, elements, 1, 1], [border; 4]));
        Lifetime { elements, border: view, first, last }
    }

    #[test]
    fn a_border_is_zeroed_where_its_place_has_held_another_layout() {
        // Two layouts in turns, each followed by another one.
        let plan = ArenaPlan::of(&[buffer(64, 1, 0, 1), buffer(64, 2, 1, 2), buffer(64, 1, 2, 3)]);
        assert_eq!(plan.offsets, [0, 64, 0]);
        assert_eq!(plan.zeroed, [false, false, false], "the same layout takes turns with itself");
        let plan = ArenaPlan::of(&[buffer(64, 1, 0, 1), buffer(48, 2, 2, 3), buffer(16, 0, 4, 5)]);
        assert_eq!(plan.offsets, [0, 0, 0]);
        assert_eq!(plan.zeroed, [true, true, false], "also after what came last in the run before");
    }
}
