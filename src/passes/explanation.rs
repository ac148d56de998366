//! What was rewritten, what was not, and why.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

/// Every candidate that a pass looked at.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct Explanation {
    /// Rewrites in the order in which they were applied; each refusal where it was last given.
    pub decisions: Vec<Decision>,
}

/// One candidate for a rewrite.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Decision {
    pub pass: &'static str,
    /// The nodes' names before the rewrite, in dataflow order.
    pub nodes: Vec<String>,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What became of a candidate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "snake_case")]
pub enum Verdict {
    Taken,
    /// Left as it is, for this reason.
    Refused(String),
}

impl Explanation {
    /// How many rewrites were applied.
    pub fn taken(&self) -> usize {
        self.decisions.iter().filter(|decision| decision.verdict == Verdict::Taken).count()
    }

    /// How many candidates were left as they were.
    pub fn refused(&self) -> usize {
        self.decisions.len() - self.taken()
    }
}

/// One aligned line for each candidate; rewrites are numbered as [`Options::stop_after`](super::Options) counts.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_width = self.decisions.iter().map(|decision| decision.pass.len()).max().unwrap_or(0);
        let number_width = self.taken().to_string().len();
        let mut number = 0;
        for Decision { pass, nodes, verdict } in &self.decisions {
            let nodes = nodes.join(" + ");
            match verdict {
                Verdict::Taken => {
                    number += 1;
                    writeln!(f, "{number:>number_width$}  {pass:<name_width$}  taken    {nodes}")?;
                }
                Verdict::Refused(reason) => {
                    writeln!(f, "{:>number_width$}  {pass:<name_width$}  refused  {nodes}: {reason}", "")?;
                }
            }
        }
        write!(f, "{} rewrites taken, {} refused", self.taken(), self.refused())
    }
}

/// Collects decisions while passes are repeated: a candidate's latest refusal by a pass stands, unless the pass
/// takes it in the end.
#[derive(Default)]
pub struct Recorder {
    decisions: Vec<Option<Decision>>,
    refusals: HashMap<(&'static str, String), usize>,
}

impl Recorder {
    /// Notes what `pass` decided about `nodes`, of which there is at least one.
    pub fn record(&mut self, pass: &'static str, nodes: Vec<String>, verdict: Verdict) {
        let candidate = nodes.last().expect("a decision is about some node").clone();
        let key = (pass, candidate);
        let place = self.decisions.len();
        let earlier = match &verdict {
            Verdict::Taken => self.refusals.remove(&key),
            Verdict::Refused(_) => self.refusals.insert(key, place),
        };
        if let Some(earlier) = earlier {
            self.decisions[earlier] = None;
        }
        self.decisions.push(Some(Decision { pass, nodes, verdict }));
    }

    pub fn finish(self) -> Explanation {
        Explanation { decisions: self.decisions.into_iter().flatten().collect() }
    }
}
