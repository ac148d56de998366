//! The program as a user meets it: what it prints, what it writes, how it exits.

mod answers;
mod bench_kernel;
mod compare;
mod files;
mod hostile;
mod hub;
mod models;
mod profile;
mod ptx;
mod support;
mod tune;
mod weights;
