//! The last request in each bucket of a histogram, so that from a slow bucket one finds a request in the log.
//!
//! Kept beside the histogram, whose crate has none; written by `openmetrics`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Most characters that the names and values of an exemplar's labels may have together; source: OpenMetrics 1.0.0,
/// "Exemplars".
const MOST: usize = 128;

/// A request that a bucket has counted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exemplar {
    request_id: Option<String>,
    trace_id: Option<String>,
    /// The observed value.
    pub(super) value: f64,
    /// The time of the observation, since 1970.
    pub(super) time: Duration,
}

impl Exemplar {
    /// The names and values of the exemplar's labels.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let ids = [(REQUEST_ID, &self.request_id), (TRACE_ID, &self.trace_id)];
        ids.into_iter()
            .filter_map(|(name, id)| Some((name, id.as_deref()?)))
    }
}

const REQUEST_ID: &str = "request_id";
const TRACE_ID: &str = "trace_id";

/// Exemplars of a histogram, by the values of its two labels.
#[derive(Debug)]
pub(super) struct Exemplars {
    bounds: Vec<f64>,
    last: Mutex<ByLabels>,
}

/// A place a bucket, one label's value below the other's: so they are found without a copy of them.
type ByLabels = HashMap<String, HashMap<String, Vec<Option<Exemplar>>>>;

impl Exemplars {
    /// No exemplars yet, of a histogram with these bounds.
    pub(super) fn new(bounds: Vec<f64>) -> Exemplars {
        Exemplars {
            bounds,
            last: Mutex::default(),
        }
    }

    /// A request was observed. Of an id that is too long nothing is told.
    pub(super) fn keep(
        &self,
        [outer, inner]: [&str; 2],
        value: f64,
        (request_id, trace_id): (&str, Option<&str>),
        time: Duration,
    ) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        let of_trace = trace_id.map_or(0, |id| TRACE_ID.len() + id.chars().count());
        let of_both = of_trace + REQUEST_ID.len() + request_id.chars().count();
        let exemplar = Exemplar {
            request_id: (of_both <= MOST).then(|| request_id.to_owned()),
            trace_id: trace_id.map(str::to_owned),
            value,
            time,
        };
        if exemplar.labels().next().is_none() {
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.get_mut(outer).and_then(|below| below.get_mut(inner));
        let buckets = match known {
            Some(buckets) => buckets,
            None => {
                let below = last.entry(outer.to_owned()).or_default();
                let buckets = below.entry(inner.to_owned());
                buckets.or_insert_with(|| vec![None; self.bounds.len() + 1])
            }
        };
        buckets[place] = Some(exemplar);
    }

    /// The exemplars for these values of the labels, a place a bucket; empty if there are none.
    pub(super) fn of(&self, [outer, inner]: [&str; 2]) -> Vec<Option<Exemplar>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.get(outer).and_then(|below| below.get(inner));
        known.cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_request_of_each_bucket_is_kept() {
        let exemplars = Exemplars::new(vec![0.5, 1.0]);
        let keep = |value, id: &str, trace| {
            exemplars.keep(["a", "b"], value, (id, trace), Duration::from_secs(1));
        };
        keep(0.5, "first", None);
        keep(0.4, "second", None);
        keep(9.0, "third", Some("t"));
        exemplars.keep(["a", "c"], 0.1, ("other", None), Duration::from_secs(1));
        let found = exemplars.of(["a", "b"]);
        let labels = |place: usize| {
            let exemplar = found[place].as_ref();
            exemplar.map(|e| e.labels().collect::<Vec<_>>())
        };
        assert_eq!(labels(0), Some(vec![(REQUEST_ID, "second")]));
        assert_eq!(labels(1), None);
        assert_eq!(
            labels(2),
            Some(vec![(REQUEST_ID, "third"), (TRACE_ID, "t")])
        );
        for unknown in [["a", "a"], ["b", "a"]] {
            assert_eq!(exemplars.of(unknown), []);
        }
    }

    #[test]
    fn labels_are_never_longer_than_allowed() {
        let exemplars = Exemplars::new(vec![]);
        let trace = "0".repeat(32);
        for (id, trace, told) in [
            (118, None, vec![REQUEST_ID]),
            (119, None, vec![]),
            (78, Some(&*trace), vec![REQUEST_ID, TRACE_ID]),
            (79, Some(&*trace), vec![TRACE_ID]),
        ] {
            let exemplars = if told.is_empty() {
                &Exemplars::new(vec![])
            } else {
                &exemplars
            };
            exemplars.keep(["", ""], 1.0, (&"x".repeat(id), trace), Duration::ZERO);
            let found = exemplars.of(["", ""]);
            let names = found.iter().flatten().flat_map(Exemplar::labels);
            let names: Vec<&str> = names.map(|(name, _)| name).collect();
            assert_eq!(names, told, "{id}");
        }
    }
}
