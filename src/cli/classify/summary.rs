//! What became of the files, in a few lines at the end.
//!
//! Printed by `classify` after folders, and after answers that went into a file.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::files::Skipped;

/// Failures that are told one by one.
const LISTED: usize = 10;

/// What became of the files of a run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    classified: usize,
    failed: usize,
    /// The first of the failures.
    failures: Vec<String>,
    /// Failures that the output had before.
    failed_before: usize,
}

impl Summary {
    /// A run that goes on with an output that has so many failures.
    pub(super) fn after(failed_before: usize) -> Summary {
        Summary {
            failed_before,
            ..Summary::default()
        }
    }

    /// Counts an answer.
    pub(super) fn count(&mut self) {
        self.classified += 1;
    }

    /// Counts a file without an answer.
    pub(super) fn count_failure(&mut self, file: &str, error: &str) {
        self.failed += 1;
        if self.failures.len() < LISTED {
            self.failures.push(format!("{file}: {error}"));
        }
    }

    /// Whether a file has no answer, in this run or before.
    pub(super) fn has_failures(&self) -> bool {
        self.failed + self.failed_before > 0
    }

    /// Lines for people: the counts, and the first failures.
    pub(super) fn lines(&self, skipped: &Skipped) -> Vec<String> {
        let mut counts = format!("{} classified, {} failed", self.classified, self.failed);
        let done = skipped.done.load(Ordering::Relaxed);
        if done > 0 {
            // Writing into a string does not fail.
            let _ = write!(counts, ", {done} done before");
            if self.failed_before > 0 {
                let _ = write!(counts, " ({} failed)", self.failed_before);
            }
        }
        let passed_over = [
            (&skipped.no_images, ["no image", "no images"]),
            (&skipped.hidden, ["hidden", "hidden"]),
            (&skipped.loops, ["link back", "links back"]),
        ];
        let passed_over = passed_over.map(|(count, what)| (count.load(Ordering::Relaxed), what));
        let of_kind = passed_over.iter().filter(|(count, _)| *count > 0);
        let words = |(n, [one, more]): &(usize, [&str; 2])| {
            format!("{n} {}", if *n == 1 { one } else { more })
        };
        let kinds: Vec<String> = of_kind.map(words).collect();
        if !kinds.is_empty() {
            let all: usize = passed_over.iter().map(|(count, _)| count).sum();
            let _ = write!(counts, ", {all} skipped ({})", kinds.join(", "));
        }
        let mut lines = vec![counts];
        lines.extend(self.failures.iter().map(|failure| format!("  {failure}")));
        if self.failed > LISTED {
            lines.push(format!("  … and {} more failed", self.failed - LISTED));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_everything_and_list_the_first_failures() {
        let nothing = Summary::default().lines(&Skipped::default());
        assert_eq!(nothing, ["0 classified, 0 failed"]);
        let mut summary = Summary::after(2);
        summary.count();
        for i in 0..12 {
            summary.count_failure(&format!("{i}.jpg"), "is damaged");
        }
        let skipped = Skipped {
            hidden: 1.into(),
            no_images: 3.into(),
            loops: 0.into(),
            done: 5.into(),
        };
        let lines = summary.lines(&skipped);
        assert_eq!(
            lines[0],
            "1 classified, 12 failed, 5 done before (2 failed), 4 skipped (3 no images, 1 hidden)"
        );
        assert_eq!(lines[1], "  0.jpg: is damaged");
        assert_eq!((lines.len(), &*lines[11]), (12, "  … and 2 more failed"));
    }
}
