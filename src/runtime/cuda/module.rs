//! PTX loaded into the driver.

use std::ffi::{CString, c_uint, c_void};
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUjit_option};
use cudarc::driver::{CudaContext, result};

use super::{CudaError, doing};

/// A loaded module and its kernels.
pub struct Module {
    handle: sys::CUmodule,
    /// In the order they were asked for.
    pub kernels: Vec<sys::CUfunction>,
    context: Arc<CudaContext>,
}

/// Bytes of the compiler's messages that are kept.
const LOG_BYTES: usize = 16 << 10;

impl Module {
    /// Compiles PTX for the device, and finds the kernels of these names.
    ///
    /// # Errors
    /// What the driver's compiler says; kernels that are not there.
    pub fn load(context: &Arc<CudaContext>, ptx: &str, names: &[String]) -> Result<Self, CudaError> {
        context.bind_to_thread().map_err(doing("be used"))?;
        let text = CString::new(ptx).expect("PTX holds no zero byte");
        let mut log = vec![0u8; LOG_BYTES];
        let mut options =
            [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        // The driver takes numbers in the place of pointers.
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), ptr::without_provenance_mut(LOG_BYTES)];
        let mut handle = ptr::null_mut();
        // SAFETY: the context is current; `text` ends with a zero byte; the options and their values are as many as
        // announced, and the buffer that they name outlives the call and has the size given.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &mut handle,
                text.as_ptr().cast(),
                options.len() as c_uint,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        loaded.result().map_err(|error| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(LOG_BYTES);
            CudaError::Module { log: String::from_utf8_lossy(&log[..end]).trim_end().to_owned(), error }
        })?;
        let mut module = Module { handle, kernels: Vec::new(), context: Arc::clone(context) };
        for name in names {
            let name = CString::new(name.as_str()).expect("names hold no zero byte");
            let what = format!("find the kernel {name:?}");
            // SAFETY: the module was just loaded and is unloaded only when dropped.
            let kernel = unsafe { result::module::get_function(handle, name) }.map_err(doing(what))?;
            module.kernels.push(kernel);
        }
        Ok(module)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // This also tells of failures that others had before, such as the graph's, when a kernel failed; the module is
        // to go all the same.
        let _ = self.context.bind_to_thread();
        // SAFETY: the handle is that of a loaded module, unloaded once; launches of its kernels were waited for by
        // every run. A failure here has nobody left to be told.
        let _ = unsafe { result::module::unload(self.handle) };
    }
}
