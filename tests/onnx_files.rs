//! ONNX files: as users meet them, and damaged or hostile ones.

#[path = "onnx/build.rs"]
mod build;
#[path = "onnx/hostile.rs"]
mod hostile;
#[path = "onnx/import.rs"]
mod import;
