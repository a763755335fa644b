//! How load arrives: as fast as answers come, or at a rate that nothing slows down.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::http::{Answer, Client, Failure, Request};
use crate::stats::quantile;

/// What became of one request.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// When it was due, in seconds after the start.
    pub(crate) due: f64,
    /// When its answer was complete, in seconds after the start.
    pub(crate) done: f64,
    /// The answer's status; 0 if there was none.
    pub(crate) status: u16,
    /// The problem's code, or why there was no answer.
    pub(crate) code: String,
}

impl Outcome {
    /// From the moment it was due to the end of its answer, in milliseconds.
    pub(crate) fn latency_ms(&self) -> f64 {
        (self.done - self.due) * 1e3
    }

    fn new(start: Instant, due: f64, result: Result<Answer, Failure>) -> Outcome {
        let (status, code) = match result {
            Ok(answer) => (answer.status, answer.code().to_owned()),
            Err(e) => (0, e.to_string()),
        };
        Outcome {
            due,
            done: start.elapsed().as_secs_f64(),
            status,
            code,
        }
    }
}

/// This many connections, each of which sends its next request when it has the answer, for this long.
pub(crate) async fn closed_loop(
    client: &Client,
    connections: usize,
    length: Duration,
    request: impl Fn(u64) -> Request + Send + Sync + 'static,
) -> Vec<Outcome> {
    let start = Instant::now();
    let request = Arc::new(request);
    let mut tasks = JoinSet::new();
    for i in 0..connections {
        let (client, request) = (client.clone(), Arc::clone(&request));
        tasks.spawn(async move {
            let mut outcomes = Vec::new();
            let mut n = i as u64;
            while start.elapsed() < length {
                let due = start.elapsed().as_secs_f64();
                let result = client.send(&request(n)).await;
                outcomes.push(Outcome::new(start, due, result));
                n += connections as u64;
            }
            outcomes
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// Requests at a constant rate for this long, whatever becomes of them; returns when all have ended.
///
/// A request is due at its place in the schedule, and its latency counts from there: a client that falls behind, or
/// waits for a connection, makes the figures worse and never better. With `patience` a client leaves after it.
pub(crate) async fn open_loop(
    client: &Client,
    rate: f64,
    length: Duration,
    patience: impl Fn(u64) -> Option<Duration>,
    request: impl Fn(u64) -> Request,
) -> Vec<Outcome> {
    let start = Instant::now();
    let (tell, mut told) = mpsc::unbounded_channel();
    let arrivals = (rate * length.as_secs_f64()) as u64;
    for n in 0..arrivals {
        let due = n as f64 / rate;
        let at = start + Duration::from_secs_f64(due);
        if at > Instant::now() {
            sleep_until(at).await;
        }
        let (client, request, tell) = (client.clone(), request(n), tell.clone());
        let patience = patience(n);
        tokio::spawn(async move {
            let result = match patience {
                None => client.send(&request).await,
                Some(limit) => match timeout(limit, client.send(&request)).await {
                    Ok(result) => result,
                    Err(_) => Err(Failure::Cut("left".into())),
                },
            };
            let _ = tell.send(Outcome::new(start, due, result)); // the receiver outlives the load
        });
    }
    drop(tell);
    let mut outcomes = Vec::with_capacity(arrivals as usize);
    while let Some(outcome) = told.recv().await {
        outcomes.push(outcome);
    }
    outcomes
}

/// What a load came to.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    /// Requests due per second.
    pub(crate) offered: f64,
    /// Answers of 200 per second.
    pub(crate) goodput: f64,
    /// Latency of those, median and 99th percentile, in milliseconds.
    pub(crate) good_ms: [f64; 2],
    /// Latency of refusals (503, 504 and 429), median and 99th percentile, in milliseconds.
    pub(crate) refused_ms: [f64; 2],
    /// Number of refusals.
    pub(crate) refused: usize,
    /// Number of requests without an answer, and of answers that are neither.
    pub(crate) failed: usize,
    /// Status, code and number of everything but 200.
    pub(crate) others: Vec<(String, usize)>,
}

impl Summary {
    /// Of the outcomes between these moments, in seconds after the start: answers count when they are complete, all
    /// else when it was due.
    pub(crate) fn of(outcomes: &[Outcome], from: f64, to: f64) -> Summary {
        let window = |t: f64| (from..to).contains(&t);
        let is_refusal = |o: &&Outcome| matches!(o.status, 503 | 504 | 429);
        let due: Vec<&Outcome> = outcomes.iter().filter(|o| window(o.due)).collect();
        let good = outcomes
            .iter()
            .filter(|o| o.status == 200 && window(o.done))
            .count();
        let latency = |list: Vec<f64>| [quantile(&list, 0.5), quantile(&list, 0.99)];
        let ms = |keep: &dyn Fn(&&Outcome) -> bool| {
            let kept = due.iter().copied().filter(|o| keep(o));
            latency(kept.map(Outcome::latency_ms).collect())
        };
        let refused = due.iter().copied().filter(is_refusal).count();
        let answered = due.iter().filter(|o| o.status == 200).count();
        let mut others: Vec<(String, usize)> = Vec::new();
        for outcome in due.iter().filter(|o| o.status != 200) {
            let name = match outcome.status {
                0 => outcome.code.clone(),
                status => format!("{status} {}", outcome.code),
            };
            match others.iter_mut().find(|(n, _)| *n == name) {
                Some((_, count)) => *count += 1,
                None => others.push((name, 1)),
            }
        }
        others.sort_by_key(|o| std::cmp::Reverse(o.1));
        Summary {
            offered: due.len() as f64 / (to - from),
            goodput: good as f64 / (to - from),
            good_ms: ms(&|o| o.status == 200),
            refused_ms: ms(&is_refusal),
            refused,
            failed: due.len() - refused - answered,
            others,
        }
    }

    /// What else there was besides 200, in words.
    pub(crate) fn others(&self) -> String {
        let words = self.others.iter().map(|(name, n)| format!("{n} × {name}"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// For `--json`.
    pub(crate) fn json(&self) -> Value {
        serde_json::json!({"offered": self.offered, "goodput": self.goodput, "good_p50_ms": self.good_ms[0],
            "good_p99_ms": self.good_ms[1], "refused": self.refused, "refused_p50_ms": self.refused_ms[0],
            "refused_p99_ms": self.refused_ms[1], "failed": self.failed})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(due: f64, done: f64, status: u16) -> Outcome {
        Outcome {
            due,
            done,
            status,
            code: String::new(),
        }
    }

    #[test]
    fn latency_counts_from_the_schedule_and_goodput_from_the_answer() {
        let outcomes = [
            outcome(0.0, 0.5, 200),
            outcome(1.0, 2.5, 200),
            outcome(1.5, 1.51, 503),
            outcome(1.6, 9.0, 0),
        ];
        let s = Summary::of(&outcomes, 1.0, 2.0);
        assert_eq!((s.offered, s.goodput), (3.0, 0.0));
        assert_eq!((s.refused, s.failed), (1, 1));
        assert!((s.good_ms[1] - 1500.0).abs() < 1e-6 && (s.refused_ms[0] - 10.0).abs() < 1e-6);
    }
}
