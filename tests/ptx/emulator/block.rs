//! A block of threads: its warps in turns from barrier to barrier.

use super::device::View;
use super::fault::{Fault, FaultKind, Outcome};
use super::instruction::Op;
use super::kernel::{Initial, Kernel, Special};
use super::lanes::Lanes64;
use super::order::{Clock, LAST_TIME};
use super::shared::Shared;
use super::warp::{ALL, Warp};

/// What a launch executed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Instructions of warps, those skipped by their guard included.
    pub warp_instructions: u64,
    /// Barriers of blocks.
    pub barriers: u64,
    /// Loads, stores and copies of threads.
    pub accesses: u64,
}

/// The machine that runs one block after the other.
pub struct Block<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) memory: &'a View<'a>,
    /// The parameters' bytes.
    pub(super) parameters: &'a [u8],
    pub(super) shared: Shared,
    pub(super) clock: Clock,
    /// Names the block in the books of device memory.
    pub(super) name: u32,
    warps: Vec<Warp>,
    extent: [u32; 3],
    grid: [u32; 3],
    max_instructions: u64,
    pub counts: Counts,
}

/// The coordinates of the `index`th point of a grid, x fastest.
fn coordinates(index: u32, extent: [u32; 3]) -> [u32; 3] {
    [index % extent[0], index / extent[0] % extent[1], index / extent[0] / extent[1]]
}

impl<'a> Block<'a> {
    pub fn new(
        kernel: &'a Kernel,
        memory: &'a View<'a>,
        parameters: &'a [u8],
        shape: ([u32; 3], [u32; 3]),
        dynamic_shared: u32,
        max_instructions: u64,
    ) -> Self {
        let (grid, extent) = shape;
        let threads: u32 = extent.iter().product();
        let warps = (0..threads.div_ceil(32)).map(|index| Warp::new(kernel, index, threads - 32 * index));
        Block {
            kernel,
            memory,
            parameters,
            shared: Shared::new(dynamic_start(kernel) + dynamic_shared),
            clock: Clock { now: 1, block: 1, warp: 0 },
            name: 0,
            warps: warps.collect(),
            extent,
            grid,
            max_instructions,
            counts: Counts::default(),
        }
    }

    /// Runs the `index`th block of the grid from start to end.
    pub fn run(&mut self, index: u32) -> Outcome {
        self.shared.reset();
        self.clock = Clock { now: 1, block: 1, warp: 0 };
        self.name = self.memory.block(index);
        let mut warps = std::mem::take(&mut self.warps);
        for warp in &mut warps {
            self.start(warp, index);
        }
        let mut left = self.max_instructions;
        let outcome = self.run_warps(&mut warps, &mut left);
        self.counts.warp_instructions += self.max_instructions - left;
        self.warps = warps;
        outcome.map_err(|mut fault| {
            let position = coordinates(index, self.grid);
            fault.place = format!("{} block {position:?}{}", self.kernel.name, fault.place);
            fault
        })
    }

    /// Prepares a warp. Constants hold their values from the first block on.
    fn start(&self, warp: &mut Warp, block: u32) {
        let is_first = self.counts == Counts::default();
        warp.restart(self.kernel);
        for &(register, initial) in &self.kernel.initial_words {
            if is_first || matches!(initial, Initial::Special(_)) {
                let value = self.initial(initial, warp.index, block).map(|value| value as u32);
                warp.set_word(register, ALL, &value);
            }
        }
        for &(register, initial) in &self.kernel.initial_doubles {
            if is_first {
                warp.set_double(register, ALL, &self.initial(initial, warp.index, block));
            }
        }
    }

    /// What a register holds from the start, in each lane.
    fn initial(&self, initial: Initial, warp: u32, block: u32) -> Lanes64 {
        let special = match initial {
            Initial::Immediate(value) => return [value; 32],
            Initial::Shared(address) => return [u64::from(address); 32],
            Initial::DynamicShared => return [u64::from(dynamic_start(self.kernel)); 32],
            Initial::Special(special) => special,
        };
        std::array::from_fn(|lane| {
            let lane = lane as u32;
            u64::from(match special {
                Special::ThreadIndex(axis) => coordinates(32 * warp + lane, self.extent)[usize::from(axis)],
                Special::BlockIndex(axis) => coordinates(block, self.grid)[usize::from(axis)],
                Special::BlockExtent(axis) => self.extent[usize::from(axis)],
                Special::GridExtent(axis) => self.grid[usize::from(axis)],
                Special::Lane => lane,
                Special::Warp => warp,
                Special::LanesBelow => (1 << lane) - 1,
            })
        })
    }

