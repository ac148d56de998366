//! Kernel families as written, run by the loop language's own interpreter, against the operators' reference
//! evaluation.

#[path = "kernels/elementwise.rs"]
mod elementwise;
#[path = "kernels/harness.rs"]
mod harness;
#[path = "kernels/math.rs"]
mod math;
#[path = "kernels/normalise.rs"]
mod normalise;
#[path = "kernels/pool.rs"]
mod pool;
