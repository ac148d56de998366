//! Register allocation by linear scan (Poletto and Sarkar, 1999), with eviction by weight.

use super::liveness::Interval;

/// What is asked of [`allocate`] for one value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Request {
    pub interval: Interval,
    /// Another request, whose register this one takes if it is free by then.
    pub like: Option<usize>,
    /// A register that this one takes if it is free.
    pub wish: Option<usize>,
}

/// For each request a register below `registers`, or none for those that are evicted: where too many values are
/// live, the ones with the least weight for their length, never those of infinite weight.
///
/// # Panics
/// If more than `registers` values of infinite weight are live at one point.
pub fn allocate(requests: &[Request], registers: usize) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&id| requests[id].interval.start);
    let mut placed: Vec<Option<usize>> = vec![None; requests.len()];
    let mut owners: Vec<Option<usize>> = vec![None; registers];
    for id in order {
        let Request { interval, like, wish } = requests[id];
        for owner in &mut owners {
            if owner.is_some_and(|other| requests[other].interval.end < interval.start) {
                *owner = None;
            }
        }
        let preferred = [like.and_then(|other| placed[other]), wish];
        let register = preferred.into_iter().flatten().chain(0..registers).find(|&r| owners[r].is_none());
        let register = register.or_else(|| {
            let cheapest = (0..registers)
                .min_by(|&r, &s| {
                    let cost =
                        |register: usize| owners[register].map_or(f32::INFINITY, |o| cost(requests[o]));
                    cost(r).total_cmp(&cost(s))
                })
                .expect("there are registers");
            let owner = owners[cheapest].expect("no register is free");
            if cost(requests[owner]) < cost(requests[id]) {
                placed[owner] = None;
                Some(cheapest)
            } else {
                assert!(interval.weight.is_finite(), "one step needs more than {registers} registers");
                None
            }
        });
        placed[id] = register;
        if let Some(register) = register {
            owners[register] = Some(id);
        }
    }
    placed
}

/// What eviction costs for each point of the code at which it frees a register.
fn cost(request: Request) -> f32 {
    request.interval.weight / (request.interval.end - request.interval.start + 1) as f32
}
