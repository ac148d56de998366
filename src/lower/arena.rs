//! One block of memory for all activations, its places reused as soon as values are dead.

use serde::Serialize;

use crate::kernels::View;

/// When a buffer is needed, in steps.
#[derive(Clone, Debug)]
pub struct Lifetime {
    pub elements: usize,
    /// The layout whose border of zeros must survive from run to run.
    pub border: Option<View>,
    pub first: usize,
    pub last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The place of every buffer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ArenaPlan {
    /// Each buffer's first element.
    pub offsets: Vec<usize>,
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
    /// Borders are zeroed once, when the arena is made, and kernels write interiors only. So a buffer with a border
    /// shares its place with buffers of the very same layout only.
    pub fn of(lifetimes: &[Lifetime]) -> Self {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|&id| (std::cmp::Reverse(lifetimes[id].elements), lifetimes[id].first, id));
        let mut plan = ArenaPlan { offsets: vec![0; lifetimes.len()], ..ArenaPlan::default() };
        let mut placed: Vec<usize> = Vec::new();
        for id in order {
            let buffer = &lifetimes[id];
            let size = buffer.elements.next_multiple_of(ALIGNMENT);
            plan.elements_without_reuse += size;
            let twin = placed.iter().copied().find(|&other| {
                buffer.border.is_some()
                    && lifetimes[other].border == buffer.border
                    && placed.iter().all(|&third| {
                        plan.offsets[third] != plan.offsets[other] || !lifetimes[third].overlaps(buffer)
                    })
            });
            let offset = match twin {
                Some(other) => plan.offsets[other],
                None => lowest_gap(&plan, lifetimes, &placed, id, size),
            };
            plan.offsets[id] = offset;
            plan.elements = plan.elements.max(offset + size);
            placed.push(id);
        }
        plan
    }
}

/// The lowest offset where `size` elements meet no placed buffer that must keep apart from `id`.
fn lowest_gap(plan: &ArenaPlan, lifetimes: &[Lifetime], placed: &[usize], id: usize, size: usize) -> usize {
    let buffer = &lifetimes[id];
    let apart =
        |other: &Lifetime| buffer.overlaps(other) || buffer.border.is_some() || other.border.is_some();
    let mut taken: Vec<(usize, usize)> = placed
        .iter()
        .filter(|&&other| apart(&lifetimes[other]))
        .map(|&other| {
            (plan.offsets[other], plan.offsets[other] + lifetimes[other].elements.next_multiple_of(ALIGNMENT))
        })
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
