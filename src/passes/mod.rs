//! Rewrites of the graph. **A pass is one file**; the driver applies what passes propose.
//!
//! A pass looks at one node at a time and answers with the next small [`Patch`](patch::Patch), with a reason why
//! a candidate stays as it is, or that the node is no candidate. It never touches the graph: the driver applies
//! the patch, verifies the graph, names the pass in every error, counts rewrites, and writes the
//! [`Explanation`].
//!
//! Weights are nodes whose values are not known here. Where a rewrite changes weights, as folding a batch norm
//! does, it builds *weight expressions* out of graph operators; they are evaluated once, when weights are bound.

mod batch_norm_to_scale_shift;
mod context;
mod dead_code;
mod driver;
mod drop_identity;
mod epilogue;
mod explanation;
mod fold_batch_norm;
mod fold_bias;
mod fold_constants;
mod fold_padding;
mod fold_scale;
mod fuse_activation;
mod fuse_depthwise_pointwise;
mod fuse_residual;
mod fuse_scale_shift;
mod normalisation;
mod patch;

pub use driver::{PassError, run};
pub use explanation::{Decision, Explanation, Verdict};

use context::{Answer, Context};

use crate::graph::NodeId;

/// Which passes run, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether fusions run; clean-ups always do.
    pub fuse: bool,
    /// Names of passes that do not run.
    pub disabled: Vec<String>,
    /// Stop after this many rewrites, to find the one that changes a result.
    pub stop_after: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Options { fuse: true, disabled: Vec::new(), stop_after: None }
    }
}

/// A kind of rewrite.
struct Pass {
    name: &'static str,
    /// What it does, in a line for `--help`.
    description: &'static str,
    level: Level,
    /// The patch for which this node is the last of those rewritten, if there is one.
    visit: fn(&Context, NodeId) -> Answer,
}

/// When a pass runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Always: every kernel that remains is one that the model asks for.
    CleanUp,
    /// Unless fusion is off.
    Fusion,
}

/// The passes, in groups that are repeated until none of the group has a patch left.
const PIPELINE: &[&[&Pass]] = &[
    &[
        &drop_identity::PASS,
        &fold_constants::PASS,
        &fold_padding::PASS,
        &fold_bias::PASS,
        &fold_scale::PASS,
        &fold_batch_norm::PASS,
        &batch_norm_to_scale_shift::PASS,
        &dead_code::PASS,
    ],
    &[&fuse_activation::PASS, &fuse_scale_shift::PASS, &fuse_residual::PASS],
    &[&fuse_depthwise_pointwise::PASS],
];

/// Every pass: its name, and what it does.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    PIPELINE.iter().copied().flatten().map(|pass| (pass.name, pass.description))
}
