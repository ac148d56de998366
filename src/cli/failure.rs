//! How a command ends badly: the message on stderr and the exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::Error;

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
        Failure::Input(error.into())
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
            Failure::Input(Error::Model(diagnostics)) => (diagnostics.render(io::stderr().is_terminal()), 1),
            Failure::Input(error) => (format!("error: {error}\n"), 1),
            Failure::Usage(message) => (format!("error: {message}\n\nSee 'kiln help'.\n"), 2),
            Failure::Device(message) => (format!("error: {message}\n"), 3),
        };
        // Where stderr is closed too there is nobody left to tell.
        let _ = io::stderr().write_all(message.as_bytes());
        ExitCode::from(code)
    }
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
