//! `--backend cuda` as a process whose NVIDIA driver is the simulated one of `tests/cuda/driver/`: what kiln asks of a
//! driver, in which order, and what it does when it is refused. No GPU takes part.
//!
//! `cargo test` builds the driver, an example of the package, when it runs all tests. Before
//! `cargo test --release --test cuda` alone, `cargo build --release --example cuda` does.

mod answers;
mod failures;
mod python_host;
mod support;
