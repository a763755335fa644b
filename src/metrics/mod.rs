//! Every instrument behind `/metrics`, in one struct; its help text says what it counts.
//!
//! Made once by `cli`, handed down to whoever observes. Labels are bounded: routes are patterns, models are served
//! names.

mod exemplars;
mod openmetrics;
#[cfg(target_os = "linux")]
mod process;
mod series;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, exponential_buckets,
};

use self::exemplars::Exemplars;

/// A way to write the instruments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// The text exposition format 0.0.4 of Prometheus.
    Prometheus,
    /// OpenMetrics 1.0.0, with exemplars.
    OpenMetrics,
}

impl TextFormat {
    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            TextFormat::Prometheus => prometheus::TEXT_FORMAT,
            TextFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All instruments of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    scraping: Mutex<()>,
    /// Requests answered, by route, model and status.
    pub requests: IntCounterVec,
    request_duration: HistogramVec,
    request_exemplars: Exemplars,
    /// Time spent in one stage: read, decode, preprocess, queue, infer, respond.
    pub stage_duration: HistogramVec,
    /// Images in a batch.
    pub batch_size: HistogramVec,
    /// Images that have been accepted and are not running, by the stage that they wait for.
    pub queue_depth: IntGaugeVec,
    /// Connections that are open.
    pub connections: IntGauge,
    /// Requests being handled.
    pub requests_in_flight: IntGauge,
    /// Connections that may be open.
    pub connections_max: IntGauge,
    /// Images that may wait or be decoded.
    pub queue_max: IntGauge,
    /// Images that a batch may have.
    pub batch_size_max: IntGauge,
    /// Bytes of bodies that are held.
    pub body_memory: IntGauge,
    /// Bytes of bodies that may be held.
    pub body_memory_max: IntGauge,
    /// Bytes that decoders may hold.
    pub decode_memory_max: IntGauge,
    /// Seconds that engine threads have computed.
    pub worker_busy: prometheus::Counter,
    /// Images that got a problem in place of classes, by its code.
    pub image_problems: IntCounterVec,
    /// Requests refused, by reason.
    pub requests_rejected: IntCounterVec,
    /// Images dropped because their client had gone, by the stage they had reached.
    pub requests_canceled: IntCounterVec,
    /// Images dropped because their deadline had passed, by the stage they had reached.
    pub requests_expired: IntCounterVec,
    /// Engine threads that died and were replaced.
    pub worker_restarts: IntCounter,
    /// Estimated wait for a worker, of the client that has most waiting, by model.
    pub estimated_wait: prometheus::GaugeVec,
    /// Decoders that panicked over an image, by its format.
    pub decode_panics: IntCounterVec,
    /// Bytes that decoders hold.
    pub decode_memory: IntGauge,
    /// Encoded size of an image.
    pub image_bytes: HistogramVec,
    /// Width × height of an image.
    pub image_pixels: HistogramVec,
    /// Probability of an image's first class.
    pub top1_probability: HistogramVec,
    /// Probability of an image's first class, less that of its second.
    pub top1_margin: HistogramVec,
    /// Entropy of an image's probabilities, in bits.
    pub prediction_entropy: HistogramVec,
    /// Images of the last hour by the class that came first, by model, class index and label.
    pub recent_predictions: IntGaugeVec,
    /// One per served model, with its digest and how it is computed.
    pub model_info: IntGaugeVec,
    /// Layers of a served model, by how they are computed.
    pub model_layers: IntGaugeVec,
    /// Time a model took from file to plan.
    pub model_load_duration: prometheus::GaugeVec,
    /// The running build.
    pub build_info: IntGaugeVec,
    /// Threads of a pool.
    pub threads: IntGaugeVec,
}

/// Seconds: 0.5 ms to 16 s in powers of two.
fn seconds() -> Vec<f64> {
    exponential_buckets(0.0005, 2.0, 16).expect("a positive start, factor and count")
}

/// Shares, 0.05 to 1; finer near 1.
fn shares() -> Vec<f64> {
    vec![
        0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0,
    ]
}

