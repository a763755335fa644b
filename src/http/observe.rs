//! Around every request: its id, its log line, its metrics, the body of its problem, and the headers of every answer.
//!
//! The outermost layer of `router`, so that nothing is answered unobserved.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::access::{AccessLine, CLIENT_LEFT, Outcome, Work};
use super::client::ClientAddress;
use super::error::{ApiError, Problem};
use super::oip;
use super::route::Purpose;
use super::span::{Protocol, RpcStatus, ServerSpan, TRACEPARENT, caller, is_told};
use crate::desk::{Desk, KeyName};
use crate::metrics::Metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Longest id taken over from a client.
const MAX_ID: usize = 128;

pub(super) async fn observe(state: State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let form = match oip::is_its(request.uri().path()) {
        true => Form::Oip,
        false => Form::Problem,
    };
    observe_in(form, state, request, next).await
}

/// Does for calls of gRPC what `observe` does for requests.
pub(super) async fn observe_grpc(
    state: State<Arc<Desk>>,
    request: Request,
    next: Next,
) -> Response {
    observe_in(Form::Grpc, state, request, next).await
}

/// How a problem is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As RFC 9457 has it.
    Problem,
    /// As the Open Inference Protocol has it.
    Oip,
    /// As gRPC has it: the answer has been written already.
    Grpc,
}

impl Form {
    fn protocol(self) -> Protocol {
        match self {
            Form::Problem | Form::Oip => Protocol::Http,
            Form::Grpc => Protocol::Grpc,
        }
    }
}

/// The status by which an answer is counted whose own says nothing, in its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedAs(pub(crate) StatusCode);

/// A request's id, in its extensions.
#[derive(Debug, Clone)]
struct RequestId(String);

async fn observe_in(
    form: Form,
    State(desk): State<Arc<Desk>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(request.headers());
    let proxies = desk.trusted_proxies();
    let client = ClientAddress::of(proxies, request.extensions(), request.headers());
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    let span = match is_told(&request) {
        true => ServerSpan::begin(&desk, form.protocol(), &id, &request),
        false => None,
    };
    let own = span.as_ref().map(ServerSpan::context);
    let trace = own.or_else(|| caller(request.headers()));
    if let Some(trace) = trace {
        request.extensions_mut().insert(trace);
    }
    let trace_id = trace.map(|trace| trace.trace_id());
    let logged = tracing::info_span!("request", request_id = %id, trace_id);
    let mut record = Record::begin(desk.metrics(), &id, &request, client, span);
    let is_head = request.method() == Method::HEAD;
    request.extensions_mut().insert(RequestId(id.clone()));

    let mut response = next.run(request).instrument(logged).await;

    let problem = response.extensions_mut().remove::<Problem>();
    let counted = response.extensions_mut().remove::<CountedAs>();
    let status = match (&problem, counted) {
        (Some(problem), _) => problem.status(),
        (None, Some(CountedAs(status))) => status,
        (None, None) => response.status(),
    };
    if let Some(problem) = &problem {
        write(form, problem, &id, &mut response);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(Ok(own)) = own.map(|own| HeaderValue::from_str(&own.traceparent())) {
        headers.insert(TRACEPARENT, own);
    }
    // What an answer is called is what it is, and none may outlive its request in a cache: it can be about a private
    // photo, and a cache does not know that X-API-Key is a secret.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if desk.is_draining() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }

    let rpc = response.extensions_mut().remove::<RpcStatus>();
    let work = response.extensions_mut().remove::<Work>();
    let timing = work.as_ref().and_then(Work::server_timing);
    if let Some(timing) = timing.filter(|_| form != Form::Grpc) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    let key = response.extensions_mut().remove::<KeyName>();
    // The router takes the body off on its way out.
    let bytes = match is_head {
        true => Some(0),
        false => response.body().size_hint().exact(),
    };
    record.finish(&Outcome {
        status,
        bytes,
        key: key.as_ref().map(|name| &*name.0),
        problem: problem.as_ref(),
        rpc,
        work: &work.unwrap_or_default(),
    });
    response
}

/// Writes a problem as the body of its answer.
fn write(form: Form, problem: &Problem, id: &str, response: &mut Response) {
    let body = match form {
        Form::Problem => problem.clone().into_json(id),
        Form::Oip => problem.clone().into_oip(id),
        Form::Grpc => return,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if form == Form::Oip {
        headers.insert(header::CONTENT_TYPE, oip::error_type());
    }
    *response.body_mut() = Body::from(body);
}

/// The client's id if it is short and plain, else 16 random hex digits.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |id: &&str| {
        (1..=MAX_ID).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/'))
    };
    let mut given = headers.get_all(REQUEST_ID).iter();
    match (
        given.next().and_then(|v| v.to_str().ok()).filter(plain),
        given.next(),
    ) {
        (Some(id), None) => id.to_owned(),
        _ => random_id(),
    }
}

