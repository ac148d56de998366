//! The corpus of convolutions that every backend is held to.

use super::{all_options, disagreements, report, some_options, tolerance};
use crate::common::problem::Problem;
use kiln::weights::random_inputs;

/// Multiply-adds beyond which a convolution is cut.
const LARGE: usize = 600_000;

fn corpus() -> Vec<Problem> {
    let lines = include_str!("../../corpus/convolutions.txt").lines();
    let problems = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    problems.map(|line| Problem::parse(line).expect("the corpus is well-formed")).collect()
}

fn multiply_adds(problem: &Problem) -> usize {
    let [n, c, h, w] = problem.x;
    n * h * w / (problem.stride[0] * problem.stride[1]) * problem.outputs * c / problem.groups
        * problem.kernel[0]
        * problem.kernel[1]
}

/// The same layer on a smaller image and, where that does not suffice, of fewer channels.
fn cut(problem: Problem) -> Problem {
    let mut small = problem;
    while multiply_adds(&small) > LARGE
        && small.x[2].max(small.x[3]) > 2 * small.kernel[0].max(small.kernel[1])
    {
        for (extent, kernel) in small.x[2..].iter_mut().zip(small.kernel) {
            *extent = extent.div_ceil(2).max(kernel.min(*extent));
        }
    }
    let can_halve =
        |channels: usize| channels / problem.groups > 128 && channels.is_multiple_of(2 * problem.groups);
    while multiply_adds(&small) > LARGE && (can_halve(small.x[1]) || can_halve(small.outputs)) {
        for channels in [&mut small.x[1], &mut small.outputs] {
            *channels /= 1 + usize::from(can_halve(*channels));
        }
    }
    small
}

#[test]
fn convolutions_of_the_corpus() {
    let mut problems = Vec::new();
    let mut seen = Vec::new();
    for problem in corpus() {
        let is_small = multiply_adds(&problem) <= LARGE / 8;
        let problem = cut(problem);
        if seen.contains(&problem) {
            continue;
        }
        seen.push(problem);
        let options = if is_small { all_options() } else { some_options() };
        let graph = problem.graph();
        let found = disagreements(&graph, &random_inputs(&graph, 2), &options, tolerance);
        problems.extend(found.into_iter().map(|found| format!("{problem}: {found}")));
    }
    report(&problems);
}
