//! The command line: one file per command, and what they share.

mod bench;
mod bench_kernel;
mod check;
mod classify;
mod compare;
mod cuda;
mod engine;
mod failure;
mod fmt;
mod import;
mod inputs;
mod labels;
mod layers;
mod machine;
mod memory;
mod options;
mod plan;
mod plot;
mod profile;
mod progress;
mod ptx;
mod run;
mod settings;
mod show;
mod text;
mod tune;
mod weights;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Compiles convolutional networks to native code and runs them.
///
/// Exit codes: 0 done, 1 the input is at fault, 2 wrong usage, 3 the device asked for is not there.
#[derive(Parser)]
#[command(name = "kiln", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Show(show::Args),
    Run(run::Args),
    Bench(bench::Args),
    Profile(profile::Args),
    BenchKernel(bench_kernel::Args),
    Tune(tune::Args),
    Machine(machine::Args),
    Compare(compare::Args),
    Fmt(fmt::Args),
    Classify(classify::Args),
    Weights(weights::Args),
    Import(import::Args),
    Ptx(ptx::Args),
}

/// Runs the command that the process's arguments ask for.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" that belong on stdout; a closed pipe there is nobody's fault.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = cli.command.run(&mut out).and_then(|()| Ok(out.flush()?));
    // What was printed before the failure comes before its message; the failure itself is reported below.
    let _ = out.flush();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

impl Command {
    fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        match self {
            Command::Check(args) => check::run(args, out),
            Command::Show(args) => show::run(args, out),
            Command::Run(args) => run::run(args, out),
            Command::Bench(args) => bench::run(args, out),
            Command::Profile(args) => profile::run(args, out),
            Command::BenchKernel(args) => bench_kernel::run(args, out),
            Command::Tune(args) => tune::run(args, out),
            Command::Machine(args) => machine::run(args, out),
            Command::Compare(args) => compare::run(args, out),
            Command::Fmt(args) => fmt::run(args, out),
            Command::Classify(args) => classify::run(args, out),
            Command::Weights(args) => weights::run(args, out),
            Command::Import(args) => import::run(args, out),
            Command::Ptx(args) => ptx::run(args, out),
        }
    }
}
