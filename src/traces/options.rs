//! What is exported: where to, who is recorded, and how much may wait.
//!
//! Filled in by `variables`, followed by `export` and `collector`.

use std::path::PathBuf;
use std::time::Duration;

/// Where spans go, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// The collector's URL for traces.
    pub endpoint: String,
    /// Headers of each request to it; their values may be secret.
    pub headers: Vec<(String, String)>,
    /// How long the collector may take to answer.
    pub timeout: Duration,
    /// PEM file of the only authorities that may have signed the collector's certificate.
    pub certificate: Option<PathBuf>,
    /// `service.name`.
    pub service_name: String,
    /// Other attributes of this process, as `deployment.environment.name`.
    pub attributes: Vec<(String, String)>,
    /// Which requests are recorded.
    pub sampler: Sampler,
    /// How many spans may wait, and how long.
    pub queue: SpanQueue,
}

/// Which requests are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Whether a caller that has a trace decides.
    pub is_parent_based: bool,
    /// The share that is recorded of all other requests, 0 to 1.
    pub ratio: f64,
}

/// How spans wait for the exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanQueue {
    /// Most spans that wait; more are dropped.
    pub capacity: usize,
    /// Most spans in one request to the collector.
    pub max_batch_size: usize,
    /// How long spans may wait for others.
    pub delay: Duration,
}
