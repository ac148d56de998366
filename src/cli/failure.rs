//! How a command ends badly: the message on stderr and the exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::Error;
use crate::passes::PassError;
use crate::runtime::CompileError;
use crate::runtime::cuda::CudaError;

/// Why a command stopped.
pub enum Failure {
    /// The input is at fault: exit code 1.
    Input(Error),
    /// What was asked for is no usage of the command: exit code 2.
    Usage(String),
    /// The device asked for is not there: exit code 3.
    Device(String),
    /// Everything has been said on stdout: exit code 1.
    Reported,
    /// Nobody reads stdout any more, as with `kiln show … | head`: not an error.
    Closed,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            error @ (Error::Rewrite(PassError::UnknownPass { .. })
            | Error::Compile(CompileError::Pass(PassError::UnknownPass { .. }))) => {
                Failure::Usage(error.to_string())
            }
            error @ (Error::Compile(CompileError::NotAvailable(_)) | Error::Cuda(CudaError::NoDevice(_))) => {
                Failure::Device(error.to_string())
            }
            error => Failure::Input(error),
        }
    }
}

impl Failure {
    /// An argument, an array or a combination of them is at fault.
    pub fn input(problem: impl std::fmt::Display) -> Self {
        Failure::Input(Error::input(problem))
    }

    /// Prints the message.
    pub fn report(self) -> ExitCode {
        let (message, code) = match self {
            Failure::Closed => return ExitCode::SUCCESS,
            Failure::Reported => return ExitCode::from(1),
            Failure::Input(Error::Model(diagnostics)) => {
                (diagnostics.render(colour()).trim_end().to_owned(), 1)
            }
            Failure::Input(error) => (format!("error: {error}"), 1),
            Failure::Usage(message) => (format!("error: {message}\n\nSee 'kiln help'."), 2),
            Failure::Device(message) => (format!("error: {message}"), 3),
        };
        // Where stderr is closed too there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{message}");
        ExitCode::from(code)
    }
}

/// Whether messages are coloured: on a terminal, unless <https://no-color.org> is asked for.
fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A failure to write to stdout.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::input(format!("cannot write to the standard output: {error}")),
        }
    }
}
