//! What several integration tests share.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod models;
pub mod problem;
pub mod random_graph;
pub mod targets;
