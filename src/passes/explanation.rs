//! What was rewritten, what was not, and why.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

/// Every candidate that a pass looked at.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct Explanation {
    /// Rewrites in the order in which they were applied; each refusal where it was first given.
    pub decisions: Vec<Decision>,
}

/// One candidate for a rewrite.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Decision {
    pub pass: &'static str,
    /// The layers of the source that it is about, in dataflow order.
    pub layers: Vec<String>,
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
        for Decision { pass, layers, verdict } in &self.decisions {
            let layers = layers.join(" + ");
            match verdict {
                Verdict::Taken => {
                    number += 1;
                    writeln!(f, "{number:>number_width$}  {pass:<name_width$}  taken    {layers}")?;
                }
                Verdict::Refused(reason) => {
                    writeln!(f, "{:>number_width$}  {pass:<name_width$}  refused  {layers}: {reason}", "")?;
                }
            }
        }
        writeln!(f, "rewrites: {} taken, {} refused", self.taken(), self.refused())
    }
}

/// Collects decisions while passes are repeated: of a pass's refusals of the same candidate the latest stands, and
/// none where the pass takes it in the end.
#[derive(Default)]
pub struct Recorder {
    decisions: Vec<Option<Decision>>,
    refusals: HashMap<(&'static str, String), usize>,
}

impl Recorder {
    /// Notes what `pass` decided about `layers`, of which there is at least one.
    pub fn record(&mut self, pass: &'static str, layers: Vec<String>, verdict: Verdict) {
        let candidate = layers.last().expect("a decision is about some layer").clone();
        let key = (pass, candidate);
        let next = self.decisions.len();
        let place = match &verdict {
            Verdict::Refused(_) => *self.refusals.entry(key).or_insert(next),
            Verdict::Taken => {
                if let Some(refusal) = self.refusals.remove(&key) {
                    self.decisions[refusal] = None;
                }
                next
            }
        };
        if place == next {
            self.decisions.push(None);
        }
        self.decisions[place] = Some(Decision { pass, layers, verdict });
    }

    pub fn finish(self) -> Explanation {
        Explanation { decisions: self.decisions.into_iter().flatten().collect() }
    }
}
