//! Each request of a connection on its way to the router.
//!
//! Called by hyper, made by `accept` for each connection.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::routing::future::RouteFuture;
use hyper::body::Incoming;
use tower::Service as _;

use crate::http::Peer;

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    router: Router,
    peer: Peer,
}

impl Requests {
    pub(super) fn new(router: Router, peer: SocketAddr) -> Requests {
        Requests {
            router,
            peer: Peer(peer),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.router.clone().call(request) // a router is always ready
    }
}
