//! The life of one connection: HTTP over any stream, until it is done, too slow, or drained.
//!
//! Spawned by `accept` for each connection.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::Tls;
use super::activity::{Activity, Expired};
use super::preface::Sniffed;
use super::requests::Requests;

/// Most headers of a request; browsers send some 15, proxies add a handful. hyper's default is 100.
const MAX_HEADERS: usize = 64;

/// Largest head of a request, in bytes: four times what nginx takes by default. More is answered 431.
const MAX_HEAD: usize = 32 << 10;

/// Most bytes read at once, and buffered of a connection: a head and what of the body comes with it.
const MAX_BUFFER: usize = 64 << 10;

/// Most requests at a time on one HTTP/2 connection; hyper's default is 200.
const MAX_STREAMS: u32 = 64;

/// Largest list of headers in HTTP/2, unpacked, in bytes.
const MAX_HEADER_LIST: u32 = 16 << 10;

/// Requests that a client may take back before we have seen them, until the connection is ended: the limit against
/// "rapid reset" (CVE-2023-44487), and h2's default.
const MAX_PENDING_RESETS: usize = 20;

/// Bytes of one request's body, and of all bodies of a connection, that may be under way unasked. A client waits for us
/// once a window; with 64 KiB a tensor of 600 KB took 0.2 ms longer.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Most bytes of a body in one frame of HTTP/2; the protocol's default is 16 KiB. Each takes a read of its own.
const MAX_FRAME: u32 = 64 << 10;

/// Bytes of one answer that are kept for a client that does not take them.
const MAX_SEND_BUFFER: usize = 64 << 10;

/// Bytes of one answer that are kept for a client of gRPC that does not take them.
const MAX_GRPC_SEND_BUFFER: usize = 16 << 10;

/// How every connection is spoken to.
#[derive(Debug, Clone)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: Option<http2::Builder<TokioExecutor>>,
}

impl Protocols {
    /// HTTP/1.1 alone. The first bytes of HTTP/2 are malformed to it.
    pub(super) fn http1() -> Protocols {
        let mut http1 = http1::Builder::new();
        http1
            .header_read_timeout(None) // `Activity` has the deadlines
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_BUFFER);
        Protocols { http1, http2: None }
    }

    /// HTTP/1.1, and HTTP/2 for clients that begin with its preface.
    pub(super) fn http1_and_http2() -> Protocols {
        Protocols::with_send_buffer(MAX_SEND_BUFFER)
    }

    /// The same for gRPC, whose clients have many calls on one connection. A client of HTTP/1.1 is told what is spoken.
    pub(super) fn grpc() -> Protocols {
        Protocols::with_send_buffer(MAX_GRPC_SEND_BUFFER)
    }

    fn with_send_buffer(most: usize) -> Protocols {
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_frame_size(MAX_FRAME)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(most);
        Protocols {
            http2: Some(http2),
            ..Protocols::http1()
        }
    }
}

/// [`serve`] after a TLS handshake, for which there is the time that a head has, from its first byte on.
pub(super) async fn serve_tls<S>(
    stream: S,
    tls: &Tls,
    requests: Requests,
    protocols: &Protocols,
    drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(&requests.activity);
    let handshake = tokio::select! {
        biased;
        handshake = tls.handshake(stream) => handshake,
        expired = activity.expired() => {
            tracing::debug!(?expired, "connection closed before its TLS handshake was done");
            return;
        }
    };
    match handshake {
        Ok(mut stream) => {
            if !Tls::has_plaintext(&mut stream) {
                activity.has_shaken_hands();
            }
            serve(stream, requests, protocols, drain).await;
        }
        Err(error) => tracing::debug!(%error, "no TLS handshake"),
    }
}

/// Serves a connection to its end; after `drain` turns true it ends with the requests that are under way.
pub(super) async fn serve<S>(
    stream: S,
    requests: Requests,
    protocols: &Protocols,
    mut drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(&requests.activity);
    let Some(http2) = &protocols.http2 else {
        return serve_http1(stream, requests, &protocols.http1, drain).await;
    };
    let mut stream = Sniffed::new(stream);
    let mut ending = false;
    let is_http2 = loop {
        tokio::select! {
            biased;
            told = stream.is_http2() => match told {
                Ok(is_http2) => break is_http2,
                Err(_) => return,
            },
            _ = drain.wait_for(|drain| *drain), if !ending => ending = true,
            expired = activity.expired() => {
                tracing::debug!(?expired, "connection closed");
                return;
            }
        }
        if stream.is_silent() {
            return; // nothing was asked that could be lost
        }
    };
    if is_http2 {
        activity.set_multiplexed();
        stream.watch_frames(&activity);
        let connection = http2.serve_connection(TokioIo::new(stream), requests);
        finish(pin!(connection), &activity, drain).await;
    } else {
        serve_http1(stream, requests, &protocols.http1, drain).await;
    }
}

async fn serve_http1<S>(
    stream: S,
    requests: Requests,
    http1: &http1::Builder,
    drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(&requests.activity);
    let mut connection = http1.serve_connection(TokioIo::new(stream), requests);
    if finish(Pin::new(&mut connection), &activity, drain).await {
        // hyper leaves a connection open that asked for an upgrade, though it got none. To others this does nothing.
        let mut stream = connection.into_parts().io.into_inner();
        tokio::select! {
            biased; // the stream says first that it lingers, which is its deadline
            _ = poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)) => {}
            _ = activity.expired() => {}
        }
    }
}

/// Runs a connection until it is done or too slow; whether it is done.
async fn finish<C>(
    mut connection: Pin<&mut C>,
    activity: &Activity,
    mut drain: watch::Receiver<bool>,
) -> bool
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = &ended {
                    tracing::debug!(%error, "connection ended early");
                }
                return ended.is_ok();
            }
            _ = drain.wait_for(|drain| *drain), if !ending => {}
            expired = activity.expired() => if expired != Expired::Idle || ending {
                tracing::debug!(?expired, "connection closed");
                return false;
            }
        }
        ending = true;
        activity.set_ending();
        connection.as_mut().graceful_shutdown();
    }
}
