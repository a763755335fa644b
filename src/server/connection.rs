//! The life of one connection: HTTP over any stream, until it is done, too slow, or drained.
//!
//! Spawned by `accept` for each connection.

use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::Tls;
use super::activity::Activity;
use super::requests::Requests;

/// Most headers of a request; browsers send some 15, proxies add a handful. hyper's default is 100.
const MAX_HEADERS: usize = 64;

/// Largest head of a request, in bytes: four times what nginx takes by default. More is answered 431.
const MAX_HEAD: usize = 32 << 10;

/// Most bytes read at once, and buffered of a connection: a head and what of the body comes with it.
const MAX_BUFFER: usize = 64 << 10;

/// How every connection is spoken to.
#[derive(Debug, Clone)]
pub(super) struct Protocols {
    http1: http1::Builder,
}

impl Protocols {
    pub(super) fn new() -> Protocols {
        let mut http1 = http1::Builder::new();
        http1
            .header_read_timeout(None) // `Activity` has the deadlines
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_BUFFER);
        Protocols { http1 }
    }
}

/// [`serve`] after a TLS handshake, for which there is the time that the first head has.
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
        Ok(stream) => serve(stream, requests, protocols, drain).await,
        Err(error) => tracing::debug!(%error, "no TLS handshake"),
    }
}

/// Serves a connection to its end; after `drain` turns true it ends with the request that is under way.
pub(super) async fn serve<S>(
    stream: S,
    requests: Requests,
    protocols: &Protocols,
    mut drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity: Arc<Activity> = Arc::clone(&requests.activity);
    let connection = protocols
        .http1
        .serve_connection(TokioIo::new(stream), requests);
    let mut connection = pin!(connection);
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                }
                return;
            }
            _ = drain.wait_for(|drain| *drain), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            expired = activity.expired() => {
                tracing::debug!(?expired, "connection closed");
                return;
            }
        }
    }
}
