//! Around every request: its id, its log line, its metrics, the body of its problem, and the headers of every answer.
//!
//! The outermost layer of `router`, so that nothing is answered unobserved.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::client::ClientAddress;
use super::error::Problem;
use crate::desk::{Desk, KeyName, cut};
use crate::metrics::Metrics;

/// The model that answered, for the request's metrics and log line.
#[derive(Debug, Clone)]
pub(super) struct ModelLabel(pub(super) String);

/// Routes that are asked every few seconds and by no user.
const PROBES: [&str; 4] = ["/livez", "/readyz", "/healthz", "/metrics"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken over from a client.
const MAX_ID: usize = 128;

pub(super) async fn observe(
    State(desk): State<Arc<Desk>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(request.headers());
    let span = tracing::info_span!("request", request_id = %id);
    let (method, path) = (request.method().clone(), cut(request.uri().path()));
    let proxies = desk.trusted_proxies();
    let client = ClientAddress::of(proxies, request.extensions(), request.headers());
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    // Without proxies nobody has asked for addresses in the log.
    let client = client.filter(|_| !proxies.is_empty());
    let client = client.map(|ClientAddress(address)| address.to_string());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str)
        .to_owned();
    let mut record = Record {
        metrics: Arc::clone(desk.metrics()),
        route,
        start: Instant::now(),
        done: false,
    };
    desk.metrics().requests_in_flight.inc();

    let mut response = next.run(request).instrument(span.clone()).await;

    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        let body = problem.clone().into_json(&id);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = Body::from(body);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
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

    let model = response
        .extensions_mut()
        .remove::<ModelLabel>()
        .map(|m| m.0)
        .unwrap_or_default();
    let key = response.extensions_mut().remove::<KeyName>();
    let key = key.as_ref().map(|name| &*name.0);
    let status = response.status();
    record.finish(&model, status, problem.as_ref());
    let (code, reason) = problem.as_ref().map(|p| (p.code, p.reason.clone())).unzip();
    let reason = reason.flatten();
    let duration_ms = record.start.elapsed().as_micros() as f64 / 1e3;
    let _in = span.enter();
    let status = status.as_u16();
    if PROBES.contains(&record.route.as_str()) {
        tracing::debug!(%method, path, status, duration_ms, code, "answered");
    } else if status == 500 {
        tracing::error!(%method, path, status, duration_ms, model, client, key, code, reason, "answered");
    } else {
        tracing::info!(%method, path, status, duration_ms, model, client, key, code, reason, "answered");
    }
    response
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

/// Counts the request once, also when its client leaves and the handler is dropped half-way.
struct Record {
    metrics: Arc<Metrics>,
    route: String,
    start: Instant,
    done: bool,
}

impl Record {
    fn finish(&mut self, model: &str, status: StatusCode, problem: Option<&Problem>) {
        self.count(model, status.as_str());
        self.metrics
            .request_duration
            .with_label_values(&[&self.route, outcome(status)])
            .observe(self.start.elapsed().as_secs_f64());
        let probed = PROBES.contains(&self.route.as_str());
        if let Some(problem) = problem.filter(|_| is_refusal(status) && !probed) {
            self.metrics
                .requests_rejected
                .with_label_values(&[problem.code, model])
                .inc();
        }
    }

    fn count(&mut self, model: &str, status: &str) {
        self.done = true;
        self.metrics
            .requests
            .with_label_values(&[&self.route, model, status])
            .inc();
        self.metrics.requests_in_flight.dec();
    }
}

/// Refused by a limit or a state of the server, rather than for what was sent.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::REQUEST_TIMEOUT
    )
}

/// What an answer was, for its time: refusals come at once and would hide how long answers take.
fn outcome(status: StatusCode) -> &'static str {
    match status {
        _ if is_refusal(status) => "refused",
        _ if status.is_client_error() || status.is_server_error() => "error",
        _ => "answered",
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.done {
            // nginx's code for a client that closed the connection first; nobody receives it
            self.count("", "499");
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
