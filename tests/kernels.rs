//! Kernel families, interpreted as written and compiled, against the operators' reference evaluation.

#[path = "kernels/crossed.rs"]
mod crossed;
#[path = "kernels/elementwise.rs"]
mod elementwise;
#[path = "emitters/harness.rs"]
mod emitters;
#[path = "kernels/harness.rs"]
mod harness;
#[path = "kernels/math.rs"]
mod math;
#[path = "kernels/normalise.rs"]
mod normalise;
#[path = "kernels/polyphase.rs"]
mod polyphase;
#[path = "kernels/pool.rs"]
mod pool;
#[path = "kernels/winograd.rs"]
mod winograd;
