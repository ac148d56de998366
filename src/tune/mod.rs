//! Choosing kernels by measuring them.
//!
//! The cost model's choice for each problem of a graph runs beside its other candidates, in turns and inside the whole
//! model, so that caches are in the state that they are in when it counts. A candidate must beat the model's choice when
//! it is found, again when all that were found run together, and again when what then remains does.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use file::{TuningFile, TuningFileError};

use crate::Error;
use crate::graph::Graph;
use crate::lower::{self, Choice, Tuning};
use crate::runtime::{self, CompileOptions, Executable};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// A candidate must take less than this share of the time that the model's choice takes.
const GAIN: f64 = 0.97;

/// The most candidates of a problem.
const CANDIDATES: usize = 12;

/// The fewest runs of each side that are compared.
const FEWEST_RUNS: usize = 3;

/// Candidates must give the same answer to within this share of its largest value.
const TOLERANCE: f64 = 1e-4;

/// What tuning a model did.
#[derive(Clone, Debug)]
pub struct Report {
    /// For each distinct problem, in the order of the model's layers.
    pub problems: Vec<Problem>,
    /// Median seconds of a whole run, untuned and tuned, measured in turns at the end.
    pub before: f64,
    pub after: f64,
}

/// A problem and what was found.
#[derive(Clone, Debug)]
pub struct Problem {
    pub name: String,
    /// How many launches of a run solve it.
    pub launches: usize,
    /// How many other ways were measured.
    pub candidates: usize,
    pub old: Choice,
    /// The choice that is faster, if one is.
    pub new: Option<Choice>,
    /// Median seconds of all its launches in a run; `after` is measured with all new choices together.
    pub before: f64,
    pub after: f64,
}

impl Report {
    /// The choices that are worth remembering.
    pub fn choices(&self) -> impl Iterator<Item = (&str, Choice)> {
        self.problems.iter().filter_map(|problem| Some((problem.name.as_str(), problem.new?)))
    }
}

/// A problem while it is tuned.
struct Site {
    problem: Problem,
    candidates: Vec<Choice>,
    /// The layers of each launch that solves it: these stay the same whatever the kernels.
    layers: BTreeSet<Vec<String>>,
    /// The fastest candidate so far, and its share of the old choice's time.
    best: Option<(Choice, f64)>,
}

/// Measures a graph for about `time` (more where compiling takes longer), beginning with the cost model's choices.
/// `progress` is told how much is done, from 0 to 1.
///
/// # Errors
/// Where the model cannot be compiled or run.
pub fn tune(
    graph: &Graph,
    weights: &Weights,
    inputs: &[Tensor],
    options: &CompileOptions,
    time: Duration,
    mut progress: impl FnMut(f64),
) -> Result<Report, Error> {
    let compile = |tuning: Tuning| -> Result<Executable, Error> {
        let options = CompileOptions { tuning: Arc::new(tuning), ..options.clone() };
        let mut executable = runtime::compile(graph, &options)?.bind(weights)?;
        executable.settle();
        Ok(executable)
    };
    let mut base = compile(Tuning::default())?;
    let mut sites = sites(&base, options);
    let answer = base.run(inputs)?;
    let rounds = sites.iter().map(|site| site.candidates.len()).max().unwrap_or(0);
    let slice = time / (rounds as u32 + 3);
    for round in 0..rounds {
        progress(round as f64 / (rounds + 3) as f64);
        let nth = |site: &Site| Some((site.problem.name.clone(), *site.candidates.get(round)?));
        let mut other = compile(Tuning(sites.iter().filter_map(nth).collect()))?;
        if !agrees(&other.run(inputs)?, &answer) {
            continue;
        }
        let measured = compare(&mut base, &mut other, inputs, slice)?;
        for site in &mut sites {
            let Some(&candidate) = site.candidates.get(round) else { continue };
            let ratio = measured.of(&site.layers).ratio();
            if ratio < site.best.map_or(GAIN, |(_, best)| best) {
                site.best = Some((candidate, ratio));
            }
        }
    }
    // All that were found together; what then is no faster was luck.
    progress(rounds as f64 / (rounds + 3) as f64);
    let mut tuned = compile(found(&sites))?;
    let measured = compare(&mut base, &mut tuned, inputs, slice)?;
    for site in &mut sites {
        if measured.of(&site.layers).ratio() >= 1.0 {
            site.best = None;
        }
    }
    progress((rounds + 1) as f64 / (rounds + 3) as f64);
    let mut tuned = compile(found(&sites))?;
    let measured = compare(&mut base, &mut tuned, inputs, 2 * slice)?;
    let problems = sites.into_iter().map(|site| {
        let Seconds { before, after } = measured.of(&site.layers);
        let new = site.best.filter(|_| after < before).map(|(choice, _)| choice);
        Problem { new, before, after, ..site.problem }
    });
    let problems = problems.collect();
    Ok(Report { problems, before: median(&measured.whole[0]), after: median(&measured.whole[1]) })
}

