//! Who is behind a proxy: the client's address, as far as proxies that are trusted have told it.
//!
//! Asked by protocols, which read what their headers tell.

use std::net::IpAddr;

use crate::network::Network;

/// The proxies whose word is taken.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    /// The proxies with an address in one of these networks.
    #[must_use]
    pub fn new(networks: Vec<Network>) -> TrustedProxies {
        TrustedProxies(networks)
    }

    /// Whether no proxy is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the word of this peer is taken.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client of a request that comes from `peer`. `hops` are the addresses that proxies have noted, the last one's
    /// first; what is no address is none.
    ///
    /// Each trusted proxy tells whom it has the request from. The first that is not trusted is the client: what it says
    /// of others counts for nothing. Where a trusted proxy says nothing that can be read, it is the client itself.
    #[must_use]
    pub fn client(&self, peer: IpAddr, hops: impl IntoIterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut client = peer;
        let mut hops = hops.into_iter();
        while self.trusts(client)
            && let Some(Some(hop)) = hops.next()
        {
            client = hop;
        }
        client.to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, hops: &[&str]) -> String {
        let networks = trusted.iter().map(|n| n.parse().expect("a network"));
        let proxies = TrustedProxies::new(networks.collect());
        let hops = hops.iter().map(|hop| hop.parse().ok());
        let client = proxies.client(peer.parse().expect("an address"), hops);
        client.to_string()
    }

    #[test]
    fn client_is_the_nearest_that_is_not_trusted() {
        let (one, two) = (&["10.0.0.1"][..], &["10.0.0.0/8", "::1"][..]);
        for (trusted, peer, hops, expected) in [
            (&[][..], "10.0.0.1", &["192.0.2.1"][..], "10.0.0.1"),
            (one, "192.0.2.9", &["192.0.2.1"], "192.0.2.9"),
            (one, "10.0.0.1", &["192.0.2.1", "198.51.100.7"], "192.0.2.1"),
            (
                two,
                "10.0.0.1",
                &["10.9.9.9", "192.0.2.1", "10.0.0.3"],
                "192.0.2.1",
            ),
            (two, "::1", &["10.9.9.9", "2001:db8::5"], "2001:db8::5"),
            // all of them are trusted: the first of the chain
            (two, "10.0.0.1", &["10.0.0.2", "10.0.0.3"], "10.0.0.3"),
            // nothing, or nothing that can be read
            (one, "10.0.0.1", &[], "10.0.0.1"),
            (one, "10.0.0.1", &["unknown", "192.0.2.1"], "10.0.0.1"),
            (one, "::ffff:10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
        ] {
            assert_eq!(client(trusted, peer, hops), expected, "{peer} {hops:?}");
        }
    }
}
