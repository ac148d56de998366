//! Launching a kernel: its grid, its arguments, and the threads of the host that run its blocks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use super::block::{Block, Counts};
use super::device::{Argument, Device};
use super::fault::{Fault, FaultKind, Outcome};
use super::kernel::Kernel;
use super::module::Module;

/// One launch of a kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct Launch<'a> {
    pub kernel: &'a str,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads in x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    pub arguments: &'a [Argument],
    /// The most instructions that the warps of one block may execute together.
    pub max_instructions: u64,
}

/// No endless loop takes longer than a minute to be found.
pub const MAX_INSTRUCTIONS: u64 = 1 << 31;

/// What no device allows more of.
const MAX_THREADS: u64 = 1024;
const MAX_SHARED: u64 = 227 << 10;

impl Device {
    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// Whatever it does that it must not do; of several blocks' faults, that of the first block.
    pub fn launch(&mut self, module: &Module, launch: &Launch) -> Outcome<Counts> {
        let refuse = |problem: String| Err(Fault::new(FaultKind::Launch, problem));
        let Some(kernel) = module.kernel(launch.kernel) else {
            return refuse(format!("there is no kernel {}", launch.kernel));
        };
        let product = |extent: [u32; 3]| extent.iter().map(|&extent| u64::from(extent)).product::<u64>();
        let (threads, blocks) = (product(launch.block), product(launch.grid));
        let most = u64::from(kernel.max_threads.unwrap_or(u32::MAX)).min(MAX_THREADS);
        if threads == 0 || threads > most {
            return refuse(format!("{threads} threads where {most} are the most"));
        }
        let [_, y, z] = launch.grid;
        if blocks == 0 || blocks > 1 << 31 || y > 0xffff || z > 0xffff {
            return refuse(format!("a grid of {:?} blocks", launch.grid));
        }
        let shared = u64::from(kernel.static_shared) + u64::from(launch.shared);
        if shared > MAX_SHARED {
            return refuse(format!("{shared} bytes of shared memory"));
        }
        let view = self.view(launch.arguments, blocks as u32)?;
        let pointers: Vec<Option<u64>> =
            (0..launch.arguments.len()).map(|index| view.pointer(index)).collect();
        let parameters = parameters(kernel, launch.arguments, &pointers)?;
        let machine = || {
            let shape = (launch.grid, launch.block);
            Block::new(kernel, &view, &parameters, shape, launch.shared, launch.max_instructions)
        };
        run_all(machine, blocks as u32)
    }
}

/// Runs the blocks of a grid on two threads.
fn run_all<'a>(machine: impl Fn() -> Block<'a> + Sync, blocks: u32) -> Outcome<Counts> {
    let (next, failed) = (AtomicU32::new(0), AtomicBool::new(false));
    let first_fault: Mutex<Option<(u32, Box<Fault>)>> = Mutex::new(None);
    let work = || {
        let mut machine = machine();
        while !failed.load(Relaxed) {
            let index = next.fetch_add(1, Relaxed);
            if index >= blocks {
                break;
            }
            if let Err(fault) = machine.run(index) {
                failed.store(true, Relaxed);
                let mut first = first_fault.lock().expect("no thread panics with the lock");
                if first.as_ref().is_none_or(|(other, _)| index < *other) {
                    *first = Some((index, fault));
                }
            }
        }
        machine.counts
    };
    let counts = std::thread::scope(|scope| {
        let helper = (blocks > 1).then(|| scope.spawn(work));
        let mine = work();
        let theirs =
            helper.map(|helper| helper.join().expect("the machine does not panic")).unwrap_or_default();
        Counts {
            warp_instructions: mine.warp_instructions + theirs.warp_instructions,
            barriers: mine.barriers + theirs.barriers,
            accesses: mine.accesses + theirs.accesses,
        }
    });
    match first_fault.into_inner().expect("no thread panics with the lock") {
        Some((_, fault)) => Err(fault),
        None => Ok(counts),
    }
}

/// The bytes that `ld.param` reads.
fn parameters(kernel: &Kernel, arguments: &[Argument], pointers: &[Option<u64>]) -> Outcome<Vec<u8>> {
    let refuse = |problem: String| Err(Fault::new(FaultKind::Launch, problem));
    if arguments.len() != kernel.parameters.len() {
        return refuse(format!("{} arguments for {} parameters", arguments.len(), kernel.parameters.len()));
    }
    let mut bytes = Vec::new();
    for ((argument, pointer), parameter) in arguments.iter().zip(pointers).zip(&kernel.parameters) {
        let (value, size) = match (*argument, *pointer) {
            (_, Some(pointer)) => (pointer, 8),
            (Argument::Double(value), _) => (value, 8),
            (Argument::Word(value), _) => (u64::from(value), 4),
            (Argument::Pointer { .. }, None) => return refuse("a pointer without a buffer".to_owned()),
        };
        if size != parameter.bytes {
            return refuse(format!("{size} bytes for parameter {} of {}", parameter.name, parameter.bytes));
        }
        bytes.resize(parameter.offset as usize, 0);
        bytes.extend_from_slice(&value.to_le_bytes()[..size as usize]);
    }
    Ok(bytes)
}
