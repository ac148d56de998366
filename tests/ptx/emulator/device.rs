//! Device memory: buffers, and what each launch may reach of them.
//!
//! A kernel's pointers are made for one launch: each argument gets a range of addresses of its own, far from all
//! others, so that no access beyond an argument's bytes goes unnoticed, even where buffers share one arena.
//! Bookkeeping is by cells of two bytes: which launch, block and thread wrote them last, and which read them since.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::fault::{Fault, FaultKind, Outcome};
use super::instruction::AtomicOp;
use super::order::{Actor, Stamp};

/// Names a buffer of a [`Device`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffer(usize);

/// What a kernel may do with an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

/// An argument of a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument {
    /// A pointer to `bytes` bytes of a buffer, from `offset` on.
    Pointer {
        buffer: Buffer,
        offset: usize,
        bytes: usize,
        access: Access,
    },
    Word(u32),
    Double(u64),
}

struct Memory {
    words: Vec<AtomicU32>,
    bytes: usize,
    /// For each cell; nothing where all is constant.
    books: Vec<Book>,
}

/// Who reached a cell: pairs of what wrote it, in the upper half, and what has read it since.
#[derive(Default)]
struct Book {
    /// Blocks, by their accessors.
    blocks: AtomicU64,
    /// Threads of the blocks, by their stamps.
    threads: AtomicU64,
}

impl Book {
    fn blocks(&self) -> (u32, u32) {
        let pair = self.blocks.load(Relaxed);
        ((pair >> 32) as u32, pair as u32)
    }

    fn threads(&self) -> (Stamp, Stamp) {
        let pair = self.threads.load(Relaxed);
        (Stamp((pair >> 32) as u32), Stamp(pair as u32))
    }

    fn note(&self, blocks: (u32, u32), threads: (Stamp, Stamp)) {
        self.blocks.store(u64::from(blocks.0) << 32 | u64::from(blocks.1), Relaxed);
        self.threads.store(u64::from(threads.0.0) << 32 | u64::from(threads.1.0), Relaxed);
    }
}

/// The device's memory. Uninitialised bytes are known as such.
#[derive(Default)]
pub struct Device {
    buffers: Vec<Memory>,
    /// How many writers and readers have been numbered.
    numbered: u32,
}

const CELL: usize = 2;
const NOBODY: u32 = 0;
const HOST: u32 = 1;

/// Where the addresses of the argument `i` begin: `(i + 1) << ARGUMENT_BITS`, and the offset within 256 bytes.
const ARGUMENT_BITS: u32 = 40;

impl Device {
    pub fn new() -> Self {
        Device { buffers: Vec::new(), numbered: HOST }
    }

    /// A buffer of uninitialised bytes.
    pub fn allocate(&mut self, bytes: usize) -> Buffer {
        let words = (0..bytes.div_ceil(4)).map(|_| AtomicU32::new(0xcdcd_cdcd)).collect();
        let books = (0..bytes.div_ceil(CELL)).map(|_| Book::default()).collect();
        self.buffers.push(Memory { words, bytes, books });
        Buffer(self.buffers.len() - 1)
    }

    /// A buffer of constants, which no kernel may write.
    pub fn constants(&mut self, data: &[u8]) -> Buffer {
        let words = data.chunks(4).map(|chunk| AtomicU32::new(word(chunk))).collect();
        self.buffers.push(Memory { words, bytes: data.len(), books: Vec::new() });
        Buffer(self.buffers.len() - 1)
    }

    /// A buffer of floats.
    pub fn floats(&mut self, data: &[f32]) -> Buffer {
        let buffer = self.allocate(4 * data.len());
        self.write_floats(buffer, 0, data);
        buffer
    }

    /// Writes from the host; `offset` in bytes, a multiple of 4.
    pub fn write_floats(&mut self, buffer: Buffer, offset: usize, data: &[f32]) {
        let memory = &mut self.buffers[buffer.0];
        for (word, value) in memory.words[offset / 4..][..data.len()].iter_mut().zip(data) {
            *word.get_mut() = value.to_bits();
        }
        memory.mark(offset, 4 * data.len(), HOST);
    }

    /// Writes bytes from the host, anywhere in a buffer.
    pub fn write_bytes(&mut self, buffer: Buffer, offset: usize, data: &[u8]) {
        let memory = &mut self.buffers[buffer.0];
        for (at, &byte) in (offset..).zip(data) {
            let (word, shift) = (memory.words[at / 4].get_mut(), 8 * (at % 4));
            *word = *word & !(0xff << shift) | u32::from(byte) << shift;
        }
        memory.mark(offset, data.len(), HOST);
    }

    /// Takes a buffer's memory away. It has no bytes from then on.
    pub fn free(&mut self, buffer: Buffer) {
        self.buffers[buffer.0] = Memory { words: Vec::new(), bytes: 0, books: Vec::new() };
    }

