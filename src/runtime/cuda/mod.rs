//! Running a model on an NVIDIA GPU through the driver, which is loaded at run time: nothing of CUDA is needed to build
//! kiln, or to run it elsewhere.

mod executable;
mod module;

use std::ffi::CStr;
use std::sync::Arc;

use cudarc::driver::sys::CUdevice_attribute;
use cudarc::driver::{CudaContext, DriverError, sys};

pub use executable::CudaExecutable;

use crate::codegen::ptx::Target;
use crate::runtime::{CompileError, RunError};

/// Why a model does not run on a GPU.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// There is nothing to run on.
    #[error("{0}")]
    NoDevice(String),
    #[error("the GPU could not {what}: {}", reason(*.error))]
    Driver { what: String, error: DriverError },
    /// The driver's compiler does not take the PTX; its messages.
    #[error("the driver cannot compile the kernels: {}\n{log}", reason(*.error))]
    Module { log: String, error: DriverError },
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Says what was being done when the driver failed.
fn doing(what: impl Into<String>) -> impl FnOnce(DriverError) -> CudaError {
    let what = what.into();
    |error| CudaError::Driver { what, error }
}

/// The driver's words for an error, and its name to look it up by.
fn reason(error: DriverError) -> String {
    let text = |text: Result<&CStr, DriverError>| text.ok().map(|text| text.to_string_lossy().into_owned());
    match (text(error.error_string()), text(error.error_name())) {
        (Some(words), Some(name)) => format!("{words} ({name})"),
        _ => format!("error {} of the driver", error.0 as u32),
    }
}

/// A GPU.
#[derive(Clone)]
pub struct Device {
    context: Arc<CudaContext>,
    target: Target,
    name: String,
    multiprocessors: u32,
    l2_bytes: usize,
}

impl Device {
    /// The first GPU that the driver lists.
    ///
    /// # Errors
    /// Where there is no driver, no GPU, or only one that is too old.
    pub fn open() -> Result<Self, CudaError> {
        // SAFETY: only asks whether the driver's library can be loaded; loading it runs NVIDIA's initialisers alone.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoDevice("there is no NVIDIA driver on this machine".to_owned()));
        }
        let none = |error| CudaError::NoDevice(format!("no NVIDIA GPU can be used: {}", reason(error)));
        if CudaContext::device_count().map_err(none)? == 0 {
            return Err(CudaError::NoDevice("the NVIDIA driver lists no GPU".to_owned()));
        }
        let context = CudaContext::new(0).map_err(none)?;
        // SAFETY: everything runs in one stream, in whose order the driver keeps accesses, so no events are needed to
        // order them; and events that are recorded outside would end up in a captured graph.
        unsafe { context.disable_event_tracking() };
        let (major, minor) = context.compute_capability().map_err(none)?;
        let name = context.name().map_err(none)?;
        let target = u32::try_from(major).ok().zip(u32::try_from(minor).ok());
        let target = target.and_then(|(major, minor)| Target::for_device(major, minor)).ok_or_else(|| {
            CudaError::NoDevice(format!("{name} has compute capability {major}.{minor}; kiln needs 7.0"))
        })?;
        let count = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        let multiprocessors = count.map_err(none)?.unsigned_abs();
        let l2_bytes = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
        let l2_bytes = l2_bytes.map_err(none)?.unsigned_abs() as usize;
        Ok(Device { context, target, name, multiprocessors, l2_bytes })
    }

    /// As the driver names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest target that it runs.
    pub fn target(&self) -> Target {
        self.target
    }

    pub fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    /// Bytes of the cache that all multiprocessors share.
    pub fn l2_bytes(&self) -> usize {
        self.l2_bytes
    }
}
