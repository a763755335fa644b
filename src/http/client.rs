//! Whose request it is, by what its connection and its head tell.
//!
//! Asked by `classify` before admission.

use std::net::SocketAddr;

use axum::http::Extensions;

use crate::desk::{Desk, KeyName};
use crate::turns::ClientId;

/// Who sent a request: the other end of its connection, in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The client by the name of its key, which `auth` has left in the extensions, else by its address.
pub(super) fn client_id(desk: &Desk, extensions: &Extensions) -> ClientId {
    let address = extensions.get::<Peer>().map(|Peer(address)| address.ip());
    desk.client(extensions.get::<KeyName>(), address)
}
