//! The span of a request for images: its name and what is told of it, by OpenTelemetry's semantic conventions, and its
//! stages as spans below it.
//!
//! Begun and ended by `observe`. What is ours begins with `resnet.` and is called as in the log.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, Method, Version, header};

use super::access::{ImageTimes, Lap, Outcome, Work};
use super::client::{ClientAddress, Peer};
use super::route::Purpose;
use crate::desk::{Desk, cut};
use crate::traces::{Attribute, RequestSpan, SpanStart, Stage, TraceContext, Value};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is handed on, in bytes: as much as everybody has to. Each span has it.
const MAX_STATE: usize = 512;

/// The status of a call of gRPC that has failed, by its name there, in the extensions of its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RpcStatus(pub(crate) &'static str);

/// The statuses that are the server's fault, by the conventions for gRPC.
const SERVER_ERRORS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// What a request says of the trace it belongs to. Several headers are none: nobody knows which is true.
pub(super) fn caller(headers: &HeaderMap) -> Option<TraceContext> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    match (given.next(), given.next()) {
        (Some(one), None) => TraceContext::parse(one.as_bytes()),
        _ => None,
    }
}

/// What other systems say of the trace, in the order of its headers; nothing if that is long.
fn state(headers: &HeaderMap) -> String {
    let given = headers.get_all(TRACESTATE).iter();
    let given: Vec<&str> = given.filter_map(|value| value.to_str().ok()).collect();
    let state = given.join(",");
    match state.len() <= MAX_STATE {
        true => state,
        false => String::new(),
    }
}

/// The protocol that a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

/// The span of a request that is under way.
#[derive(Debug)]
pub(super) struct ServerSpan {
    span: RequestSpan,
    protocol: Protocol,
}

/// Whether a request is one for images, and so a span of its own.
pub(super) fn is_told(request: &Request) -> bool {
    request.extensions().get() == Some(&Purpose::Inference) && request.method() != Method::OPTIONS
}

impl ServerSpan {
    /// Begins the span of a request that has come; none where no traces are exported.
    pub(super) fn begin(
        desk: &Desk,
        protocol: Protocol,
        id: &str,
        request: &Request,
    ) -> Option<ServerSpan> {
        let tracer = desk.tracer()?;
        let headers = request.headers();
        let span = tracer.begin(SpanStart {
            name: name(protocol, request),
            parent: caller(headers),
            state: &state(headers),
        });
        let mut span = ServerSpan { span, protocol };
        if span.span.is_recorded() {
            span.tell("resnet.request_id", id);
            match protocol {
                Protocol::Http => span.tell_http(request),
                Protocol::Grpc => span.tell_grpc(request),
            }
            span.tell_client(request);
        }
        Some(span)
    }

    /// The trace that the span is in, and the span itself.
    pub(super) fn context(&self) -> TraceContext {
        self.span.context()
    }

    fn tell(&mut self, name: &'static str, value: impl Into<Value>) {
        self.span.tell((name, value.into()));
    }

