//! What made a value wrong: the reference, a rewrite, or a kernel.

use serde::Serialize;

use crate::Error;
use crate::passes::{Explanation, Verdict};

/// Who is to blame for a difference; the interpreter is the judge.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The interpreter agrees with the compiled code, so the reference was made from something else.
    Reference,
    /// The graph means something else after this rewrite.
    Rewrite(Rewrite),
    /// The rewritten graph is right when it is interpreted, and its kernel is not.
    Kernel,
}

/// A rewrite that was applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rewrite {
    /// As [`stop_after`](crate::runtime::CompileOptions::stop_after) counts.
    pub number: usize,
    pub pass: &'static str,
    /// In dataflow order.
    pub layers: Vec<String>,
}

/// The rewrites that merged `layers`, or changed some of them, in the order in which they were applied.
pub fn rewrites_of(layers: &[String], explanation: &Explanation) -> Vec<Rewrite> {
    let taken = explanation.decisions.iter().filter(|decision| decision.verdict == Verdict::Taken);
    let numbered = taken.enumerate().map(|(place, decision)| Rewrite {
        number: place + 1,
        pass: decision.pass,
        layers: decision.layers.clone(),
    });
    numbered.filter(|rewrite| rewrite.layers.iter().any(|layer| layers.contains(layer))).collect()
}

/// The first of `rewrites` after which the graph `is_wrong`, or else the kernel.
///
/// `is_wrong` interprets the graph after that many rewrites; a wrong value is taken to stay wrong.
pub fn rewrite_or_kernel(
    rewrites: &[Rewrite],
    is_wrong: impl Fn(usize) -> Result<bool, Error>,
) -> Result<Cause, Error> {
    let Some(last) = rewrites.last() else { return Ok(Cause::Kernel) };
    if !is_wrong(last.number)? {
        return Ok(Cause::Kernel);
    }
    let (mut right, mut wrong) = (0, rewrites.len() - 1);
    while right < wrong {
        let middle = (right + wrong) / 2;
        if is_wrong(rewrites[middle].number)? { wrong = middle } else { right = middle + 1 }
    }
    Ok(Cause::Rewrite(rewrites[wrong].clone()))
}
