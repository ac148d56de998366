//! The roofline model (Williams, Waterman & Patterson, 2009): the least time that work can take on a machine.

use super::{Level, Machine};

/// What some work asks of a machine.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Demand {
    /// Multiply-adds that are really computed.
    pub multiply_adds: u64,
    /// Bytes read and written, by how long ago they were touched before.
    pub traffic: [Traffic; 2],
}

/// Bytes that come from one level of memory.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Traffic {
    pub bytes: u64,
    /// Bytes that were touched since these were touched last: the nearest level that holds as many has them.
    pub distance: u64,
}

/// The least time of some work, and what it is bound by.
#[derive(Clone, PartialEq, Debug)]
pub struct Roof<'a> {
    pub seconds: f64,
    /// `compute`, or the level of memory that most of the time goes to.
    pub binds: &'a str,
}

impl Machine {
    /// The nearest level that holds `bytes`.
    pub fn level(&self, bytes: u64) -> &Level {
        let holds = |level: &&Level| level.bytes.is_none_or(|capacity| bytes <= capacity);
        self.levels.iter().find(holds).expect("memory holds any amount")
    }

    /// The least time of some work.
    pub fn roof(&self, demand: &Demand) -> Roof<'_> {
        let compute = 2.0 * demand.multiply_adds as f64 / (self.peak_gflops * 1e9);
        let parts = demand.traffic.map(|traffic| {
            let level = self.level(traffic.distance);
            (traffic.bytes as f64 / (level.gb_per_s * 1e9), level.name.as_str())
        });
        let memory: f64 = parts.iter().map(|(seconds, _)| seconds).sum();
        if compute >= memory {
            return Roof { seconds: compute, binds: "compute" };
        }
        let [first, second] = parts;
        Roof { seconds: memory, binds: if first.0 >= second.0 { first.1 } else { second.1 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::target::InstructionSet;

    fn machine() -> Machine {
        let level = |name: &str, bytes, gb_per_s| Level { name: name.to_owned(), bytes, gb_per_s };
        Machine {
            version: String::new(),
            cpu: String::new(),
            isa: InstructionSet::Baseline,
            threads: 1,
            peak_gflops: 100.0,
            levels: vec![level("L1", Some(1000), 200.0), level("memory", None, 10.0)],
        }
    }

    #[test]
    fn the_slower_of_arithmetic_and_memory_binds() {
        let machine = machine();
        let near = Traffic { bytes: 2000, distance: 1000 };
        let far = Traffic { bytes: 1000, distance: 1001 };
        let demand = |multiply_adds, traffic| Demand { multiply_adds, traffic };
        let roof = machine.roof(&demand(50_000, [near, Traffic::default()]));
        assert_eq!((roof.binds, (roof.seconds * 1e9).round()), ("compute", 1000.0));
        let roof = machine.roof(&demand(50, [near, Traffic::default()]));
        assert_eq!((roof.binds, (roof.seconds * 1e9).round()), ("L1", 10.0));
        let roof = machine.roof(&demand(50, [near, far]));
        assert_eq!((roof.binds, (roof.seconds * 1e9).round()), ("memory", 110.0));
    }
}
