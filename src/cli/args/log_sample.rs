//! Which lines of requests are logged where there are too many: `--log-sample`.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::http::ACCESS_TARGET;

/// The share of the requests without a problem whose lines are logged, 0 to 1. Which they are is decided by their ids, so
/// that servers behind one another keep the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LogSample(f64);

impl LogSample {
    /// The sample that has all lines.
    pub(crate) const ALL: LogSample = LogSample(1.0);

    fn has(self, request_id: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        request_id.hash(&mut hasher);
        let place = hasher.finish() as f64 / u64::MAX as f64;
        place < self.0 || self == LogSample::ALL
    }
}

impl FromStr for LogSample {
    type Err = String;

    fn from_str(text: &str) -> Result<LogSample, String> {
        let share = text
            .parse()
            .ok()
            .filter(|share| (0.0..=1.0).contains(share));
        let share = share.ok_or_else(|| format!("`{text}` is no share, allowed are 0 to 1"))?;
        Ok(LogSample(share))
    }
}

impl<S: Subscriber> Layer<S> for LogSample {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() != ACCESS_TARGET || *metadata.level() != Level::INFO {
            return true;
        }
        let mut line = Line::default();
        event.record(&mut line);
        line.has_problem || self.has(&line.request_id)
    }
}

/// The fields of a request's line that decide whether the sample has it.
#[derive(Default)]
struct Line {
    request_id: String,
    has_problem: bool,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "request_id" {
            value.clone_into(&mut self.request_id);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.has_problem |= match field.name() {
            "status" => value >= 400,
            "failed" => value > 0,
            _ => false,
        };
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_the_ids_is_kept_and_always_the_same() {
        let of = |text: &str| text.parse::<LogSample>();
        let kept = |share: &str| {
            let sample = of(share).expect("a share");
            let ids = (0..10_000).map(|i| format!("{i:x}"));
            ids.filter(|id| sample.has(id)).collect::<Vec<_>>()
        };
        assert_eq!((kept("0").len(), kept("1").len()), (0, 10_000));
        let tenth = kept("0.1");
        assert!((900..1100).contains(&tenth.len()), "{}", tenth.len());
        let half = kept("0.5");
        assert!(tenth.iter().all(|id| half.contains(id)));
        for wrong in ["-0.1", "1.1", "NaN", "", "10%", "inf"] {
            let error = of(wrong).expect_err(wrong);
            assert_eq!(error, format!("`{wrong}` is no share, allowed are 0 to 1"));
        }
    }
}
