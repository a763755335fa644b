//! The line of the log that each request gets, under a target of its own so that a filter can leave it out.
//!
//! Begun by `observe` with the request's head, told by `passage` and `grpc` what the request was about, and written when
//! the answer is ready or the client has left. `docs/LOG.md` has the fields.

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};

use super::client::ClientAddress;
use super::error::{ApiError, Problem};
use super::received::ReceivedBytes;
use super::span::RpcStatus;
use crate::classifier::{Began, Classification, Timings};
use crate::desk::{Answered, InferRequest, cut};
use crate::traces::TraceContext;

/// The target of the lines, by which a filter names them.
pub(crate) const TARGET: &str = "resnet::access";

/// What a request for a model was about, in the extensions of its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    /// The model that was found.
    pub(crate) model: String,
    /// Images in the body; none until they are found.
    pub(super) images: Option<usize>,
    /// Images of the body that got a problem in place of classes.
    pub(super) failed: Option<usize>,
    pub(super) read: Option<Lap>,
    /// The time of each stage: the longest of all images.
    stages: Option<Timings>,
    /// The stages of the first images, where traces tell them apart.
    pub(super) times: Vec<ImageTimes>,
    pub(super) respond: Option<Lap>,
}

/// A part of a request's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lap {
    pub(super) start: Instant,
    pub(super) time: Duration,
}

/// When one image of a request was where.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageTimes {
    /// The image's position in the request, from 0.
    pub(super) index: usize,
    /// Whether it had to be decoded.
    pub(super) is_file: bool,
    pub(super) began: Began,
    pub(super) timings: Timings,
}

impl Work {
    /// The work of a request; it names no model if none was found.
    pub(super) fn of(request: Result<&InferRequest, &ApiError>) -> Work {
        let model = request.map(|r| r.model.info.name.clone());
        Work {
            model: model.unwrap_or_default(),
            ..Work::default()
        }
    }

    /// The body holds so many images.
    pub(crate) fn found(&mut self, images: usize) {
        self.images = Some(images);
    }

    /// The images have their answers; so many of them, the first, are told apart.
    pub(super) fn answered(&mut self, answered: &Answered<ApiError>, apart: usize) {
        let results = &answered.results;
        self.failed = Some(results.iter().filter(|r| r.is_err()).count());
        self.read = Some(Lap {
            start: answered.start,
            time: answered.read,
        });
        let timings = results.iter().flatten().map(|c| c.timings);
        self.stages = timings.reduce(Timings::longest);
        let first = results.iter().enumerate().take(apart);
        let times = |(index, result): (usize, &Result<Classification, ApiError>)| {
            let classification = result.as_ref().ok()?;
            Some(ImageTimes {
                index,
                is_file: classification.image.is_some(),
                began: classification.began,
                timings: classification.timings,
            })
        };
        self.times = first.filter_map(times).collect();
    }

    /// Where the time went, in milliseconds, as browsers and proxies show it (W3C Server Timing); none of what was not
    /// answered.
    pub(super) fn server_timing(&self) -> Option<HeaderValue> {
        let (stages, respond) = (self.stages.as_ref()?, self.respond?);
        let text = format!(
            "read;dur={:.2}, decode;dur={:.2}, preprocess;dur={:.2}, queue;dur={:.2}, \
             infer;dur={:.2};desc=\"batch of {}\", respond;dur={:.2}",
            ms(self.read.map_or(Duration::ZERO, |read| read.time)),
            ms(stages.decode),
            ms(stages.preprocess),
            ms(stages.queue),
            ms(stages.infer),
            stages.batch_size,
            ms(respond.time),
        );
        HeaderValue::try_from(text).ok()
    }

    /// The answer was written in `time`, from `start` on.
    pub(super) fn responded(&mut self, start: Instant, time: Duration) {
        self.respond = Some(Lap { start, time });
    }
}

