//! What must hold for any bytes that a client sends.
//!
//! Called by the target `http_head`: the bytes go through the service's own connections to a small router, over a pipe
//! in memory and under a clock that moves when nothing else does. The connection must end by its deadlines; what comes
//! back must be whole HTTP answers; a refusal by the HTTP library must be the last; memory must stay within its bound,
//! no request may stay in flight, and how the bytes are cut into pieces must make no difference.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use axum::routing::{get, post};
use libfuzzer_sys::Corpus;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::watch;
use tokio::time::timeout;

use super::activity::{Activity, Timeouts};
use super::connection::{Protocols, serve};
use super::requests::Requests;
use super::watched::Watched;
use crate::http::Peer;
use crate::memory::peak_of;

/// The service's own defaults.
const TIMEOUTS: Timeouts = Timeouts {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    write: Duration::from_secs(30),
};

/// Longest life of a connection whose requests are there at once: its last head, idling, lingering, and the time that a
/// body is waited for.
const LONGEST: Duration = Duration::from_secs(200);

/// Most memory of a connection, in bytes: runtime, pipe, the buffer of reads, the one of answers.
const MEMORY: u64 = 1 << 20;

/// A header field that every answer of the router has, and no answer of the HTTP library's.
const OURS: &str = "x-of-the-router";

/// What a client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most memory of a connection of HTTP/2, in bytes: its window, and tables.
const HTTP2_MEMORY: u64 = 4 << 20;

/// Sends the bytes and checks what must hold.
///
/// # Panics
/// If anything does not hold.
pub fn check(input: &[u8]) -> Corpus {
    let (plain, peak) = peak_of(|| statuses(&talk(input, usize::MAX, &Protocols::http1())));
    // Pipelined requests have an answer each.
    let allowed = MEMORY + 64 * input.len() as u64;
    assert!(peak <= allowed, "{peak} bytes held, allowed are {allowed}");
    let (piece, both) = (1 + input.len() % 13, Protocols::http1_and_http2());
    if input.starts_with(PREFACE) {
        let (_, peak) = peak_of(|| talk(input, piece, &both));
        let allowed = HTTP2_MEMORY + 64 * input.len() as u64;
        assert!(peak <= allowed, "{peak} bytes held, allowed are {allowed}");
        return Corpus::Keep;
    }
    // A body that is not there yet may close a connection after its answer; until then all is the same.
    let pieces = statuses(&talk(input, piece, &both));
    let common = plain.len().min(pieces.len());
    assert_eq!(plain[..common], pieces[..common], "the pieces matter");
    match plain.is_empty() {
        true => Corpus::Reject,
        false => Corpus::Keep,
    }
}

/// What comes back for these bytes, written in pieces of this size.
fn talk(input: &[u8], piece: usize, protocols: &Protocols) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets");
    let in_flight = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&in_flight);
    let received = runtime.block_on(async move {
        let (client, server) = duplex(64 << 10);
        let activity = Arc::new(Activity::new(TIMEOUTS));
        let stream = Watched::new(server, Arc::clone(&activity));
        let requests = Requests {
            router: router(),
            peer: Peer {
                address: SocketAddr::from(([127, 0, 0, 1], 1)),
                scheme: "http",
            },
            activity,
            in_flight: counted,
        };
        let (_drain, drained) = watch::channel(false);
        let (mut reader, mut writer) = tokio::io::split(client);
        let send = async {
            for piece in input.chunks(piece.min(input.len().max(1))) {
                if writer.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut received = Vec::new();
        let talk = async {
            let serving = serve(stream, requests, protocols, drained);
            tokio::join!(serving, send, reader.read_to_end(&mut received))
        };
        let ended = timeout(LONGEST, talk).await;
        assert!(ended.is_ok(), "the connection never ends");
        received
    });
    drop(runtime);
    let left = in_flight.load(Ordering::Relaxed);
    assert_eq!(left, 0, "{left} requests are still in flight");
    received
}

/// Routes of all shapes: one that takes a body, one that refuses before it, ones without.
fn router() -> Router {
    let ours = |answer: String| ([(OURS, "1")], answer);
    let take = move |body: Body| async move {
        let read = tokio::time::timeout(Duration::from_secs(15), to_bytes(body, 16 << 10));
        match read.await {
            Ok(Ok(body)) => Ok(ours(body.len().to_string())),
            Ok(Err(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, ours(String::new()))),
            Err(_) => Err((StatusCode::REQUEST_TIMEOUT, ours(String::new()))),
        }
    };
    let refuse = move || async move { (StatusCode::SERVICE_UNAVAILABLE, ours("refused".into())) };
    Router::new()
        .route("/livez", get(move || async move { ours("ok".into()) }))
        .route("/take", post(take).put(take))
        .route("/models/{name}", get(refuse))
        .fallback(move || async move { (StatusCode::NOT_FOUND, ours("nothing".into())) })
        .method_not_allowed_fallback(refuse)
}

/// The statuses in what came back, all of which must be answers.
fn statuses(mut bytes: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).expect("a head of plain text");
        let version = head.starts_with("HTTP/1.1 ") || head.starts_with("HTTP/1.0 ");
        assert!(version, "{head}");
        let status: u16 = head[9..12].parse().expect("a status");
        bytes = &bytes[end + 4..];
        statuses.push(status);
        if status == 100 {
            continue;
        }
        let field = |name: &str| {
            let mut fields = head
                .split("\r\n")
                .skip(1)
                .filter_map(|l| l.split_once(": "));
            fields.find(|(n, _)| *n == name).map(|(_, v)| v)
        };
        let length: usize = field("content-length").map_or(0, |v| v.parse().expect("a length"));
        if field(OURS).is_none() {
            assert!(matches!(status, 400 | 414 | 431), "{head}");
            assert!(bytes.is_empty(), "more after a refusal: {head}");
        } else if bytes.len() < length || bytes.starts_with(b"HTTP/1.") {
            // The answer to HEAD has its body's length and no body.
            continue;
        } else {
            bytes = &bytes[length..];
        }
    }
    statuses
}
