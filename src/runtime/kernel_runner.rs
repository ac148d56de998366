//! A kernel alone, with memory of its own: what measurements of single kernels run.

use std::time::Instant;

use super::CompileError;
use super::executable::{Launch, Program};
use super::memory::Memory;
use super::threads::Threads;
use crate::codegen::jit::JitKernels;
use crate::codegen::target::InstructionSet;
use crate::codegen::vector::{Access, Kernel};

/// A compiled kernel and its buffers, run over its grid by a team of threads; as in every kernel, different points of
/// the grid write different elements.
pub(crate) struct KernelRunner {
    kernel: Kernel,
    /// The code that `launches` point into.
    _code: JitKernels,
    /// The kernel's buffers in order; scratch buffers are empty here.
    buffers: Vec<Memory>,
    /// Each thread's scratch memory, which `tables` points into.
    _scratch: Vec<Memory>,
    /// For each thread the pointers to its buffers.
    tables: Vec<Vec<*mut f32>>,
    /// The same launch, as often as [`KernelRunner::time`] may repeat it.
    launches: Vec<Launch>,
    threads: Threads,
}

/// The most launches of one timing.
const MOST_LAUNCHES: usize = 1024;

impl KernelRunner {
    /// Compiles a kernel; its buffers hold zeros.
    ///
    /// # Errors
    /// Where this CPU cannot run `isa`, the kernel is not one for it, or the system has no memory or threads left.
    pub fn new(kernel: Kernel, isa: InstructionSet, threads: usize) -> Result<Self, CompileError> {
        if !isa.is_available() {
            return Err(CompileError::NotAvailable(isa));
        }
        let code = JitKernels::compile(std::slice::from_ref(&kernel), isa, 1)?;
        let team = Threads::new(threads, MOST_LAUNCHES)?;
        let is_scratch = |access: Access| access == Access::Scratch;
        let mut buffers = Vec::new();
        for buffer in &kernel.buffers {
            let elements = if is_scratch(buffer.access) { 0 } else { buffer.elements };
            buffers.push(Memory::zeroed_on_large_pages(elements)?);
        }
        let mut scratch = Vec::new();
        let mut tables = Vec::new();
        for _ in 0..team.threads() {
            let mut table = Vec::new();
            for (memory, buffer) in buffers.iter_mut().zip(&kernel.buffers) {
                if is_scratch(buffer.access) {
                    let mut own = Memory::zeroed_on_large_pages(buffer.elements)?;
                    table.push(own.part(0, buffer.elements));
                    scratch.push(own);
                } else {
                    table.push(memory.part(0, buffer.elements));
                }
            }
            tables.push(table);
        }
        let launch = || Launch { function: code.function(0), grid: kernel.grid(), table: 0, borders: vec![] };
        let launches = (0..MOST_LAUNCHES).map(|_| launch()).collect();
        Ok(KernelRunner { launches, _code: code, buffers, _scratch: scratch, tables, threads: team, kernel })
    }

    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The elements of a buffer, none if it is scratch memory.
    pub fn buffer(&mut self, position: usize) -> &mut [f32] {
        self.buffers[position].as_mut_slice()
    }

    /// Runs the kernel once.
    pub fn run(&mut self) {
        self.launch(1);
    }

    /// Seconds of one run, as the mean of `times` runs (at most 1024) that follow each other like the kernels of a
    /// model.
    pub fn time(&mut self, times: usize) -> f64 {
        let times = times.clamp(1, MOST_LAUNCHES);
        let start = Instant::now();
        self.launch(times);
        start.elapsed().as_secs_f64() / times as f64
    }

    fn launch(&mut self, times: usize) {
        let launches = &self.launches[..times];
        self.threads.run(&Program { launches, tables: &self.tables, clock: None });
    }
}