fn found(sites: &[Site]) -> Tuning {
    let best = |site: &Site| Some((site.problem.name.clone(), site.best?.0));
    Tuning(sites.iter().filter_map(best).collect())
}

/// The distinct problems of a plan.
fn sites(executable: &Executable, options: &CompileOptions) -> Vec<Site> {
    let plan = executable.compiled().plan();
    let mut sites: Vec<Site> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for step in &plan.steps {
        let spec = &plan.kernels[step.kernel];
        let (Some(name), Some(old)) = (lower::problem(spec), lower::choice(spec)) else { continue };
        let site = *known.entry(name.clone()).or_insert_with(|| {
            let mut candidates = lower::candidates(spec, options.lowering(plan.target));
            candidates.truncate(CANDIDATES);
            let problem = Problem {
                name,
                launches: 0,
                candidates: candidates.len(),
                old,
                new: None,
                before: 0.0,
                after: 0.0,
            };
            sites.push(Site { problem, candidates, layers: BTreeSet::new(), best: None });
            sites.len() - 1
        });
        sites[site].problem.launches += 1;
        sites[site].layers.insert(step.layers.clone());
    }
    sites
}

fn agrees(answer: &[Tensor], expected: &[Tensor]) -> bool {
    answer.iter().zip(expected).all(|(a, b)| a.relative_error(b) <= TOLERANCE)
}

/// Runs of two executables of a model in turns.
struct Measured {
    /// For each of the two, the seconds of each launch of each run, with its layers.
    steps: [Vec<(Vec<String>, Vec<f64>)>; 2],
    /// For each of the two, the seconds of each run.
    whole: [Vec<f64>; 2],
}

struct Seconds {
    before: f64,
    after: f64,
}

impl Seconds {
    fn ratio(&self) -> f64 {
        self.after / self.before
    }
}

/// Runs both in turns for about `time`.
fn compare(
    base: &mut Executable,
    other: &mut Executable,
    inputs: &[Tensor],
    time: Duration,
) -> Result<Measured, Error> {
    let layers = |executable: &Executable| -> Vec<(Vec<String>, Vec<f64>)> {
        executable.steps().iter().map(|step| (step.layers.clone(), Vec::new())).collect()
    };
    let mut measured = Measured { steps: [layers(base), layers(other)], whole: [Vec::new(), Vec::new()] };
    let start = Instant::now();
    while measured.whole[0].len() < FEWEST_RUNS || start.elapsed() < time {
        for (side, executable) in [&mut *base, &mut *other].into_iter().enumerate() {
            let seconds = executable.run_timed(inputs)?.1;
            measured.whole[side].push(seconds.iter().sum());
            for ((_, runs), seconds) in measured.steps[side].iter_mut().zip(seconds) {
                runs.push(seconds);
            }
        }
    }
    Ok(measured)
}

impl Measured {
    /// The median seconds of the launches of these layers, of both.
    fn of(&self, layers: &BTreeSet<Vec<String>>) -> Seconds {
        let [before, after] = [0, 1].map(|side| {
            let runs = self.whole[side].len();
            let ours = || self.steps[side].iter().filter(|(of, _)| layers.contains(of));
            let sums: Vec<f64> = (0..runs).map(|run| ours().map(|(_, runs)| runs[run]).sum()).collect();
            median(&sums)
        });
        Seconds { before, after }
    }
}

/// The middle value, the lower of two.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}
