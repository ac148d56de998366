//! The driver's error codes, with its own names and words for them.

use std::ffi::CStr;

/// What an entry point answers, 0 for success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u32);

pub type Outcome<T = ()> = Result<T, Status>;

macro_rules! statuses {
    ($($name:ident = $code:literal $driver_name:literal $text:literal)*) => {
        impl Status {
            $(pub const $name: Status = Status($code);)*

            /// The driver's name for it, and what it says in words.
            pub fn describe(code: u32) -> Option<(&'static CStr, &'static CStr)> {
                match code {
                    $($code => Some(($driver_name, $text)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0 c"CUDA_SUCCESS" c"no error"
    INVALID_VALUE = 1 c"CUDA_ERROR_INVALID_VALUE" c"invalid argument"
    OUT_OF_MEMORY = 2 c"CUDA_ERROR_OUT_OF_MEMORY" c"out of memory"
    NOT_INITIALIZED = 3 c"CUDA_ERROR_NOT_INITIALIZED" c"initialization error"
    NO_DEVICE = 100 c"CUDA_ERROR_NO_DEVICE" c"no CUDA-capable device is detected"
    INVALID_DEVICE = 101 c"CUDA_ERROR_INVALID_DEVICE" c"invalid device ordinal"
    INVALID_CONTEXT = 201 c"CUDA_ERROR_INVALID_CONTEXT" c"invalid device context"
    INVALID_PTX = 218 c"CUDA_ERROR_INVALID_PTX" c"a PTX JIT compilation failed"
    INVALID_HANDLE = 400 c"CUDA_ERROR_INVALID_HANDLE" c"invalid resource handle"
    NOT_FOUND = 500 c"CUDA_ERROR_NOT_FOUND" c"named symbol not found"
    NOT_READY = 600 c"CUDA_ERROR_NOT_READY" c"device not ready"
    ILLEGAL_ADDRESS = 700 c"CUDA_ERROR_ILLEGAL_ADDRESS" c"an illegal memory access was encountered"
    OUT_OF_RESOURCES = 701 c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES" c"too many resources requested for launch"
    DRIVER_MISMATCH = 803 c"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" c"system has unsupported display driver / cuda driver combination"
    CAPTURE_UNSUPPORTED = 900 c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" c"operation not permitted when stream is capturing"
}
