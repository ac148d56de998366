//! Refusing a model that does not fit the machine's memory, before the system ends the program for it.

use std::fs;

use super::options::Backend;
use super::text::bytes;
use crate::Error;
use crate::graph::Graph;
use crate::ops::Op;
use crate::runtime::Compiled;

/// Checks that the arrays of a model and of what it was compiled to fit the memory that is free.
///
/// # Errors
/// Where they do not.
pub fn check(graph: &Graph, backend: Backend, compiled: &[&Compiled]) -> Result<(), Error> {
    let Some(free) = available_bytes() else { return Ok(()) };
    let needed = needed_bytes(graph, backend, compiled);
    if needed <= free {
        return Ok(());
    }
    let [needed, free] = [needed, free].map(bytes);
    Err(Error::input(format!("'{}' takes {needed} of memory, of which {free} are free", graph.name)))
}

fn needed_bytes(graph: &Graph, backend: Backend, compiled: &[&Compiled]) -> u64 {
    let nodes = graph.topological_order().into_iter().map(|id| graph.node(id));
    let elements: u64 = nodes
        .map(|node| match node.op {
            Op::Parameter(_) => node.shape.elements() as u64,
            Op::Input(_) => node.shape.elements() as u64,
            _ if backend == Backend::Interpreter => node.shape.elements() as u64,
            _ => 0,
        })
        .sum();
    let outputs = graph.outputs().iter().map(|output| graph.shape(output.node).elements() as u64);
    let plans = compiled.iter().map(|compiled| compiled.plan());
    let planned = plans.map(|plan| plan.arena.elements + plan.weight_elements + plan.scratch_elements);
    4 * (elements + outputs.sum::<u64>() + planned.sum::<usize>() as u64)
}

/// What the system, or the control group that the process is in, can still give; `None` where nobody says.
fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let system = 1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse().ok()
    };
    let group =
        number("memory.max").zip(number("memory.current")).map(|(max, used)| max.saturating_sub(used));
    Some(group.map_or(system, |group| group.min(system)))
}
