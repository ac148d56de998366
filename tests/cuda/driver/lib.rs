//! A stand-in for the NVIDIA driver's library, so that what kiln asks of it can be tested where there is no GPU.
//!
//! Built as `libcuda.so`, it has the entry points that kiln looks up. Device memory is the emulator's
//! (`tests/ptx/emulator`), which also runs the kernels: nothing here is faster than a GPU, or has ever been compared
//! with one. It holds its caller to the driver's contract as the documents have it, and is stricter where a driver
//! would let a mistake pass: every broken rule is a *violation* in the report that it writes when the process ends.
//!
//! | variable | |
//! |---|---|
//! | `KILN_DRIVER_REPORT` | the file that the report is written to (`report.rs`) |
//! | `KILN_DRIVER_FAULT` | what fails, see [`faults::Faults`] |
//! | `KILN_DRIVER_CAPABILITY` | the device's compute capability, `80` by default |
//! | `KILN_DRIVER_POOLS` | `0`: a device without memory pools, so that memory is reserved in no stream |

// Only a part of what the emulator offers to its own tests is used here.
#[allow(dead_code, unused_imports)]
#[path = "../../ptx/emulator/mod.rs"]
mod emulator;
mod entries;
mod faults;
mod pointers;
mod report;
mod state;
mod status;
mod work;
