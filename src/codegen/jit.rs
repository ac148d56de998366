//! Kernels as callable code in this process.

use cranelift_jit::{JITBuilder, JITModule};

use super::module::{self, CodegenFailure};
use super::target::InstructionSet;
use super::vector::Kernel;

/// Executes a kernel at one grid point: the table holds a pointer for each of the kernel's buffers.
pub type KernelFunction = unsafe extern "C" fn(*const *mut f32, usize, usize, usize);

/// Compiled kernels; the code lives as long as this does.
pub struct JitKernels {
    /// Some until dropped.
    module: Option<JITModule>,
    functions: Vec<KernelFunction>,
}

impl JitKernels {
    /// Compiles `kernels` on `threads` threads.
    pub fn compile(
        kernels: &[Kernel],
        target: InstructionSet,
        threads: usize,
    ) -> Result<Self, CodegenFailure> {
        let isa = module::host_isa()?;
        let builder = JITBuilder::with_isa(isa.clone(), cranelift_module::default_libcall_names());
        let mut jit = JITModule::new(builder);
        let ids = module::define(&mut jit, kernels, target, &isa, threads)?;
        jit.finalize_definitions().map_err(Box::new)?;
        let functions = ids.iter().map(|&id| {
            // SAFETY: the function was defined with `clif::signature`, which is `KernelFunction`'s.
            unsafe { std::mem::transmute::<*const u8, KernelFunction>(jit.get_finalized_function(id)) }
        });
        let functions = functions.collect();
        Ok(JitKernels { module: Some(jit), functions })
    }

    /// The kernel at position `index` of those compiled.
    pub fn function(&self, index: usize) -> KernelFunction {
        self.functions[index]
    }
}

impl Drop for JitKernels {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: `functions` is private and callers hold `self` while they call.
            unsafe { module.free_memory() };
        }
    }
}