/// What the request's head tells for its line in the log.
pub(super) struct AccessLine {
    id: String,
    trace_id: Option<String>,
    start: Instant,
    method: String,
    path: String,
    protocol: String,
    client: Option<String>,
    user_agent: Option<String>,
    received: Option<ReceivedBytes>,
    /// Whether it is a probe, which comes every few seconds and from no user.
    is_probe: bool,
}

/// What the answer tells for the request's line in the log.
pub(super) struct Outcome<'a> {
    pub(super) status: StatusCode,
    pub(super) bytes: Option<u64>,
    pub(super) key: Option<&'a str>,
    pub(super) problem: Option<&'a Problem>,
    /// The status of a call of gRPC that has failed.
    pub(super) rpc: Option<RpcStatus>,
    pub(super) work: &'a Work,
}

impl AccessLine {
    pub(super) fn begin(
        id: &str,
        request: &Request,
        client: Option<ClientAddress>,
        is_probe: bool,
    ) -> AccessLine {
        let agent = request.headers().get(header::USER_AGENT);
        AccessLine {
            id: id.to_owned(),
            trace_id: request.extensions().get().map(TraceContext::trace_id),
            start: Instant::now(),
            method: cut(request.method().as_str()),
            path: cut(request.uri().path()),
            protocol: format!("{:?}", request.version()),
            client: client.map(|ClientAddress(address)| address.to_string()),
            user_agent: agent.map(|agent| cut(&String::from_utf8_lossy(agent.as_bytes()))),
            received: request.extensions().get().cloned(),
            is_probe,
        }
    }

    /// The ids of the request and of its trace, if it is in one.
    pub(super) fn ids(&self) -> (&str, Option<&str>) {
        (&self.id, self.trace_id.as_deref())
    }

    /// The time since the request's head came.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Writes the line, once the answer is ready.
    pub(super) fn write(&self, outcome: &Outcome<'_>) {
        let AccessLine {
            id: request_id,
            trace_id,
            method,
            path,
            protocol,
            client,
            user_agent,
            received,
            ..
        } = self;
        let (key, work) = (outcome.key, outcome.work);
        let status = outcome.status.as_u16();
        let code = outcome.problem.map(|p| p.code);
        let reason = outcome.problem.and_then(|p| p.reason.as_deref());
        let model = (!work.model.is_empty()).then_some(&work.model);
        let bytes_in = received.as_ref().map(ReceivedBytes::count);
        let (bytes_out, images, failed) = (outcome.bytes, work.images, work.failed);
        let duration_ms = ms(self.elapsed());
        let stage = |of: fn(&Timings) -> Duration| work.stages.as_ref().map(of).map(ms);
        let lap = |lap: Option<Lap>| lap.map(|lap| ms(lap.time));
        let (read_ms, respond_ms) = (lap(work.read), lap(work.respond));
        let (decode_ms, preprocess_ms) = (stage(|t| t.decode), stage(|t| t.preprocess));
        let (queue_ms, infer_ms) = (stage(|t| t.queue), stage(|t| t.infer));
        let batch_size = work.stages.as_ref().map(|t| t.batch_size);
        macro_rules! line {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    target: TARGET,
                    request_id, trace_id, client, key, method, path, protocol, status, code, reason, model, images,
                    failed, bytes_in, bytes_out, duration_ms, read_ms, decode_ms, preprocess_ms, queue_ms, infer_ms,
                    respond_ms, batch_size, user_agent, $message
                )
            };
        }
        match status {
            _ if self.is_probe => line!(debug, "answered"),
            CLIENT_LEFT => line!(info, "the client left before its answer"),
            500 => line!(error, "answered"),
            401 | 501.. => line!(warn, "answered"),
            _ => line!(info, "answered"),
        }
    }
}

/// nginx's status for a client that closed the connection first; nobody receives it.
pub(super) const CLIENT_LEFT: u16 = 499;

/// Milliseconds, to a thousandth.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
