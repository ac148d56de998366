//! The layer language: text to [`Graph`](crate::graph::Graph).
