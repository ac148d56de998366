//! Running kernels through an emitter, on memory that faults where a kernel reads or writes beyond its buffers.

use kiln::codegen::jit::JitKernels;
use kiln::codegen::module::CodegenFailure;
use kiln::codegen::target::InstructionSet;
use kiln::codegen::vector::Kernel;

/// Runs a kernel over its grid, one buffer for each of the kernel's.
pub fn run(isa: InstructionSet, kernel: &Kernel, buffers: &mut [Vec<f32>]) -> Result<(), CodegenFailure> {
    let code = JitKernels::compile(std::slice::from_ref(kernel), isa, 1)?;
    let function = code.function(0);
    let mut memory: Vec<Guarded> = buffers.iter().map(|buffer| Guarded::new(buffer)).collect();
    let table: Vec<*mut f32> = memory.iter_mut().map(|guarded| guarded.elements().as_mut_ptr()).collect();
    let [g0, g1, g2] = kernel.grid();
    for point in 0..g0 * g1 * g2 {
        // SAFETY: the kernel was verified, and the buffers are as long as it declares.
        unsafe { function(table.as_ptr(), point / (g1 * g2), point / g2 % g1, point % g2) };
    }
    for (buffer, guarded) in buffers.iter_mut().zip(&mut memory) {
        buffer.copy_from_slice(guarded.elements());
    }
    Ok(())
}

const PAGE: usize = 4096;

/// A buffer that ends where a page begins that faults when touched.
struct Guarded {
    start: *mut u8,
    layout: std::alloc::Layout,
    elements: usize,
}

#[cfg(unix)]
unsafe extern "C" {
    fn mprotect(address: *mut u8, length: usize, protection: i32) -> i32;
}

impl Guarded {
    fn new(buffer: &[f32]) -> Self {
        let bytes = (size_of_val(buffer)).next_multiple_of(PAGE) + PAGE;
        let layout = std::alloc::Layout::from_size_align(bytes, PAGE).expect("a small buffer");
        // SAFETY: the size is not zero.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        assert!(!start.is_null(), "out of memory");
        let mut guarded = Guarded { start, layout, elements: buffer.len() };
        guarded.elements().copy_from_slice(buffer);
        guarded.protect(0);
        guarded
    }

    fn elements(&mut self) -> &mut [f32] {
        // SAFETY: within the allocation, before the guard page, and aligned since pages are.
        unsafe {
            let end = self.start.add(self.layout.size() - PAGE).cast::<f32>();
            std::slice::from_raw_parts_mut(end.sub(self.elements), self.elements)
        }
    }

    fn protect(&mut self, protection: i32) {
        #[cfg(unix)]
        // SAFETY: the page belongs to the allocation, and `elements` leaves it out.
        unsafe {
            let guard = self.start.add(self.layout.size() - PAGE);
            assert_eq!(mprotect(guard, PAGE, protection), 0, "the guard page cannot be protected");
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        const READ_WRITE: i32 = 3;
        self.protect(READ_WRITE);
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.start, self.layout) };
    }
}
