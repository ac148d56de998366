//! Streams, and the work that waits in them until something waits for it: what a caller forgets to wait for never
//! happens.

use std::time::Instant;

use crate::emulator::{Access, Argument, Launch, MAX_INSTRUCTIONS};
use crate::state::{Driver, Handle};
use crate::status::{Outcome, Status};

/// A launch as it was asked for.
#[derive(Clone)]
pub struct Queued {
    pub function: Handle,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub arguments: Vec<u64>,
}

pub enum Work {
    Launch(Queued),
    Copy { to: u64, bytes: Vec<u8> },
    Record(Handle),
    Free(u64),
}

#[derive(Default)]
pub struct Stream {
    pub pending: Vec<Work>,
    /// Launches recorded so far, while the stream is captured.
    pub capture: Option<Vec<Queued>>,
}

pub struct Event {
    pub timed: bool,
    pub recorded: bool,
    /// When the stream came to it.
    pub reached: Option<Instant>,
}

impl Driver {
    /// Appends to a stream.
    pub fn enqueue(&mut self, stream: Handle, work: Work) -> Outcome {
        let captures = self.stream(stream)?.capture.is_some();
        match (captures, work) {
            (false, work) => self.stream(stream)?.pending.push(work),
            (true, Work::Launch(launch)) => {
                self.stream(stream)?.capture.get_or_insert_default().push(launch);
            }
            (true, _) => {
                self.violation("something other than a launch while a stream is captured");
                return Err(Status::CAPTURE_UNSUPPORTED);
            }
        }
        Ok(())
    }

    /// Does all that waits in a stream.
    pub fn wait(&mut self, stream: Handle) -> Outcome {
        self.not_capturing()?;
        for work in std::mem::take(&mut self.stream(stream)?.pending) {
            match work {
                // After a fault nothing runs any more, but what is given back is given back.
                Work::Free(address) => self.free(address)?,
                _ if self.broken.is_some() => {}
                Work::Launch(launch) => self.execute(&launch),
                Work::Copy { to, bytes } => {
                    let (buffer, offset) = self.locate(to, bytes.len())?;
                    self.memory.write_bytes(buffer, offset, &bytes);
                }
                Work::Record(event) => self.event(event)?.reached = Some(Instant::now()),
            }
        }
        self.broken.map_or(Ok(()), Err)
    }

    fn execute(&mut self, queued: &Queued) {
        if self.faults.kernel == Some(self.report.launches) {
            self.broken = Some(Status::ILLEGAL_ADDRESS);
            return;
        }
        self.report.launches += 1;
        if let Err(problem) = self.run(queued) {
            self.violation(problem);
            self.broken = Some(Status::ILLEGAL_ADDRESS);
        }
    }

    fn run(&mut self, queued: &Queued) -> Result<(), String> {
        let Some((module, kernel)) = self.functions.get(&queued.function).cloned() else {
            return Err("a kernel runs whose module is unloaded".to_owned());
        };
        let mut arguments = Vec::new();
        for &address in &queued.arguments {
            let Some((start, allocation)) = self.allocation_at(address) else {
                return Err(format!("{kernel} gets {address:#x}, which is in no allocation"));
            };
            let offset = (address - start) as usize;
            let bytes = allocation.bytes - offset;
            arguments.push(Argument::Pointer {
                buffer: allocation.buffer,
                offset,
                bytes,
                access: Access::ReadWrite,
            });
        }
        let Some(module) = self.modules.get(&module) else {
            return Err(format!("{kernel} has lost its module"));
        };
        let launch = Launch {
            kernel: &kernel,
            grid: queued.grid,
            block: queued.block,
            shared: queued.shared,
            arguments: &arguments,
            max_instructions: MAX_INSTRUCTIONS,
        };
        self.memory.launch(module, &launch).map(|_| ()).map_err(|fault| fault.to_string())
    }
}
