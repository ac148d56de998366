//! Live intervals: from where to where in the list of steps a value must be kept.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::steps::Step;

/// A point in the code: the step at position `p` reads at `2p` and writes at `2p + 1`.
pub type Point = usize;

/// Where a step reads.
pub fn reads(position: usize) -> Point {
    2 * position
}

/// Where a step writes.
pub fn writes(position: usize) -> Point {
    2 * position + 1
}

/// The points, both included, between which a value is live, and how much its uses count.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    pub start: Point,
    pub end: Point,
    /// Uses, each weighted by how deep in loops it stands.
    pub weight: f32,
}

impl Interval {
    /// A value within one step, from its reads to its writes, that must be in a register.
    pub fn temporary(position: usize) -> Self {
        Interval { start: reads(position), end: writes(position), weight: f32::INFINITY }
    }
}

/// How many times more often the body of a loop is assumed to run than what surrounds it.
const TRIPS: f32 = 8.0;

/// Collects the intervals of values of type `V`, in one walk over the steps.
pub struct Lives<V> {
    intervals: FxHashMap<V, Interval>,
    /// The loops around the current step: the positions of enter and exit, outermost first.
    loops: Vec<(usize, usize)>,
}

impl<V: Clone + Eq + Hash> Lives<V> {
    pub fn new() -> Self {
        Lives { intervals: FxHashMap::default(), loops: Vec::new() }
    }

    /// Keeps track of the loops; to be called with each step before its values are touched.
    pub fn step(&mut self, position: usize, step: &Step<'_>) {
        match step {
            Step::Enter { exit, .. } => self.loops.push((position, *exit)),
            Step::Exit { .. } => {
                self.loops.pop();
            }
            _ => {}
        }
    }

    /// `value` is used at `point`. What was live before a loop and is used in it, the next round needs again.
    pub fn touch(&mut self, value: &V, point: Point) {
        let weight = TRIPS.powi(self.loops.len() as i32);
        let loops = &self.loops;
        if !self.intervals.contains_key(value) {
            self.intervals.insert(value.clone(), Interval { start: point, end: point, weight: 0.0 });
        }
        let interval = self.intervals.get_mut(value).expect("inserted above");
        let outermost = loops.iter().find(|(enter, _)| interval.start < reads(*enter));
        let end = outermost.map_or(point, |(_, exit)| writes(*exit));
        interval.end = interval.end.max(end);
        interval.weight += weight;
    }

    pub fn finish(self) -> FxHashMap<V, Interval> {
        self.intervals
    }
}
