//! The program as a user meets it: what it prints, what it writes, how it exits.

mod answers;
mod compare;
mod files;
mod hostile;
mod hub;
mod models;
mod profile;
mod ptx;
mod support;
mod weights;