fn random_id() -> String {
    // Without randomness requests are merely not told apart in the log.
    let bits = getrandom::u64().unwrap_or_default();
    format!("{bits:016x}")
}

/// One of several requests that come on one call, counted and logged as one of its own.
pub(crate) struct OneOfMany {
    record: Record,
    key: Option<KeyName>,
    pub(crate) work: Work,
}

impl OneOfMany {
    /// Begins to record a request that came on the call with this head.
    pub(crate) fn begin(desk: &Desk, head: &Parts) -> OneOfMany {
        let id = head.extensions.get::<RequestId>();
        let id = id.map_or("", |id| &id.0);
        let mut request = Request::from_parts(head.clone(), Body::empty());
        let client = head.extensions.get::<ClientAddress>().copied();
        let span = ServerSpan::begin(desk, Protocol::Grpc, id, &request);
        if let Some(span) = &span {
            request.extensions_mut().insert(span.context());
        }
        OneOfMany {
            record: Record::begin(desk.metrics(), id, &request, client, span),
            key: head.extensions.get().cloned(),
            work: Work::default(),
        }
    }

    /// Records that the request has its answer.
    pub(crate) fn answered(&mut self) {
        self.finish(StatusCode::OK, None, None);
    }

    /// Records that the request has failed.
    pub(crate) fn failed(&mut self, error: &ApiError, status: RpcStatus) {
        let problem = error.problem();
        self.finish(problem.status(), Some(&problem), Some(status));
    }

    fn finish(&mut self, status: StatusCode, problem: Option<&Problem>, rpc: Option<RpcStatus>) {
        self.record.finish(&Outcome {
            status,
            bytes: None,
            key: self.key.as_ref().map(|name| &*name.0),
            problem,
            rpc,
            work: &self.work,
        });
    }
}

/// Counts the request and writes its line once, also when its client leaves and the handler is dropped half-way.
struct Record {
    metrics: Arc<Metrics>,
    route: String,
    is_probe: bool,
    line: AccessLine,
    span: Option<ServerSpan>,
    done: bool,
}

impl Record {
    fn begin(
        metrics: &Arc<Metrics>,
        id: &str,
        request: &Request,
        client: Option<ClientAddress>,
        span: Option<ServerSpan>,
    ) -> Record {
        metrics.requests_in_flight.inc();
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
        let is_probe = request.extensions().get() == Some(&Purpose::Probe)
            || request.method() == Method::OPTIONS;
        Record {
            metrics: Arc::clone(metrics),
            line: AccessLine::begin(id, request, client, is_probe),
            route,
            is_probe,
            span,
            done: false,
        }
    }

    fn finish(&mut self, outcome: &Outcome<'_>) {
        let (status, model) = (outcome.status, &*outcome.work.model);
        self.count(outcome);
        self.metrics.observe_request(
            (&self.route, kind_of_answer(status)),
            self.line.elapsed(),
            self.line.ids(),
        );
        let refusal = outcome.problem.filter(|_| is_refusal(status));
        if let Some(problem) = refusal.filter(|_| !self.is_probe) {
            self.metrics
                .requests_rejected
                .with_label_values(&[problem.code, model])
                .inc();
        }
    }

    fn count(&mut self, outcome: &Outcome<'_>) {
        self.done = true;
        self.metrics
            .requests
            .with_label_values(&[&self.route, &*outcome.work.model, outcome.status.as_str()])
            .inc();
        self.metrics.requests_in_flight.dec();
        self.line.write(outcome);
        if let Some(span) = self.span.take() {
            span.end(outcome);
        }
    }
}

/// Refused by a limit or a state of the server, rather than for what was sent.
pub(super) fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::REQUEST_TIMEOUT
    )
}

/// What an answer was, for its time: refusals come at once and would hide how long answers take.
fn kind_of_answer(status: StatusCode) -> &'static str {
    match status {
        _ if is_refusal(status) => "refused",
        _ if status.is_client_error() || status.is_server_error() => "error",
        _ => "answered",
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.done {
            self.count(&Outcome {
                status: StatusCode::from_u16(CLIENT_LEFT).expect("three digits"),
                bytes: None,
                key: None,
                problem: None,
                rpc: Some(RpcStatus("CANCELLED")),
                work: &Work::default(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_ids_are_taken_over() {
        let id = |value: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(
                REQUEST_ID,
                HeaderValue::from_bytes(value).expect("a header value"),
            );
            request_id(&headers)
        };
        assert_eq!(id(b"abc-123"), "abc-123");
        for wrong in [&b"a b"[..], b"\xff", b"", b"<script>", &[b'x'; 129]] {
            let got = id(wrong);
            assert!(
                got.len() == 16 && got.bytes().all(|b| b.is_ascii_hexdigit()),
                "{got}"
            );
        }
    }
}
