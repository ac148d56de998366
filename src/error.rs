//! What can go wrong between a file and an answer.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::codegen::module::CodegenFailure;
use crate::dsl::Diagnostics;
use crate::interpreter::EvaluateError;
use crate::lower::LowerError;
use crate::passes::PassError;
use crate::runtime::cuda::CudaError;
use crate::runtime::{CompileError, RunError};
use crate::weights::Mismatch;

/// Any failure of the library. [`Display`](fmt::Display) gives the whole message, the culprit named.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot read '{}': {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write '{}': {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// A file was read, but does not hold what it should.
    #[error("'{}': {problem}", path.display())]
    File { path: PathBuf, problem: String },
    /// The model's text is at fault.
    #[error(transparent)]
    Model(#[from] Diagnostics),
    /// The weights are not those of the model.
    #[error(transparent)]
    Weights(#[from] Mismatch),
    #[error(transparent)]
    Rewrite(#[from] PassError),
    #[error(transparent)]
    Lower(#[from] LowerError),
    #[error(transparent)]
    Codegen(#[from] CodegenFailure),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Cuda(#[from] CudaError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// An argument, an array or a combination of them is at fault.
    #[error("{0}")]
    Input(String),
}

impl Error {
    /// A file was read, but does not hold what it should.
    pub fn file(path: &Path, problem: impl fmt::Display) -> Self {
        Error::File { path: path.to_owned(), problem: problem.to_string() }
    }

    /// An argument, an array or a combination of them is at fault.
    pub fn input(problem: impl fmt::Display) -> Self {
        Error::Input(problem.to_string())
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Error::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Error::Write { path: path.to_owned(), source }
    }
}