const REQUEST_DURATION: &str = "resnet_request_duration_seconds";

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// Makes and registers the instruments.
    #[must_use]
    pub fn new() -> Metrics {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(process::Process::new()))
            .expect("each metric name is registered once");
        let made = Maker(&registry);
        let metrics = Metrics {
            requests: made.counter(
                "resnet_requests_total",
                "Requests answered, by route pattern, model and HTTP status.",
                &["route", "model", "status"],
            ),
            request_duration: made.histogram(
                REQUEST_DURATION,
                "Time from the request's head to its answer, by what that was: classes or another answer, a refusal, or an error.",
                &["route", "outcome"],
                seconds(),
            ),
            request_exemplars: Exemplars::new(seconds()),
            stage_duration: made.histogram(
                "resnet_stage_duration_seconds",
                "Time spent in one stage of a request for a model: read, decode, preprocess, queue, infer, respond.",
                &["stage", "model"],
                exponential_buckets(0.00005, 2.0, 18).expect("a positive start, factor and count"),
            ),
            batch_size: made.histogram(
                "resnet_batch_size",
                "Images in a batch.",
                &["model"],
                vec![1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0],
            ),
            queue_depth: made.gauge(
                "resnet_queue_depth",
                "Images that have been accepted and are not running, by the stage that they wait for: decode, infer.",
                &["model", "stage"],
            ),
            connections: made.plain_gauge(
                "resnet_connections",
                "Connections that are open, of --max-connections.",
            ),
            connections_max: made.plain_gauge("resnet_connections_max", "Connections that may be open: --max-connections."),
            queue_max: made.plain_gauge(
                "resnet_queue_max",
                "Images that may be on their way to a worker: --queue-capacity.",
            ),
            batch_size_max: made.plain_gauge("resnet_batch_size_max", "Images that a batch may have: --max-batch-size."),
            body_memory: made.plain_gauge("resnet_body_memory_bytes", "Memory that the bodies of requests, and answers beside the classes, hold."),
            body_memory_max: made.plain_gauge(
                "resnet_body_memory_max_bytes",
                "Memory that the bodies of requests may hold: --body-memory.",
            ),
            decode_memory_max: made.plain_gauge(
                "resnet_decode_memory_max_bytes",
                "Memory that decoders may hold: --decode-memory.",
            ),
            worker_busy: made.register(
                prometheus::Counter::new(
                    "resnet_worker_busy_seconds_total",
                    "Time that engine threads have spent on batches, all together.",
                )
                .expect("a valid metric name"),
            ),
            image_problems: made.counter(
                "resnet_image_problems_total",
                "Images that got a problem in place of classes, alone or in a list, by its code.",
                &["code"],
            ),
            requests_in_flight: made.plain_gauge("resnet_requests_in_flight", "Requests being handled."),
            requests_rejected: made.counter(
                "resnet_requests_rejected_total",
                "Requests refused, by the stable code of the refusal and the model, if one was found.",
                &["reason", "model"],
            ),
            requests_canceled: made.counter(
                "resnet_requests_canceled_total",
                "Images dropped because their client had gone, by the stage they had reached.",
                &["stage"],
            ),
            requests_expired: made.counter(
                "resnet_requests_expired_total",
                "Images dropped because their deadline had passed, by the stage they had reached.",
                &["stage"],
            ),
            worker_restarts: made.register(
                IntCounter::new("resnet_worker_restarts_total", "Engine threads that died and were replaced.")
                    .expect("a valid metric name"),
            ),
            estimated_wait: made.register(
                prometheus::GaugeVec::new(
                    Opts::new(
                        "resnet_estimated_wait_seconds",
                        "Estimated wait for a worker of one more image, of the client that has most waiting: what it is told if it is refused.",
                    ),
                    &["model"],
                )
                .expect("a valid metric name"),
            ),
            decode_panics: made.counter(
                "resnet_decode_panics_total",
                "Images over which their decoder panicked, by format; each was refused as damaged.",
                &["format"],
            ),
            decode_memory: made.plain_gauge(
                "resnet_decode_memory_bytes",
                "Memory that decoders hold, of --decode-memory.",
            ),
            image_bytes: made.histogram(
                "resnet_image_bytes",
                "Encoded size of an image, by format.",
                &["format"],
                exponential_buckets(1024.0, 4.0, 9).expect("a positive start, factor and count"),
            ),
            image_pixels: made.histogram(
                "resnet_image_pixels",
                "Width times height of an image, by format.",
                &["format"],
                exponential_buckets(1024.0, 4.0, 9).expect("a positive start, factor and count"),
            ),
            top1_probability: made.histogram(
                "resnet_top1_probability",
                "Probability of an image's first class.",
                &["model"],
                shares(),
            ),
            top1_margin: made.histogram(
                "resnet_top1_margin",
                "Probability of an image's first class less that of its second.",
                &["model"],
                shares(),
            ),
            prediction_entropy: made.histogram(
                "resnet_prediction_entropy",
                "Entropy of an image's probabilities, in bits: 0 if the network is sure, log2 of the classes if it has no idea.",
                &["model"],
                vec![0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0],
            ),
            recent_predictions: made.gauge(
                "resnet_recent_predictions",
                "Images of the last hour by their first class: the 20 classes that were most frequent, and all others as the class \"other\".",
                &["model", "class_index", "class"],
            ),
            model_info: made.gauge(
                "resnet_model_info",
                "Always 1; a served model, the SHA-256 of its file, what runs it, its precision and the instructions.",
                &["model", "sha256", "runtime", "precision", "instructions"],
            ),
            model_layers: made.gauge(
                "resnet_model_layers",
                "Convolutions and fully connected layers of a served model, by the precision that they are computed in, or tract.",
                &["model", "precision"],
            ),
            model_load_duration: made.register(
                prometheus::GaugeVec::new(
                    Opts::new("resnet_model_load_duration_seconds", "Time a model took from file to plan."),
                    &["model"],
                )
                .expect("a valid metric name"),
            ),
            build_info: made.gauge("resnet_build_info", "Always 1; the running build.", &["version", "commit"]),
            threads: made.gauge("resnet_threads", "Threads of a pool.", &["pool"]),
            registry: registry.clone(),
            scraping: Mutex::default(),
        };
        metrics.begin_at_zero();
        metrics
    }

    /// A request was answered so long after its head came; `ids` are its own and its trace's.
    pub fn observe_request(
        &self,
        (route, outcome): (&str, &str),
        time: Duration,
        ids: (&str, Option<&str>),
    ) {
        let seconds = time.as_secs_f64();
        let histogram = self.request_duration.with_label_values(&[route, outcome]);
        histogram.observe(seconds);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        // In the order of the labels' names, as a histogram tells them.
        self.request_exemplars
            .keep([outcome, route], seconds, ids, now);
    }

    /// Every instrument as text, once `refresh` has set those that are read when they are asked for. One at a time: what
    /// another scrape is about to set anew would be missing.
    #[must_use]
    pub fn scrape(&self, format: TextFormat, refresh: impl FnOnce(&Metrics)) -> Vec<u8> {
        let _one = self.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        refresh(self);
        let families = self.registry.gather();
        match format {
            TextFormat::OpenMetrics => {
                let exemplars = (REQUEST_DURATION, &self.request_exemplars);
                openmetrics::encode(&families, exemplars).into_bytes()
            }
            TextFormat::Prometheus => {
                let mut text = Vec::with_capacity(16 << 10);
                TextEncoder::new()
                    .encode(&families, &mut text)
                    .expect("registered families have names and help, and a Vec takes every byte");
                text
            }
        }
    }
}

/// The number of a line of `/proc/self/status`, as `VmRSS:`; none where there is no such file or line.
fn status_field(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Resident memory of this process, in bytes; unknown where there is no `/proc`.
#[must_use]
pub fn resident_memory() -> Option<u64> {
    Some(status_field("VmRSS:")? << 10)
}

/// Makes instruments and registers them.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn register<C: prometheus::core::Collector + Clone + 'static>(&self, collector: C) -> C {
        self.0
            .register(Box::new(collector.clone()))
            .expect("each metric name is registered once");
        collector
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(
            IntCounterVec::new(Opts::new(name, help), labels).expect("a valid metric name"),
        )
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels).expect("a valid metric name"))
    }

    fn plain_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect("a valid metric name"))
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(buckets);
        self.register(HistogramVec::new(opts, labels).expect("a valid metric name"))
    }
}
