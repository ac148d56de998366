//! The effect of loads, stores, atomics, asynchronous copies and `ldmatrix`.

use super::block::Block;
use super::device::Accessor;
use super::fault::{Fault, FaultKind, Outcome};
use super::instruction::{Address, AtomicOp, Op, R32, Register, Space};
use super::lanes::Lanes64;
use super::order::Actor;
use super::tensor;
use super::warp::{ALL, Copy, Warp, lanes_of, whole_warp};

/// Names the lane in a fault.
fn in_lane<T>(lane: usize, outcome: Outcome<T>) -> Outcome<T> {
    outcome.map_err(|mut fault| {
        fault.problem = format!("lane {lane}: {}", fault.problem);
        fault
    })
}

impl Block<'_> {
    fn actor(&self, warp: &Warp, lane: usize) -> Actor {
        Actor { thread: 32 * warp.index + lane as u32, clock: self.clock }
    }

    fn accessor(&self, warp: &Warp, lane: usize) -> Accessor {
        Accessor { block: self.name, actor: self.actor(warp, lane) }
    }

    pub(super) fn load(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        space: Space,
        (bytes, signed): (u32, bool),
        d: &[Register],
        address: Address,
    ) -> Outcome {
        let addresses = addresses(warp, address, mask)?;
        self.counts.accesses += u64::from(mask.count_ones());
        let total = bytes * d.len() as u32;
        let mut values: [[u32; 4]; 32] = [[0; 4]; 32];
        for lane in lanes_of(mask) {
            let at = addresses[lane];
            values[lane] = in_lane(
                lane,
                match space {
                    Space::Global { constant } => {
                        self.memory.load(self.accessor(warp, lane), at, total, constant)
                    }
                    Space::Shared => {
                        let actor = self.actor(warp, lane);
                        self.shared.load(actor, at, total).map(words)
                    }
                    Space::Param => self.parameter(at, total),
                },
            )?;
        }
        for (index, register) in d.iter().enumerate() {
            match *register {
                Register::Word(register) => {
                    let value = std::array::from_fn(|lane| match bytes {
                        2 => {
                            let half = values[lane][index / 2] >> (16 * (index % 2)) & 0xffff;
                            if signed { half as i16 as u32 } else { half }
                        }
                        _ => values[lane][index],
                    });
                    warp.set_word(register, mask, &value);
                }
                Register::Double(register) => {
                    let value = std::array::from_fn(|lane| {
                        u64::from(values[lane][2 * index]) | u64::from(values[lane][2 * index + 1]) << 32
                    });
                    warp.set_double(register, mask, &value);
                }
            }
        }
        Ok(())
    }

    fn parameter(&self, at: u64, bytes: u32) -> Outcome<[u32; 4]> {
        let range = at as usize..at as usize + bytes as usize;
        let found = self.parameters.get(range).map(words);
        found
            .ok_or_else(|| Fault::new(FaultKind::OutOfBounds, format!("{bytes} bytes of parameters at {at}")))
    }

    pub(super) fn store(
        &mut self,
        warp: &Warp,
        mask: u32,
        space: Space,
        bytes: u32,
        registers: &[Register],
        address: Address,
    ) -> Outcome {
        let addresses = addresses(warp, address, mask)?;
        self.counts.accesses += u64::from(mask.count_ones());
        let total = bytes * registers.len() as u32;
        let mut values: [[u32; 4]; 32] = [[0; 4]; 32];
        for (index, register) in registers.iter().enumerate() {
            match *register {
                Register::Word(register) => {
                    let word = warp.word(register, mask)?;
                    for (value, &word) in values.iter_mut().zip(word) {
                        match bytes {
                            2 => value[index / 2] |= (word & 0xffff) << (16 * (index % 2)),
                            _ => value[index] = word,
                        }
                    }
                }
                Register::Double(register) => {
                    let double = warp.double(register, mask)?;
                    for (value, &double) in values.iter_mut().zip(double) {
                        value[2 * index] = double as u32;
                        value[2 * index + 1] = (double >> 32) as u32;
                    }
                }
            }
        }
        for lane in lanes_of(mask) {
            let at = addresses[lane];
            let outcome = match space {
                Space::Shared => {
                    let bytes = octets(&values[lane]);
                    self.shared.store(self.actor(warp, lane), at, &bytes[..total as usize])
                }
                _ => self.memory.store(self.accessor(warp, lane), at, total, values[lane]),
            };
            in_lane(lane, outcome)?;
        }
        Ok(())
    }

    pub(super) fn atomic(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        op: AtomicOp,
        d: Option<R32>,
        address: Address,
        b: R32,
    ) -> Outcome {
        let addresses = addresses(warp, address, mask)?;
        let operand = warp.word(b, mask)?;
        let swap = match op {
            AtomicOp::CompareAndSwap(swap) => *warp.word(swap, mask)?,
            _ => [0; 32],
        };
        let mut old = [0; 32];
        for lane in lanes_of(mask) {
            let by = self.accessor(warp, lane);
            let outcome = self.memory.atomic(by, addresses[lane], op, operand[lane], swap[lane]);
            old[lane] = in_lane(lane, outcome)?;
        }
        if let Some(d) = d {
            warp.set_word(d, mask, &old);
        }
        Ok(())
    }

    pub(super) fn copy_async(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        bytes: u32,
        to: Address,
        from: Address,
        size: Option<R32>,
    ) -> Outcome {
        let (to, from) = (addresses(warp, to, mask)?, addresses(warp, from, mask)?);
        self.counts.accesses += u64::from(mask.count_ones());
        let sizes = size.map(|size| warp.word(size, mask).copied()).transpose()?.unwrap_or([bytes; 32]);
        for lane in lanes_of(mask) {
            let size = sizes[lane];
            if size > bytes {
                let problem = format!("lane {lane}: {size} bytes in a copy of {bytes}");
                return Err(Fault::new(FaultKind::Undefined, problem));
            }
            in_lane(lane, self.memory.check_alignment(from[lane], bytes))?;
            let mut value = [0; 16];
            let mut done = 0;
            while done < size {
                // Pieces of a size that is a power of two.
                let piece = 1 << (size - done).min(16).ilog2();
                let at = from[lane] + u64::from(done);
                let loaded = in_lane(lane, self.memory.load(self.accessor(warp, lane), at, piece, false))?;
                value[done as usize..][..piece as usize].copy_from_slice(&octets(&loaded)[..piece as usize]);
                done += piece;
            }
            let actor = self.actor(warp, lane);
            in_lane(lane, self.shared.begin_copy(actor, to[lane], &value[..bytes as usize]))?;
            warp.copies.push(Copy { lane, address: to[lane], bytes });
        }
        Ok(())
    }

    /// Groups belong to threads; here all threads of a warp must make and await them together.
    pub(super) fn copy_groups(&mut self, warp: &mut Warp, op: &Op, mask: u32) -> Outcome {
        if mask != warp.live {
            let problem = "asynchronous copies grouped or awaited by some lanes of a warp are not modelled";
            return Err(Fault::new(FaultKind::Divergence, problem));
        }
        let pending = match *op {
            Op::WaitGroup { pending } => pending as usize,
            _ => {
                let copies = std::mem::take(&mut warp.copies);
                warp.groups.push_back(copies);
                if *op == Op::CommitGroup { usize::MAX } else { 0 }
            }
        };
        while warp.groups.len() > pending {
            for copy in warp.groups.pop_front().unwrap_or_default() {
                self.shared.end_copy(self.actor(warp, copy.lane), copy.address, copy.bytes);
            }
        }
        Ok(())
    }

    pub(super) fn load_matrix(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        transposed: bool,
        d: &[R32],
        address: Address,
    ) -> Outcome {
        whole_warp(mask)?;
        // Lanes 8 i … 8 i + 7 give the rows of matrix i.
        let givers = if d.len() == 4 { ALL } else { (1 << (8 * d.len())) - 1 };
        let addresses = addresses(warp, address, givers)?;
        for (matrix, &register) in d.iter().enumerate() {
            let mut rows = [[0; 8]; 8];
            for (index, row) in rows.iter_mut().enumerate() {
                let at = addresses[8 * matrix + index];
                for (column, half) in row.iter_mut().enumerate() {
                    // The lane that receives an element is the one that reads it.
                    let lane = if transposed { 4 * column + index / 2 } else { 4 * index + column / 2 };
                    let actor = self.actor(warp, lane);
                    let element = at.wrapping_add(2 * column as u64);
                    if !at.is_multiple_of(16) {
                        let problem = format!("row {index} of matrix {matrix} at shared address {at:#x}");
                        return Err(Fault::new(FaultKind::Misaligned, problem));
                    }
                    let bytes = in_lane(lane, self.shared.load(actor, element, 2))?;
                    *half = u16::from_le_bytes([bytes[0], bytes[1]]);
                }
            }
            warp.set_word(register, mask, &tensor::distribute(&rows, transposed));
        }
        Ok(())
    }
}

fn addresses(warp: &Warp, address: Address, mask: u32) -> Outcome<Lanes64> {
    let offset = address.offset;
    Ok(match address.base {
        // Shared addresses have 32 bits.
        Register::Word(base) => {
            warp.word(base, mask)?.map(|base| u64::from(base.wrapping_add(offset as u32)))
        }
        Register::Double(base) => warp.double(base, mask)?.map(|base| base.wrapping_add_signed(offset)),
    })
}

fn words(bytes: &[u8]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(4)) {
        *word = chunk.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
    }
    words
}

fn octets(words: &[u32; 4]) -> [u8; 16] {
    std::array::from_fn(|index| (words[index / 4] >> (8 * (index % 4))) as u8)
}
