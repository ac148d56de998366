//! `kiln bench-kernel 'NAME'`

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::failure::Failure;
use super::options::{IsaArg, threads};
use super::profile::{gb_per_s, gflops};
use super::text::{bytes, count, time};
use crate::kernels::{Family, KernelSpec};
use crate::machine::Machine;
use crate::trial::Trial;

/// Runs one kernel by itself, named as 'kiln profile' and 'kiln show --stage plan' print it
///
/// The kernel runs on random data, its weights packed, and is held against the reference interpreter on the same data;
/// then it is timed. Matrix products of two activations, reductions over axes and samplings cannot be run so: their
/// names do not say all of them.
#[derive(clap::Args)]
pub struct Args {
    /// The kernel's problem string
    #[arg(value_name = "NAME")]
    name: String,
    /// The vector instructions to use
    #[arg(long, value_enum, default_value_t = IsaArg::Auto)]
    isa: IsaArg,
    /// How many threads compute [default: one for each of the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = super::bench::parse_seconds)]
    seconds: Duration,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// The largest relative difference from the interpreter that counts as the same.
const TOLERANCE: f64 = 1e-4;

pub fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let isa = args.isa.isa().resolve()?;
    let threads = threads(args.threads);
    let spec = KernelSpec::parse(&args.name).map_err(Failure::input)?;
    let mut trial = Trial::new(&spec, isa, threads)?;
    let error = trial.error()?;
    let machine = Machine::get(isa, threads)?;
    let (seconds, runs) = trial.time(args.seconds);
    let (activations, weights) = trial.bytes();
    let rate = gflops(spec.multiply_adds(), seconds);
    let moved = gb_per_s(activations + weights, seconds);
    let peak_share = rate / machine.peak_gflops;
    if args.json {
        let report = json!({
            "kernel": spec.name(),
            "algorithm": spec.algorithm(),
            "tile": spec.tile(),
            "isa": isa,
            "threads": threads,
            "runs": runs,
            "ms": seconds * 1e3,
            "multiply_adds": spec.multiply_adds(),
            "essential_multiply_adds": spec.essential_multiply_adds(),
            "gflops": rate,
            "peak_gflops": machine.peak_gflops,
            "peak_share": peak_share,
            "activation_bytes": activations,
            "weight_bytes": weights,
            "gb_per_s": moved,
            // JSON has no infinity.
            "error": error.is_finite().then_some(error),
        });
        writeln!(out, "{report:#}")?;
    } else {
        writeln!(out, "{}\n{isa}, {}, median of {runs} runs\n", spec.name(), count(threads, "thread"))?;
        writeln!(out, "time     {}", time(seconds))?;
        if spec.multiply_adds() > 0 {
            let peak = machine.peak_gflops;
            writeln!(out, "GFLOP/s  {rate:.1}, {:.0} % of the {peak:.1} measured here", 100.0 * peak_share)?;
        }
        let (activations, weights) = (bytes(activations), bytes(weights));
        writeln!(out, "GB/s     {moved:.1}, {activations} of activations and {weights} of weights")?;
        writeln!(out, "error    {error:.1e} of the largest value, against the interpreter")?;
    }
    if error > TOLERANCE {
        return Err(Failure::input(format!(
            "the kernel's answer differs from the interpreter's by {error:.1e}, more than {TOLERANCE:.0e} of the \
             largest value"
        )));
    }
    Ok(())
}