    /// Reads to the host; `offset` in bytes, a multiple of 4.
    ///
    /// # Errors
    /// Where something was never written.
    pub fn read_floats(&self, buffer: Buffer, offset: usize, count: usize) -> Outcome<Vec<f32>> {
        let memory = &self.buffers[buffer.0];
        let books = memory.books.get(offset / CELL..offset / CELL + 2 * count).unwrap_or_default();
        if let Some(index) = books.iter().position(|book| book.blocks().0 == NOBODY) {
            let problem = format!("byte {} of {} was never written", CELL * index, 4 * count);
            return Err(Fault::new(FaultKind::Uninitialised, problem));
        }
        let words = &memory.words[offset / 4..offset / 4 + count];
        Ok(words.iter().map(|word| f32::from_bits(word.load(Relaxed))).collect())
    }

    /// The memory as the blocks of one launch see it.
    pub(super) fn view<'a>(&'a mut self, arguments: &[Argument], blocks: u32) -> Outcome<View<'a>> {
        let first = self.numbered + 1;
        self.numbered = first
            .checked_add(blocks)
            .ok_or_else(|| Fault::new(FaultKind::Launch, "more blocks than can be told apart"))?;
        let mut windows = Vec::new();
        for (index, argument) in arguments.iter().enumerate() {
            let Argument::Pointer { buffer, offset, bytes, access } = *argument else {
                windows.push(None);
                continue;
            };
            let size = self.buffers[buffer.0].bytes;
            if offset.checked_add(bytes).is_none_or(|end| end > size) {
                let problem = format!("argument {index}: {bytes} bytes at {offset} of a buffer of {size}");
                return Err(Fault::new(FaultKind::Launch, problem));
            }
            windows.push(Some(Window { buffer, offset, bytes, access }));
        }
        Ok(View { device: self, windows, first })
    }
}

impl Memory {
    fn mark(&mut self, offset: usize, bytes: usize, writer: u32) {
        if let Some(books) = self.books.get(offset / CELL..(offset + bytes).div_ceil(CELL)) {
            for book in books {
                book.note((writer, NOBODY), (Stamp::NONE, Stamp::NONE));
            }
        }
    }
}

/// Up to four bytes as a little-endian word.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

struct Window {
    buffer: Buffer,
    offset: usize,
    bytes: usize,
    access: Access,
}

/// A thread of a launch.
#[derive(Clone, Copy)]
pub(super) struct Accessor {
    /// Names the block, see [`View::block`].
    pub block: u32,
    pub actor: Actor,
}

/// What a launch reaches.
pub(super) struct View<'a> {
    device: &'a Device,
    /// By argument; none for numbers.
    windows: Vec<Option<Window>>,
    /// Stands for several blocks of the launch; each of them has one of the next numbers.
    first: u32,
}

