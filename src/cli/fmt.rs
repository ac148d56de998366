//! `kiln fmt FILE…`

use std::io::Write;
use std::path::PathBuf;

use super::failure::Failure;
use crate::dsl::{self, Source};
use crate::io::{AtomicFile, read_text};

/// Formats model files, keeping every comment
#[derive(clap::Args)]
pub struct Args {
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; name the files that are not formatted and exit with 1
    #[arg(long)]
    check: bool,
    /// Print the formatted text and leave the files as they are
    #[arg(long, conflicts_with = "check")]
    stdout: bool,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let mut formatted = Vec::new();
    for path in &args.files {
        let text = read_text(path)?;
        let source = Source { name: path.display().to_string(), text };
        formatted.push((path, dsl::format(&source)?, source.text));
    }
    // Only now, with no mistake in any of them, are files written.
    let mut unformatted = false;
    for (path, new, old) in formatted {
        if args.stdout {
            write!(out, "{new}")?;
        } else if new != old {
            unformatted = true;
            writeln!(out, "{} {}", if args.check { "not formatted:" } else { "formatted" }, path.display())?;
            if !args.check {
                AtomicFile::write_all_to(path, new.as_bytes())?;
            }
        }
    }
    if args.check && unformatted { Err(Failure::Reported) } else { Ok(()) }
}
