//! Kernels into a Cranelift module, whichever kind of module that is.

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, UserFuncName};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError, Context};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{FuncId, Linkage, Module, ModuleError};

use super::clif;
use super::target::InstructionSet;
use super::vector::{self, Kernel};
use super::x64::{self, Width};

/// Why kernels could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CodegenFailure {
    #[error(transparent)]
    Invalid(#[from] vector::VerifyError),
    #[error("kernel '{kernel}': {source}")]
    Cranelift { kernel: String, source: Box<CodegenError> },
    #[error(transparent)]
    Assembler(#[from] x64::EmitError),
    #[error(transparent)]
    Module(#[from] Box<ModuleError>),
    #[error("this machine is not supported: {0}")]
    Machine(String),
}

impl CodegenFailure {
    /// The kernel at fault, where it is one kernel's.
    pub fn kernel(&self) -> Option<&str> {
        match self {
            CodegenFailure::Invalid(error) => Some(&error.kernel),
            CodegenFailure::Cranelift { kernel, .. } => Some(kernel),
            CodegenFailure::Assembler(error) => Some(error.kernel()),
            CodegenFailure::Module(_) | CodegenFailure::Machine(_) => None,
        }
    }
}

/// Machine code of one kernel, position-independent and without relocations.
pub struct MachineCode {
    pub bytes: Vec<u8>,
    pub alignment: u64,
}

/// Cranelift's description of this machine.
pub fn host_isa() -> Result<OwnedTargetIsa, CodegenFailure> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("is_pic", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        // Kernels neither call nor unwind.
        ("unwind_info", "false"),
    ] {
        flags.set(name, value).map_err(|error| CodegenFailure::Machine(error.to_string()))?;
    }
    cranelift_native::builder()
        .map_err(|error| CodegenFailure::Machine(error.to_owned()))?
        .finish(settings::Flags::new(flags))
        .map_err(|error| CodegenFailure::Machine(error.to_string()))
}

/// A kernel as a Cranelift function.
pub fn clif_function(kernel: &Kernel, isa: &OwnedTargetIsa) -> Function {
    let mut function = Function::with_name_signature(
        UserFuncName::testcase(&kernel.name),
        clif::signature(isa.default_call_conv()),
    );
    clif::emit(kernel, &mut function, &mut FunctionBuilderContext::new(), isa.frontend_config(), has_fma());
    function
}

fn has_fma() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return cfg!(target_arch = "aarch64");
}

/// Compiles one kernel for `target`.
pub fn compile(
    kernel: &Kernel,
    target: InstructionSet,
    isa: &OwnedTargetIsa,
) -> Result<MachineCode, CodegenFailure> {
    vector::verify(kernel)?;
    let width = match target {
        InstructionSet::Baseline => return compile_clif(kernel, isa),
        InstructionSet::Avx2 => Width::Avx2,
        InstructionSet::Avx512 => Width::Avx512,
    };
    Ok(MachineCode { bytes: x64::emit(kernel, width)?, alignment: x64::ALIGNMENT })
}

fn compile_clif(kernel: &Kernel, isa: &OwnedTargetIsa) -> Result<MachineCode, CodegenFailure> {
    let mut context = Context::for_function(clif_function(kernel, isa));
    let code = context.compile(&**isa, &mut ControlPlane::default()).map_err(|error| {
        CodegenFailure::Cranelift { kernel: kernel.name.clone(), source: Box::new(error.inner) }
    })?;
    assert!(code.buffer.relocs().is_empty(), "kernel '{}' refers to other symbols", kernel.name);
    Ok(MachineCode {
        bytes: code.code_buffer().to_vec(),
        alignment: u64::from(code.buffer.alignment).max(32),
    })
}

/// Compiles `kernels` on `threads` threads and defines them in `module`, in order.
pub fn define<M: Module>(
    module: &mut M,
    kernels: &[Kernel],
    target: InstructionSet,
    isa: &OwnedTargetIsa,
    threads: usize,
) -> Result<Vec<FuncId>, CodegenFailure> {
    let codes = in_parallel(kernels, threads, |kernel| compile(kernel, target, isa));
    let mut functions = Vec::with_capacity(kernels.len());
    for (kernel, code) in kernels.iter().zip(codes) {
        let code = code?;
        let signature = clif::signature(isa.default_call_conv());
        let id = module.declare_function(&kernel.name, Linkage::Local, &signature).map_err(Box::new)?;
        module.define_function_bytes(id, code.alignment, &code.bytes, &[]).map_err(Box::new)?;
        functions.push(id);
    }
    Ok(functions)
}

/// Maps `items` on up to `threads` threads, the caller's included; results in order.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], threads: usize, map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match items.get(at) {
                Some(item) => done.push((at, map(item))),
                None => return done,
            }
        }
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        // Where the system has no more threads to give, fewer do.
        let helper = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..threads.min(items.len())).map_while(helper).collect();
        let mut results = work();
        for helper in helpers {
            results.extend(helper.join().expect("compiling threads do not panic"));
        }
        results
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
