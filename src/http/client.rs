//! Whose request it is, by what its connection and its head tell.
//!
//! A layer of the routes notes the client's address; `target` asks for the client before admission.

use std::net::{IpAddr, SocketAddr};

use axum::http::{Extensions, HeaderMap};

use super::forwarded::Hops;
use crate::desk::{Desk, KeyName, TrustedProxies};
use crate::fair_queue::ClientId;

/// Who sent a request, in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The other end of its connection.
    pub address: SocketAddr,
    /// How the connection is spoken on, as URLs have it: `http` or `https`.
    pub scheme: &'static str,
}

/// Where a request comes from, proxies that are trusted left out; in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientAddress(pub(super) IpAddr);

impl ClientAddress {
    /// The client of a request with this head; none without a connection.
    pub(super) fn of(
        proxies: &TrustedProxies,
        extensions: &Extensions,
        headers: &HeaderMap,
    ) -> Option<ClientAddress> {
        let peer = extensions.get::<Peer>()?.address.ip();
        if !proxies.trusts(peer) {
            return Some(ClientAddress(peer.to_canonical()));
        }
        let Hops {
            forwarded,
            x_forwarded_for,
        } = Hops::read(headers);
        let by = |hops| proxies.client(peer, hops);
        let client = match (forwarded, x_forwarded_for) {
            (Some(one), Some(other)) => match (by(one), by(other)) {
                (a, b) if a == b => a,
                // A proxy writes one of them and lets the other pass, which may be the client's invention. Nobody can
                // tell which, so the proxy itself counts.
                _ => peer.to_canonical(),
            },
            (Some(hops), None) | (None, Some(hops)) => by(hops),
            (None, None) => peer.to_canonical(),
        };
        Some(ClientAddress(client))
    }
}

/// The client by the name of its key, which `auth` has left in the extensions, else by its address.
pub(crate) fn client_id(desk: &Desk, extensions: &Extensions) -> ClientId {
    let address = extensions.get::<ClientAddress>().map(|address| address.0);
    desk.client(extensions.get::<KeyName>(), address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn client(peer: &str, lines: &[(&'static str, &'static str)]) -> String {
        let proxies = TrustedProxies::new(vec!["10.0.0.1".parse().expect("a network")]);
        let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
        extensions.insert(Peer {
            address: SocketAddr::new(peer.parse().expect("an address"), 1),
            scheme: "http",
        });
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let address = ClientAddress::of(&proxies, &extensions, &headers);
        address.expect("there is a peer").0.to_string()
    }

    #[test]
    fn headers_count_from_trusted_peers_only() {
        let forged = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
        ];
        for lines in [&forged[..1], &forged[1..], &forged] {
            assert_eq!(client("198.51.100.7", lines), "198.51.100.7");
            assert_eq!(client("10.0.0.1", lines), "192.0.2.1");
        }
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn header_that_the_proxy_let_pass_gives_nobody_anothers_address() {
        let both = [
            ("x-forwarded-for", "203.0.113.5"),
            ("forwarded", "for=192.0.2.1"),
        ];
        assert_eq!(client("10.0.0.1", &both), "10.0.0.1");
        let prefixed = [("x-forwarded-for", "192.0.2.1, 203.0.113.5")];
        assert_eq!(client("10.0.0.1", &prefixed), "203.0.113.5");
    }
}