impl View<'_> {
    /// The pointer that the kernel gets for an argument.
    pub fn pointer(&self, argument: usize) -> Option<u64> {
        let window = self.windows.get(argument)?.as_ref()?;
        Some(((argument as u64 + 1) << ARGUMENT_BITS) + window.offset as u64 % 256)
    }

    /// The name of a block, different from those of other launches.
    pub fn block(&self, block: u32) -> u32 {
        self.first + 1 + block
    }

    fn locate(&self, address: u64, bytes: usize, writes: bool) -> Outcome<(&Memory, usize)> {
        let argument = (address >> ARGUMENT_BITS).wrapping_sub(1) as usize;
        let out_of_bounds = |problem: String| Err(Fault::new(FaultKind::OutOfBounds, problem));
        let Some(Some(window)) = self.windows.get(argument) else {
            return out_of_bounds(format!("{bytes} bytes at {address:#x}, which is in no argument"));
        };
        let low = address & ((1 << ARGUMENT_BITS) - 1);
        if !low.is_multiple_of(bytes as u64) {
            let problem = format!("{bytes} bytes at {low:#x} of argument {argument}");
            return Err(Fault::new(FaultKind::Misaligned, problem));
        }
        let start = low as i64 - (window.offset % 256) as i64;
        if start < 0 || start as usize + bytes > window.bytes {
            let size = window.bytes;
            return out_of_bounds(format!(
                "{bytes} bytes at offset {start} of the {size} of argument {argument}"
            ));
        }
        let memory = &self.device.buffers[window.buffer.0];
        let problem = match window.access {
            _ if writes && memory.books.is_empty() => "a store to constants",
            Access::Read if writes => "a store to what is only to be read",
            Access::Write if !writes => "a load from what is only to be written",
            _ => return Ok((memory, window.offset + start as usize)),
        };
        Err(Fault::new(FaultKind::Forbidden, format!("{problem}, argument {argument}")))
    }

    /// Checks the alignment that a copy of `bytes` needs, whether or not it reads anything.
    pub fn check_alignment(&self, address: u64, bytes: u32) -> Outcome {
        if address.is_multiple_of(u64::from(bytes)) {
            return Ok(());
        }
        Err(Fault::new(FaultKind::Misaligned, format!("a copy of {bytes} bytes from {address:#x}")))
    }

    /// Loads 2, 4, 8 or 16 bytes. `constant`: nothing in this launch may write them.
    pub fn load(&self, by: Accessor, address: u64, bytes: u32, constant: bool) -> Outcome<[u32; 4]> {
        let (memory, start) = self.locate(address, bytes as usize, false)?;
        if !memory.books.is_empty() {
            for book in &memory.books[start / CELL..(start + bytes as usize) / CELL] {
                self.note_read(book, by, constant).map_err(|(kind, problem)| {
                    Fault::new(kind, format!("{bytes} bytes at {address:#x}, {problem}"))
                })?;
            }
        }
        let mut value = [0; 4];
        if bytes == 2 {
            value[0] = memory.words[start / 4].load(Relaxed) >> (8 * (start % 4)) & 0xffff;
        } else {
            for (value, word) in value.iter_mut().zip(&memory.words[start / 4..(start + bytes as usize) / 4])
            {
                *value = word.load(Relaxed);
            }
        }
        Ok(value)
    }

    fn note_read(&self, book: &Book, by: Accessor, constant: bool) -> Result<(), (FaultKind, &'static str)> {
        let ((writer, reader), (write, read)) = (book.blocks(), book.threads());
        if writer == NOBODY {
            return Err((FaultKind::Uninitialised, "to which nothing was written"));
        }
        if writer >= self.first {
            if constant {
                return Err((FaultKind::Race, "which this launch writes as well"));
            }
            if writer != by.block {
                return Err((FaultKind::Race, "which another block writes"));
            }
            if !by.actor.comes_after(write) {
                return Err((FaultKind::Race, "which another thread writes with no barrier between"));
            }
        }
        if reader < self.first {
            book.note((writer, by.block), (write, by.actor.stamp()));
        } else if reader == by.block && !by.actor.is_noted(read) {
            book.note((writer, reader), (write, by.actor.joined(read)));
        } else if reader != by.block && reader != self.first {
            book.note((writer, self.first), (write, Stamp::NONE));
        }
        Ok(())
    }

    /// Stores 2, 4, 8 or 16 bytes.
    pub fn store(&self, by: Accessor, address: u64, bytes: u32, value: [u32; 4]) -> Outcome {
        let (memory, start) = self.locate(address, bytes as usize, true)?;
        for book in &memory.books[start / CELL..(start + bytes as usize) / CELL] {
            let ((writer, reader), (write, read)) = (book.blocks(), book.threads());
            for (block, stamp, verb) in [(writer, write, "writes"), (reader, read, "reads")] {
                let other = match block {
                    _ if block < self.first => continue,
                    _ if block != by.block => "another block",
                    _ if !by.actor.comes_after(stamp) => "another thread",
                    _ => continue,
                };
                let problem = format!("{bytes} bytes stored at {address:#x}, which {other} {verb}");
                return Err(Fault::new(FaultKind::Race, problem));
            }
            book.note((by.block, NOBODY), (by.actor.stamp(), Stamp::NONE));
        }
        if bytes == 2 {
            let shift = 8 * (start % 4);
            let merge = |word| Some(word & !(0xffff << shift) | (value[0] & 0xffff) << shift);
            // Another block may write the other half of the word at the same time.
            let _ = memory.words[start / 4].fetch_update(Relaxed, Relaxed, merge);
        } else {
            for (value, word) in value.iter().zip(&memory.words[start / 4..(start + bytes as usize) / 4]) {
                word.store(*value, Relaxed);
            }
        }
        Ok(())
    }

    /// An atomic operation; the old value. Atomic operations do not race with each other.
    pub fn atomic(&self, by: Accessor, address: u64, op: AtomicOp, b: u32, swap: u32) -> Outcome<u32> {
        let (memory, start) = self.locate(address, 4, true)?;
        for book in &memory.books[start / CELL..(start + 4) / CELL] {
            let ((writer, reader), (write, read)) = (book.blocks(), book.threads());
            if writer == NOBODY {
                let problem = format!("an atomic operation at {address:#x}, to which nothing was written");
                return Err(Fault::new(FaultKind::Uninitialised, problem));
            }
            let races =
                |block, stamp| block > self.first && (block != by.block || !by.actor.comes_after(stamp));
            if races(writer, write) || races(reader, read) {
                let problem = format!("an atomic operation at {address:#x}, which others reach as well");
                return Err(Fault::new(FaultKind::Race, problem));
            }
            book.note((self.first, NOBODY), (Stamp::NONE, Stamp::NONE));
        }
        let update = |old| Some(apply(op, old, b, swap));
        let old = memory.words[start / 4].fetch_update(Relaxed, Relaxed, update);
        Ok(old.unwrap_or_else(|old| old))
    }
}

/// The new value of an atomic operation.
pub(super) fn apply(op: AtomicOp, old: u32, b: u32, swap: u32) -> u32 {
    match op {
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::AddFloat => (f32::from_bits(old) + f32::from_bits(b)).to_bits(),
        AtomicOp::Min { signed: false } => old.min(b),
        AtomicOp::Min { signed: true } => (old as i32).min(b as i32) as u32,
        AtomicOp::Max { signed: false } => old.max(b),
        AtomicOp::Max { signed: true } => (old as i32).max(b as i32) as u32,
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Exchange => b,
        AtomicOp::Increment => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::CompareAndSwap(_) => {
            if old == b {
                swap
            } else {
                old
            }
        }
    }
}