    fn run_warps(&mut self, warps: &mut [Warp], left: &mut u64) -> Outcome {
        loop {
            for warp in warps.iter_mut() {
                self.clock.warp = warp.synchronised;
                let outcome = self.run_warp(warp, left);
                warp.synchronised = self.clock.warp;
                if let Err(mut fault) = outcome {
                    fault.line = self.kernel.instructions.get(warp.pc as usize).map_or(0, |at| at.line);
                    fault.place = format!(", warp {}", warp.index);
                    return Err(fault);
                }
            }
            let waiting = warps.iter().filter(|warp| warp.at_barrier).count();
            if waiting == 0 {
                return Ok(());
            }
            if waiting < warps.len() {
                let mut fault = Fault::new(
                    FaultKind::Divergence,
                    format!("{waiting} warps wait at a barrier, {} have exited", warps.len() - waiting),
                );
                let stuck = warps.iter().find(|warp| warp.at_barrier);
                let at = stuck.and_then(|warp| self.kernel.instructions.get(warp.pc as usize - 1));
                fault.line = at.map_or(0, |at| at.line);
                return Err(fault);
            }
            self.tick()?;
            self.clock.block = self.clock.now;
            self.counts.barriers += 1;
            warps.iter_mut().for_each(|warp| warp.at_barrier = false);
        }
    }

    /// Time passes: what was before is ordered before what comes.
    pub(super) fn tick(&mut self) -> Outcome {
        self.clock.now += 1;
        if self.clock.now == LAST_TIME {
            return Err(Fault::new(FaultKind::Endless, "more barriers than can be counted"));
        }
        Ok(())
    }

    /// Runs a warp until it waits or ends.
    fn run_warp(&mut self, warp: &mut Warp, left: &mut u64) -> Outcome {
        let kernel = self.kernel;
        while warp.live != 0 {
            if warp.pc >= warp.limit {
                warp.park(warp.active, warp.pc);
                warp.schedule();
            }
            let Some(instruction) = kernel.instructions.get(warp.pc as usize) else {
                return Err(Fault::new(FaultKind::Undefined, "a kernel runs past its last instruction"));
            };
            *left = left
                .checked_sub(1)
                .ok_or_else(|| Fault::new(FaultKind::Endless, "more instructions than the launch allows"))?;
            let mask = match instruction.guard {
                None => warp.active,
                Some((predicate, negated)) => {
                    let holds = warp.predicate(predicate, warp.active)?;
                    warp.active & if negated { !holds } else { holds }
                }
            };
            if mask == 0 {
                warp.pc += 1;
                continue;
            }
            match &instruction.op {
                Op::Branch { target, .. } if mask == warp.active => warp.pc = *target,
                Op::Branch { uniform: true, .. } => {
                    return Err(Fault::new(FaultKind::Divergence, "some lanes take a bra.uni, some do not"));
                }
                Op::Branch { target, .. } => {
                    warp.park(warp.active, warp.pc + 1);
                    warp.park(mask, *target);
                    warp.schedule();
                }
                Op::Exit => {
                    warp.live &= !mask;
                    warp.park(warp.active, warp.pc + 1);
                    warp.schedule();
                }
                Op::Barrier => {
                    if mask != warp.present {
                        let problem = format!("lanes {mask:#x} reach a barrier, {:#x} should", warp.present);
                        return Err(Fault::new(FaultKind::Divergence, problem));
                    }
                    warp.pc += 1;
                    warp.at_barrier = true;
                    return Ok(());
                }
                op => {
                    self.execute(warp, op, mask)?;
                    warp.pc += 1;
                }
            }
        }
        Ok(())
    }
}

/// Dynamic shared memory begins behind the static one.
fn dynamic_start(kernel: &Kernel) -> u32 {
    kernel.static_shared.next_multiple_of(16)
}
