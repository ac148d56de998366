//! Networks in other formats.

pub mod onnx;
