//! The life of a connection, from the service's own files. TLS is left out: its handshake is a library's.

#![allow(
    dead_code,
    reason = "the service has more uses of its files than one connection without TLS"
)]

use std::io;

#[path = "../../src/server/activity.rs"]
mod activity;
#[path = "../../src/server/connection.rs"]
mod connection;
#[path = "../../src/server/frames.rs"]
mod frames;
#[path = "../../src/server/preface.rs"]
mod preface;
#[path = "../../src/server/requests.rs"]
mod requests;
#[path = "../../src/server/watched.rs"]
mod watched;

pub mod check;

/// Stands for the room's own; no connection here has it.
#[derive(Debug)]
pub enum Tls {}

impl Tls {
    /// Never called, as there is no value.
    pub(crate) async fn handshake<S>(&self, _stream: S) -> io::Result<S> {
        match *self {}
    }

    /// Asked of a stream that `handshake` has given, and so never.
    pub(crate) fn has_plaintext<S>(_stream: &mut S) -> bool {
        false
    }
}
