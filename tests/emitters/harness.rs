//! Running kernels through an emitter, on memory that faults where a kernel reads or writes beyond its buffers.

use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use kiln::codegen::vector::Kernel;
use kiln::codegen::x64::{self, Width};
use kiln::codegen::{clif, x64::EmitError};

/// A way from a kernel to machine code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emitter {
    Clif,
    Wide(Width),
}

impl Emitter {
    /// The emitters whose code this machine runs.
    pub fn available() -> Vec<Emitter> {
        let wide = [Width::Avx2, Width::Avx512].into_iter().filter(|width| width.is_available());
        [Emitter::Clif].into_iter().chain(wide.map(Emitter::Wide)).collect()
    }

    pub fn lanes(self) -> usize {
        match self {
            Emitter::Clif => clif::LANES,
            Emitter::Wide(width) => width.lanes(),
        }
    }

    /// Runs a verified kernel over its grid, one buffer for each of the kernel's.
    pub fn run(self, kernel: &Kernel, buffers: &mut [Vec<f32>]) -> Result<(), EmitError> {
        let mut module = module();
        let signature = clif::signature(module.isa().default_call_conv());
        let id = module.declare_function("kernel", Linkage::Export, &signature).expect("a fresh module");
        match self {
            Emitter::Clif => {
                let mut context = module.make_context();
                context.func.signature = signature;
                let config = module.isa().frontend_config();
                let has_fma = std::arch::is_x86_feature_detected!("fma");
                clif::emit(kernel, &mut context.func, &mut FunctionBuilderContext::new(), config, has_fma);
                module.define_function(id, &mut context).expect("Cranelift takes the function");
            }
            Emitter::Wide(width) => {
                let code = x64::emit(kernel, width)?;
                module.define_function_bytes(id, x64::ALIGNMENT, &code, &[]).expect("defined once");
            }
        }
        module.finalize_definitions().expect("nothing is left to link");
        let code = module.get_finalized_function(id);
        // SAFETY: the function was emitted with this signature.
        let function: extern "C" fn(*const *mut f32, usize, usize, usize) =
            unsafe { std::mem::transmute(code) };
        let mut memory: Vec<Guarded> = buffers.iter().map(|buffer| Guarded::new(buffer)).collect();
        let table: Vec<*mut f32> = memory.iter_mut().map(|guarded| guarded.elements().as_mut_ptr()).collect();
        let [g0, g1, g2] = kernel.grid();
        for point in 0..g0 * g1 * g2 {
            function(table.as_ptr(), point / (g1 * g2), point / g2 % g1, point % g2);
        }
        for (buffer, guarded) in buffers.iter_mut().zip(&mut memory) {
            buffer.copy_from_slice(guarded.elements());
        }
        // SAFETY: the function is not called again.
        unsafe { module.free_memory() };
        Ok(())
    }
}

fn module() -> JITModule {
    let mut flags = settings::builder();
    flags.set("opt_level", "speed").expect("a known setting");
    flags.set("is_pic", "false").expect("a known setting");
    let isa = cranelift_native::builder().expect("a supported machine");
    let isa = isa.finish(settings::Flags::new(flags)).expect("consistent settings");
    JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()))
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
