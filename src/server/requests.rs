//! Each request of a connection on its way to the router, and its answer on the way back.
//!
//! Called by hyper, made by `connection` for each connection. Tells the connection's [`Activity`] when requests begin
//! and end, and counts those of all connections for the drain.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, Version, header};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tower::Service as _;

use super::activity::Activity;
use crate::http::{Peer, ReceivedBytes};

/// hyper reads away an unread rest of a body if it gets it in one read, and closes the connection otherwise. Its
/// first read takes 8 KiB: more than that is announced to the client as the end of the connection.
const DRAINED: u64 = 8 << 10;

/// Most bytes of an answer handed to HTTP/2 at once. It takes a whole piece as soon as the client's window has room for
/// a byte, and what it has taken counts as answered.
const PIECE: usize = 16 << 10;

/// The requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    pub(super) router: Router,
    pub(super) peer: Peer,
    pub(super) activity: Arc<Activity>,
    /// Requests in flight on all connections.
    pub(super) in_flight: Arc<AtomicUsize>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut in_flight = InFlight::begin(&self.activity, &self.in_flight);
        let activity = Arc::clone(&self.activity);
        let version = request.version();
        let received = ReceivedBytes::default();
        let mut request = request.map(|body| RequestBody {
            body,
            activity: Arc::clone(&activity),
            received: received.clone(),
            ended: false,
        });
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(received);
        let route = self.router.clone().call(request); // a router is always ready
        Box::pin(async move {
            let mut response = route.await?;
            if version == Version::HTTP_2 {
                response.headers_mut().remove(header::CONNECTION); // which it does not have
            } else if activity.unread() > DRAINED {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            in_flight.begin_answer();
            let piece = if version == Version::HTTP_2 {
                PIECE
            } else {
                usize::MAX
            };
            Ok(response.map(|body| Answer {
                body,
                rest: Bytes::new(),
                piece,
                in_flight,
            }))
        })
    }
}

/// A request's body that tells what of it was read, and what was not.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Incoming,
    activity: Arc<Activity>,
    received: ReceivedBytes,
    ended: bool,
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.ended = frame.is_none();
        self.activity.has_received();
        if let Some(data) = frame.as_ref().and_then(|f| f.as_ref().ok()?.data_ref()) {
            self.received.add(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            self.activity.leave_unread(self.size_hint().exact());
        }
    }
}

/// An answer's body; its request is over when hyper drops it, because then the last of it is written or given up.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    /// Taken from the body, and not handed on yet.
    rest: Bytes,
    /// Most bytes handed on at once.
    piece: usize,
    in_flight: InFlight,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            // While there is nothing to take, the client is not slow in taking it.
            match polled.is_pending() {
                true => self.in_flight.pause_answer(),
                false => self.in_flight.begin_answer(),
            }
            match ready!(polled) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = self.piece.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// A request from its head to the end of its answer, or until its client has left.
#[derive(Debug)]
struct InFlight {
    activity: Arc<Activity>,
    all: Arc<AtomicUsize>,
    answering: bool,
}

impl InFlight {
    fn begin(activity: &Arc<Activity>, all: &Arc<AtomicUsize>) -> InFlight {
        activity.begin_request();
        all.fetch_add(1, Ordering::Relaxed);
        InFlight {
            activity: Arc::clone(activity),
            all: Arc::clone(all),
            answering: false,
        }
    }

    fn begin_answer(&mut self) {
        if !std::mem::replace(&mut self.answering, true) {
            self.activity.begin_answer();
        }
    }

    fn pause_answer(&mut self) {
        if std::mem::take(&mut self.answering) {
            self.activity.end_answer();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.answering {
            self.activity.end_answer();
        }
        self.activity.end_request();
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}
