//! How far a command is with its files: a bar on standard error, if that is a terminal.
//!
//! Used by the commands that classify files.

use std::fmt::Write;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::output::complain;

/// A bar, or nothing; clones are the same bar.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of so many files on a terminal; nothing elsewhere, and then nobody counts.
    pub(crate) fn start(files: impl FnOnce() -> u64) -> Progress {
        if !io::stderr().is_terminal() {
            return Progress::none();
        }
        let style =
            ProgressStyle::with_template("classifying [{bar:30}] {pos}/{len}, {rate}, {eta} left")
                .expect("the template is right; it is the same in every run")
                .with_key("rate", write_rate)
                .progress_chars("=> ");
        Progress {
            bar: ProgressBar::new(files()).with_style(style),
        }
    }

    /// A progress without a bar.
    pub(crate) fn none() -> Progress {
        Progress {
            bar: ProgressBar::hidden(),
        }
    }

    /// Counts one more file that is done with.
    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }

    /// Writes a line to standard error, above the bar.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| complain(line));
    }

    /// Takes the bar off the screen.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn write_rate(state: &ProgressState, text: &mut dyn Write) {
    // Writing into a string does not fail.
    let _ = write!(text, "{:.1}/s", state.per_sec());
}
