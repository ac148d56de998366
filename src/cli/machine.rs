//! `kiln machine`

use std::io::Write;

use super::failure::Failure;
use super::options::{IsaArg, threads};
use super::text::{bytes, count, table};
use crate::machine::{Machine, remeasure};

/// Shows what this machine can do at most, as measured by kiln's own kernels
///
/// The figures are measured once for each instruction set and number of threads and kept in a file beside the user's
/// caches ($XDG_CACHE_HOME/kiln or ~/.cache/kiln); 'kiln profile' and 'kiln bench-kernel' compare with them.
#[derive(clap::Args)]
pub struct Args {
    /// The vector instructions to use
    #[arg(long, value_enum, default_value_t = IsaArg::Auto)]
    isa: IsaArg,
    /// How many threads compute [default: one, and one for each of the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Measure again, for instance where the machine was busy before
    #[arg(long)]
    remeasure: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let isa = args.isa.isa().resolve()?;
    let mut counts = match args.threads {
        Some(threads) => vec![usize::from(threads)],
        None => vec![1, threads(None)],
    };
    counts.dedup();
    let get = if args.remeasure { remeasure } else { Machine::get };
    let machines = counts.into_iter().map(|threads| get(isa, threads)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        writeln!(out, "{:#}", serde_json::json!(machines))?;
        return Ok(());
    }
    let cpu = machines.first().map_or("", |machine| &machine.cpu);
    writeln!(out, "{cpu}, {isa}\n")?;
    let rows = machines.iter().flat_map(|machine| {
        let threads = count(machine.threads, "thread");
        let peak = [
            threads.clone(),
            "multiply-adds".to_owned(),
            String::new(),
            format!("{:.1} GFLOP/s", machine.peak_gflops),
        ];
        let levels = machine.levels.iter().map(move |level| {
            let size = level.bytes.map(bytes).unwrap_or_default();
            [threads.clone(), format!("reading {}", level.name), size, format!("{:.1} GB/s", level.gb_per_s)]
        });
        std::iter::once(peak).chain(levels)
    });
    write!(out, "{}", table(["", "", ">size", ">at most"], rows))?;
    Ok(())
}
