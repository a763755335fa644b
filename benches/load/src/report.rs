//! What a scenario found: tables for people, one line for programs, bounds that were kept or broken.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::http::Client;
use crate::process;
use crate::server::Server;

/// File descriptors that may be open afterwards besides those of before: a probe's connection, a clock.
const SPARE_FDS: u64 = 4;

/// Findings, collected while a scenario runs.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: String,
    quiet: bool,
    values: Map<String, Value>,
    bounds: Vec<Bound>,
}

#[derive(Debug)]
struct Bound {
    what: String,
    found: String,
    kept: bool,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(args: &Args) -> Report {
        Report {
            scenario: args.scenario.clone(),
            quiet: args.json,
            values: Map::new(),
            bounds: Vec::new(),
        }
    }

    /// Notes a value for `--json`.
    pub(crate) fn value(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.into(), value.into());
    }

    /// Prints a line, unless it is to be JSON.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            println!("{line}");
        }
    }

    /// Prints a table and notes its rows.
    pub(crate) fn table(&mut self, name: &str, columns: &[&str], rows: &[Vec<String>]) {
        let width = |i: usize| {
            let cells = rows.iter().map(|r| r[i].chars().count());
            cells.chain([columns[i].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.zip(&widths).enumerate();
            // Names and numbers, and at the end of the line, where it may be long, a remark.
            let pad = |(i, (cell, width)): (usize, (&str, &usize))| match i {
                0 => format!("{cell:<width$}"),
                _ if i + 1 == columns.len() => cell.to_owned(),
                _ => format!("{cell:>width$}"),
            };
            cells.map(pad).collect::<Vec<_>>().join("  ")
        };
        self.say(&line(&mut columns.iter().copied()));
        for row in rows {
            self.say(&line(&mut row.iter().map(String::as_str)));
        }
        let object = |row: &Vec<String>| {
            let pairs = columns.iter().zip(row);
            Value::Object(
                pairs
                    .map(|(c, v)| ((*c).to_owned(), json!(v.trim())))
                    .collect(),
            )
        };
        self.value(name, rows.iter().map(object).collect::<Vec<_>>());
    }

    /// Notes whether a bound was kept.
    pub(crate) fn bound(&mut self, what: impl Into<String>, found: impl Into<String>, kept: bool) {
        self.bounds.push(Bound {
            what: what.into(),
            found: found.into(),
            kept,
        });
    }

    /// Closes these clients' connections, looks after the server and notes it: what holds after every scenario.
    pub(crate) async fn after(&mut self, server: &Server, clients: &[&Client]) {
        clients.iter().for_each(|c| c.close());
        server.settle().await;
        let mut health = server.health().await;
        // Sockets are closed by the server when it reads that they are.
        for _ in 0..50 {
            if health.sample.fds <= server.base.fds + SPARE_FDS {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            health.sample = process::sample(server.pid);
        }
        let (base, now) = (server.base, health.sample);
        let words = |ok: bool| if ok { "yes" } else { "no" };
        self.bound("/livez is 200 afterwards", words(health.live), health.live);
        self.bound(
            "a golden photo gets the same answer",
            words(health.golden),
            health.golden,
        );
        self.say(&format!(
            "server before and after: RSS {} and {} MiB (peak {}), fds {} and {}, threads {} and {}",
            base.rss_kib >> 10,
            now.rss_kib >> 10,
            now.peak_kib >> 10,
            base.fds,
            now.fds,
            base.threads,
            now.threads
        ));
        self.value(
            "server",
            json!({"rss_before_kib": base.rss_kib, "rss_after_kib": now.rss_kib, "rss_peak_kib": now.peak_kib,
                "fds_before": base.fds, "fds_after": now.fds, "threads_before": base.threads, "threads_after": now.threads}),
        );
        self.bound(
            format!("at most {SPARE_FDS} more file descriptors than before"),
            format!("{} and {}", base.fds, now.fds),
            now.fds <= base.fds + SPARE_FDS,
        );
        let errors = server.complaints("ERROR");
        let first = errors.first().cloned().unwrap_or_default();
        self.bound(
            "no error in the log",
            format!("{} {first}", errors.len()),
            errors.is_empty(),
        );
    }

    /// Prints the bounds; whether all were kept.
    pub(crate) fn finish(mut self) -> bool {
        for bound in &self.bounds {
            let word = if bound.kept { "kept  " } else { "BROKEN" };
            self.say(&format!("{word}  {}: {}", bound.what, bound.found));
        }
        let kept = self.bounds.iter().all(|b| b.kept);
        let bounds = self
            .bounds
            .iter()
            .map(|b| json!({"bound": b.what, "found": b.found, "kept": b.kept}));
        let bounds: Vec<Value> = bounds.collect();
        self.value("bounds", bounds);
        self.value("kept", kept);
        self.value("scenario", self.scenario.clone());
        if self.quiet {
            println!("{}", Value::Object(self.values));
        }
        kept
    }
}
