//! A warp: its registers, and which of its lanes run.
//!
//! Lanes that diverge run group by group, the one that is least far in the program first; groups that meet at the same
//! instruction run on together. As loops and branches are laid out in program order, that reconverges at the first
//! instruction after them.

use std::collections::VecDeque;

use super::fault::{Fault, FaultKind, Outcome};
use super::instruction::{Pred, R32, R64};
use super::kernel::Kernel;
use super::lanes::{Lanes, Lanes64};

/// All lanes of a warp.
pub const ALL: u32 = u32::MAX;

/// An asynchronous copy under way.
#[derive(Clone, Copy)]
pub struct Copy {
    pub lane: usize,
    /// In shared memory.
    pub address: u64,
    pub bytes: u32,
}

pub struct Warp {
    pub index: u32,
    words: Vec<Lanes>,
    doubles: Vec<Lanes64>,
    predicates: Vec<u32>,
    /// For each register the lanes in which it holds a value.
    words_defined: Vec<u32>,
    doubles_defined: Vec<u32>,
    predicates_defined: Vec<u32>,
    /// The lanes that there are, and those that have not exited.
    pub present: u32,
    pub live: u32,
    /// The lanes that run, and their place in the program.
    pub active: u32,
    pub pc: u32,
    /// Where the next group of lanes waits.
    pub limit: u32,
    /// Where each lane waits that is not active.
    pcs: [u32; 32],
    /// When the warp passed its last barrier of its own.
    pub synchronised: u32,
    pub at_barrier: bool,
    pub copies: Vec<Copy>,
    pub groups: VecDeque<Vec<Copy>>,
}

impl Warp {
    pub fn new(kernel: &Kernel, index: u32, lanes: u32) -> Self {
        let present = if lanes >= 32 { ALL } else { (1 << lanes) - 1 };
        Warp {
            index,
            words: vec![[0; 32]; kernel.words],
            doubles: vec![[0; 32]; kernel.doubles],
            predicates: vec![0; kernel.predicates],
            words_defined: vec![0; kernel.words],
            doubles_defined: vec![0; kernel.doubles],
            predicates_defined: vec![0; kernel.predicates],
            present,
            live: 0,
            active: 0,
            pc: 0,
            limit: 0,
            pcs: [0; 32],
            synchronised: 0,
            at_barrier: false,
            copies: Vec::new(),
            groups: VecDeque::new(),
        }
    }

    /// Before the first instruction of a block: no declared register holds anything.
    pub fn restart(&mut self, kernel: &Kernel) {
        self.words_defined[..kernel.declared_words].fill(0);
        self.doubles_defined[..kernel.declared_doubles].fill(0);
        self.predicates_defined.fill(0);
        self.live = self.present;
        self.active = self.present;
        self.pc = 0;
        self.limit = u32::MAX;
        self.synchronised = 0;
        self.at_barrier = false;
        self.copies.clear();
        self.groups.clear();
    }

    /// Chooses the lanes that run next.
    pub fn schedule(&mut self) {
        let lanes = || (0..32).filter(|lane| self.live >> lane & 1 == 1);
        let first = lanes().map(|lane| self.pcs[lane]).min().unwrap_or(u32::MAX);
        let (mut active, mut limit) = (0, u32::MAX);
        for lane in lanes() {
            if self.pcs[lane] == first {
                active |= 1 << lane;
            } else {
                limit = limit.min(self.pcs[lane]);
            }
        }
        (self.active, self.pc, self.limit) = (active, first, limit);
    }

    /// Lets lanes wait at a place.
    pub fn park(&mut self, lanes: u32, pc: u32) {
        for lane in 0..32 {
            if lanes >> lane & 1 == 1 {
                self.pcs[lane] = pc;
            }
        }
    }

    pub fn word(&self, register: R32, mask: u32) -> Outcome<&Lanes> {
        let index = usize::from(register.0);
        defined(self.words_defined[index], mask)?;
        Ok(&self.words[index])
    }

    pub fn double(&self, register: R64, mask: u32) -> Outcome<&Lanes64> {
        let index = usize::from(register.0);
        defined(self.doubles_defined[index], mask)?;
        Ok(&self.doubles[index])
    }

    /// The lanes in which a predicate holds.
    pub fn predicate(&self, register: Pred, mask: u32) -> Outcome<u32> {
        let index = usize::from(register.0);
        defined(self.predicates_defined[index], mask)?;
        Ok(self.predicates[index])
    }

    pub fn set_word(&mut self, register: R32, mask: u32, value: &Lanes) {
        let index = usize::from(register.0);
        self.words_defined[index] |= mask;
        write(&mut self.words[index], mask, value);
    }

    pub fn set_double(&mut self, register: R64, mask: u32, value: &Lanes64) {
        let index = usize::from(register.0);
        self.doubles_defined[index] |= mask;
        write(&mut self.doubles[index], mask, value);
    }

    pub fn set_predicate(&mut self, register: Pred, mask: u32, value: u32) {
        let index = usize::from(register.0);
        self.predicates_defined[index] |= mask;
        self.predicates[index] = self.predicates[index] & !mask | value & mask;
    }
}

fn defined(lanes: u32, mask: u32) -> Outcome {
    if lanes & mask == mask {
        return Ok(());
    }
    let lane = (mask & !lanes).trailing_zeros();
    Err(Fault::new(FaultKind::UndefinedRegister, format!("lane {lane} uses a register that holds nothing")))
}

fn write<T: std::marker::Copy>(register: &mut [T; 32], mask: u32, value: &[T; 32]) {
    if mask == ALL {
        *register = *value;
        return;
    }
    for lane in 0..32 {
        if mask >> lane & 1 == 1 {
            register[lane] = value[lane];
        }
    }
}

/// The lanes of a mask, from the lowest.
pub fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |lane| mask >> lane & 1 == 1)
}

/// Fails where an instruction that takes a whole warp is not reached by all of its lanes.
pub fn whole_warp(mask: u32) -> Outcome {
    if mask == ALL {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Divergence, format!("only lanes {mask:#x} execute a warp-wide instruction")))
}