    fn tell_http(&mut self, request: &Request) {
        let method = request.method();
        match known(method) {
            Some(method) => self.tell("http.request.method", method),
            None => {
                self.tell("http.request.method", "_OTHER");
                self.tell("http.request.method_original", cut(method.as_str()));
            }
        }
        if let Some(route) = route(request) {
            self.tell("http.route", route);
        }
        self.tell("url.path", cut(request.uri().path()));
        if let Some(peer) = request.extensions().get::<Peer>() {
            self.tell("url.scheme", peer.scheme);
        }
        let version = match request.version() {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        self.tell("network.protocol.version", version);
    }

    fn tell_grpc(&mut self, request: &Request) {
        self.tell("rpc.system.name", "grpc");
        self.tell("rpc.method", method_of_rpc(request));
    }

    fn tell_client(&mut self, request: &Request) {
        if let Some(ClientAddress(address)) = request.extensions().get() {
            self.tell("client.address", address.to_string());
        }
        if let Some(agent) = request.headers().get(header::USER_AGENT) {
            let agent = String::from_utf8_lossy(agent.as_bytes());
            self.tell("user_agent.original", cut(&agent));
        }
    }

    /// The request has its answer, or its client has left.
    pub(super) fn end(mut self, outcome: &Outcome<'_>) {
        if self.span.is_recorded() {
            let code = outcome.problem.map_or("", |problem| problem.code);
            self.tell_status(outcome, code);
            self.tell_work(outcome.work, code);
            stages(outcome.work, |stage| self.span.add(stage));
        }
        self.span.end();
    }

    fn tell_status(&mut self, outcome: &Outcome<'_>, code: &str) {
        let status = outcome.status;
        let error = match (self.protocol, outcome.rpc) {
            (Protocol::Http, _) => {
                self.tell("http.response.status_code", usize::from(status.as_u16()));
                status.is_server_error().then(|| status.as_str())
            }
            (Protocol::Grpc, rpc) => {
                let status = rpc.map_or("OK", |RpcStatus(status)| status);
                self.tell("rpc.response.status_code", status);
                SERVER_ERRORS.contains(&status).then_some(status)
            }
        };
        if let Some(error) = error {
            self.tell("error.type", error);
            self.span.fail(code);
        }
    }

    fn tell_work(&mut self, work: &Work, code: &str) {
        if !work.model.is_empty() {
            self.tell("resnet.model", &*work.model);
        }
        if let Some(images) = work.images {
            self.tell("resnet.images", images);
        }
        if let Some(failed) = work.failed {
            self.tell("resnet.failed", failed);
        }
        if !code.is_empty() {
            self.tell("resnet.code", code);
        }
    }
}

/// The span's name: by route or method, so that there are few names.
fn name(protocol: Protocol, request: &Request) -> String {
    match protocol {
        Protocol::Http => {
            let method = known(request.method()).unwrap_or("HTTP");
            format!("{method} {}", route(request).unwrap_or_default())
        }
        Protocol::Grpc => method_of_rpc(request),
    }
}

fn route(request: &Request) -> Option<&str> {
    let route = request.extensions().get::<MatchedPath>();
    route.map(MatchedPath::as_str)
}

/// Service and method: the path without its slash.
fn method_of_rpc(request: &Request) -> String {
    cut(request.uri().path().trim_start_matches('/'))
}

/// The methods that are known by their names; anybody can invent one.
fn known(method: &Method) -> Option<&'static str> {
    Some(match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => return None,
    })
}

/// Tells the stages that a request has come to, as docs/METRICS.md has them; the two waits apart.
fn stages(work: &Work, mut tell: impl FnMut(Stage)) {
    let mut lap = |name, lap: Option<&Lap>| {
        if let Some(Lap { start, time }) = lap {
            tell(stage(name, *start, *time, Vec::new()));
        }
    };
    lap("read", work.read.as_ref());
    lap("respond", work.respond.as_ref());
    let several = work.images.is_some_and(|images| images > 1);
    for ImageTimes {
        index,
        is_file,
        began,
        timings,
    } in &work.times
    {
        let of_image = |mut attributes: Vec<Attribute>| {
            if several {
                attributes.push(("resnet.index", (*index).into()));
            }
            attributes
        };
        let pool = |name: &str| of_image(vec![("resnet.pool", name.into())]);
        let batch = vec![
            ("resnet.model", work.model.as_str().into()),
            ("resnet.batch_size", timings.batch_size.into()),
        ];
        tell(stage(
            "queue",
            began.submitted,
            began.waited_to_decode(),
            pool("prep"),
        ));
        if *is_file {
            tell(stage(
                "decode",
                began.decode,
                timings.decode,
                of_image(Vec::new()),
            ));
        }
        // Rows are resized as they are decoded: the two have their shares of the time, one behind the other.
        let preprocess = began.decode + timings.decode;
        tell(stage(
            "preprocess",
            preprocess,
            timings.preprocess,
            of_image(Vec::new()),
        ));
        tell(stage(
            "queue",
            began.queue,
            began.waited_to_infer(),
            pool("engine"),
        ));
        tell(stage("infer", began.infer, timings.infer, of_image(batch)));
    }
}

fn stage(name: &'static str, start: Instant, time: Duration, attributes: Vec<Attribute>) -> Stage {
    Stage {
        name,
        start,
        end: start + time,
        attributes,
    }
}
