//! A block's shared memory, and who reached which bytes when.
//!
//! Bookkeeping is by cells of two bytes, the smallest access there is.

use std::ops::Range;

use super::fault::{Fault, FaultKind, Outcome};
use super::order::{Actor, Stamp};

const CELL: u32 = 2;

#[derive(Clone, Copy, Default)]
struct Cell {
    write: Stamp,
    read: Stamp,
}

/// Shared memory of one block.
pub struct Shared {
    bytes: Vec<u8>,
    cells: Vec<Cell>,
}

impl Shared {
    pub fn new(bytes: u32) -> Self {
        let cells = vec![Cell::default(); bytes.div_ceil(CELL) as usize];
        Shared { bytes: vec![0xcd; cells.len() * CELL as usize], cells }
    }

    /// Makes everything uninitialised.
    pub fn reset(&mut self) {
        self.cells.fill(Cell::default());
    }

    fn cells_of(&self, address: u64, bytes: u32) -> Outcome<Range<usize>> {
        if !address.is_multiple_of(u64::from(bytes)) {
            return Err(Fault::new(
                FaultKind::Misaligned,
                format!("{bytes} bytes at shared address {address:#x}"),
            ));
        }
        match address.checked_add(u64::from(bytes)) {
            Some(end) if end <= self.bytes.len() as u64 => {
                Ok((address / u64::from(CELL)) as usize..(end / u64::from(CELL)) as usize)
            }
            _ => Err(Fault::new(
                FaultKind::OutOfBounds,
                format!("{bytes} bytes at {address:#x} of {:#x} bytes of shared memory", self.bytes.len()),
            )),
        }
    }

    fn bytes_of(&mut self, cells: Range<usize>) -> &mut [u8] {
        &mut self.bytes[cells.start * CELL as usize..cells.end * CELL as usize]
    }

    /// The bytes of a load.
    pub fn load(&mut self, actor: Actor, address: u64, bytes: u32) -> Outcome<&[u8]> {
        let range = self.cells_of(address, bytes)?;
        for cell in &mut self.cells[range.clone()] {
            if actor.is_noted(cell.read) {
                continue;
            }
            if cell.write == Stamp::NONE || cell.write.is_pending() || !actor.comes_after(cell.write) {
                return Err(read_fault(cell.write, actor.thread, address));
            }
            cell.read = actor.joined(cell.read);
        }
        Ok(self.bytes_of(range))
    }

    /// A store.
    pub fn store(&mut self, actor: Actor, address: u64, value: &[u8]) -> Outcome {
        let range = self.write(actor, address, value.len() as u32, actor.stamp())?;
        self.bytes_of(range).copy_from_slice(value);
        Ok(())
    }

    /// The start of an asynchronous copy: its bytes cannot be read until it has been waited for.
    pub fn begin_copy(&mut self, actor: Actor, address: u64, value: &[u8]) -> Outcome {
        let range = self.write(actor, address, value.len() as u32, actor.pending())?;
        self.bytes_of(range).copy_from_slice(value);
        Ok(())
    }

    /// The end of an asynchronous copy: as if the thread that waited had written the bytes now.
    pub fn end_copy(&mut self, actor: Actor, address: u64, bytes: u32) {
        let start = (address / u64::from(CELL)) as usize;
        for cell in &mut self.cells[start..start + (bytes / CELL) as usize] {
            cell.write = actor.stamp();
        }
    }

    fn write(&mut self, actor: Actor, address: u64, bytes: u32, stamp: Stamp) -> Outcome<Range<usize>> {
        let range = self.cells_of(address, bytes)?;
        for cell in &mut self.cells[range.clone()] {
            if cell.write.is_pending() {
                return Err(Fault::new(
                    FaultKind::NotWaitedFor,
                    format!("a write to shared address {address:#x}, to which a cp.async is under way"),
                ));
            }
            for (access, verb) in [(cell.write, "writes"), (cell.read, "reads")] {
                if !actor.comes_after(access) {
                    let (thread, other) = (actor.thread, access.name());
                    return Err(Fault::new(
                        FaultKind::Race,
                        format!(
                            "thread {thread} writes shared address {address:#x}, which {other} {verb} with no barrier between"
                        ),
                    ));
                }
            }
            *cell = Cell { write: stamp, read: Stamp::NONE };
        }
        Ok(range)
    }
}

fn read_fault(write: Stamp, thread: u32, address: u64) -> Box<Fault> {
    let (kind, problem) = if write == Stamp::NONE {
        (FaultKind::Uninitialised, "to which nothing was written".to_owned())
    } else if write.is_pending() {
        (FaultKind::NotWaitedFor, format!("to which a cp.async of {} is under way", write.name()))
    } else {
        (FaultKind::Race, format!("which {} writes with no barrier between", write.name()))
    };
    Fault::new(kind, format!("thread {thread} reads shared address {address:#x}, {problem}"))
}
