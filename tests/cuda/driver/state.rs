//! The driver's objects. Handles are numbers that no two objects share, of whatever kind.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::emulator::{Buffer, Device, Module};
use crate::faults::Faults;
use crate::report::Report;
use crate::status::{Outcome, Status};
use crate::work::{Event, Queued, Stream};

/// What callers hold in place of a pointer to an object.
pub type Handle = usize;

/// The stream that is there without being made.
pub const DEFAULT_STREAM: Handle = 0;

/// The device's only context.
pub const CONTEXT: Handle = 0xc0de;

thread_local! {
    /// The thread's current context.
    pub static CURRENT: Cell<Handle> = const { Cell::new(0) };
}

#[derive(Clone, Copy)]
pub struct Allocation {
    pub buffer: Buffer,
    pub bytes: usize,
}

pub struct Driver {
    pub initialised: bool,
    /// How often the context is retained.
    pub retained: usize,
    pub memory: Device,
    /// By their first address.
    pub allocations: BTreeMap<u64, Allocation>,
    pub modules: HashMap<Handle, Module>,
    /// Kernels: their module and name.
    pub functions: HashMap<Handle, (Handle, String)>,
    pub streams: HashMap<Handle, Stream>,
    pub events: HashMap<Handle, Event>,
    pub graphs: HashMap<Handle, Vec<Queued>>,
    pub executables: HashMap<Handle, Vec<Queued>>,
    /// The error that every call answers with, once a kernel has failed.
    pub broken: Option<Status>,
    pub faults: Faults,
    pub report: Report,
    next_handle: Handle,
    next_address: u64,
}

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(|| {
    Mutex::new(Driver {
        initialised: false,
        retained: 0,
        memory: Device::new(),
        allocations: BTreeMap::new(),
        modules: HashMap::new(),
        functions: HashMap::new(),
        streams: HashMap::from([(DEFAULT_STREAM, Stream::default())]),
        events: HashMap::new(),
        graphs: HashMap::new(),
        executables: HashMap::new(),
        broken: None,
        faults: Faults::from_environment(),
        report: Report::default(),
        next_handle: 0x1000,
        next_address: 0x7000_0000_0000,
    })
});

impl Driver {
    pub fn with<T>(act: impl FnOnce(&mut Driver) -> T) -> T {
        act(&mut DRIVER.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn violation(&mut self, what: impl Into<String>) {
        self.report.violations.push(what.into());
    }

    pub fn new_handle(&mut self) -> Handle {
        self.next_handle += 16;
        self.next_handle
    }

    /// What a call with an object that does not exist answers.
    fn unknown(&mut self, kind: &str, handle: Handle) -> Status {
        self.violation(format!("{handle:#x} is no {kind}"));
        Status::INVALID_HANDLE
    }

    pub fn stream(&mut self, handle: Handle) -> Outcome<&mut Stream> {
        if !self.streams.contains_key(&handle) {
            return Err(self.unknown("stream", handle));
        }
        self.streams.get_mut(&handle).ok_or(Status::INVALID_HANDLE)
    }

    pub fn event(&mut self, handle: Handle) -> Outcome<&mut Event> {
        if !self.events.contains_key(&handle) {
            return Err(self.unknown("event", handle));
        }
        self.events.get_mut(&handle).ok_or(Status::INVALID_HANDLE)
    }

    /// Removes an object from those of its kind.
    pub fn remove<T>(
        &mut self,
        kind: &str,
        of: impl FnOnce(&mut Driver) -> &mut HashMap<Handle, T>,
        handle: Handle,
    ) -> Outcome<T> {
        let removed = of(self).remove(&handle);
        removed.ok_or_else(|| self.unknown(kind, handle))
    }

    /// Refuses what must not be called while a stream is captured.
    pub fn not_capturing(&mut self) -> Outcome {
        if self.streams.values().any(|stream| stream.capture.is_some()) {
            self.violation("a call that is not allowed while a stream is captured");
            return Err(Status::CAPTURE_UNSUPPORTED);
        }
        Ok(())
    }

    /// Refuses what needs a context where the thread has none.
    pub fn in_context(&mut self) -> Outcome {
        if CURRENT.get() != CONTEXT || self.retained == 0 {
            self.violation("a call that needs a context without one");
            return Err(Status::INVALID_CONTEXT);
        }
        self.broken.map_or(Ok(()), Err)
    }

    pub fn allocate(&mut self, bytes: usize) -> Outcome<u64> {
        self.in_context()?;
        self.not_capturing()?;
        if bytes == 0 {
            return Err(Status::INVALID_VALUE);
        }
        let reserved: usize = self.allocations.values().map(|allocation| allocation.bytes).sum();
        if self.faults.memory.is_some_and(|most| reserved + bytes > most) {
            return Err(Status::OUT_OF_MEMORY);
        }
        let buffer = self.memory.allocate(bytes);
        let address = self.next_address;
        // Nothing lies between one allocation and the next, so that accesses beyond one are found out.
        self.next_address += (bytes as u64).next_multiple_of(512) + (1 << 20);
        self.allocations.insert(address, Allocation { buffer, bytes });
        Ok(address)
    }

    pub fn free(&mut self, address: u64) -> Outcome {
        let Some(allocation) = self.allocations.remove(&address) else {
            self.violation(format!("{address:#x} is freed and not allocated"));
            return Err(Status::INVALID_VALUE);
        };
        self.memory.free(allocation.buffer);
        Ok(())
    }

    /// The allocation that holds an address, with where it begins.
    pub fn allocation_at(&self, address: u64) -> Option<(u64, Allocation)> {
        let (&start, &allocation) = self.allocations.range(..=address).next_back()?;
        (address < start + allocation.bytes as u64).then_some((start, allocation))
    }

    /// The place of some bytes of one allocation.
    pub fn locate(&mut self, address: u64, bytes: usize) -> Outcome<(Buffer, usize)> {
        let place = self.allocation_at(address);
        let place = place.map(|(start, allocation)| (allocation, (address - start) as usize));
        match place.filter(|(allocation, offset)| offset + bytes <= allocation.bytes) {
            Some((allocation, offset)) => Ok((allocation.buffer, offset)),
            None => {
                self.violation(format!("{bytes} bytes at {address:#x} are not in one allocation"));
                Err(Status::INVALID_VALUE)
            }
        }
    }

    /// How many objects of each kind there are, those that are always there left out.
    pub fn alive(&self) -> [(&'static str, usize); 6] {
        [
            ("allocations", self.allocations.len()),
            ("modules", self.modules.len()),
            ("streams", self.streams.len() - 1),
            ("events", self.events.len()),
            ("graphs", self.graphs.len()),
            ("executable graphs", self.executables.len()),
        ]
    }

    pub fn final_report(&mut self) -> &Report {
        let alive = self.alive().into_iter().chain([("contexts", self.retained)]);
        self.report.leaked = alive.filter(|&(_, count)| count > 0).collect();
        &self.report
    }
}
