//! Bars on stderr over work that takes more than a second; none where stderr is no terminal.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that shows itself once a second has gone by.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    shown: bool,
}

impl Progress {
    pub fn new(what: &'static str, steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
        bar.set_style(style.expect("the template is well-formed"));
        bar.set_message(what);
        Progress { bar, start: Instant::now(), shown: false }
    }

    /// Sets how many steps are done.
    pub fn set(&mut self, done: u64) {
        self.bar.set_position(done);
        if !self.shown && self.start.elapsed() > Duration::from_secs(1) && io::stderr().is_terminal() {
            self.shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
