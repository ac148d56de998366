//! kiln compiles convolutional model graphs into native kernels.
//!
//! ```
//! use kiln::weights::{random, random_input};
//! use kiln::{Model, Options};
//!
//! # fn main() -> Result<(), kiln::Error> {
//! let model = Model::parse(
//!     "model tiny(classes = 10) {
//!        input image: f32[1, 3, 32, 32]
//!        x = image -> conv(16, 3, padding = 1, bias = false) -> batch_norm -> relu -> global_avg_pool
//!        output scores = x -> flatten -> dense(classes)
//!      }",
//! )?
//! .define("classes", 5);
//! let graph = model.graph()?;
//! let weights = random(&graph, 0); // or kiln::weights::WeightFile::open("tiny.safetensors")?
//! let mut executable = model.compile(weights, &Options::default())?;
//! let scores = executable.run(&[random_input("image", &[1, 3, 32, 32].into(), 0)])?;
//! assert_eq!(scores[0].shape().dims(), [1, 5]);
//! # Ok(())
//! # }
//! ```

pub mod cli;
pub mod codegen;
pub mod compare;
pub mod dsl;
mod error;
pub mod graph;
pub mod import;
pub mod interpreter;
pub mod io;
mod json_float;
pub mod kernels;
pub mod lower;
pub mod machine;
mod model;
pub mod ops;
mod parallel;
pub mod passes;
pub mod runtime;
mod spelling;
pub mod tensor;
pub mod trial;
pub mod tune;
pub mod weights;

pub use error::Error;
pub use model::{Elaborated, Model};
pub use runtime::{CompileOptions as Options, Executable};
pub use tensor::Tensor;
pub use weights::Weights;
