//! Whose request it is, for a fair share: the API key's name, else the address it comes from.
//!
//! Asked by protocols through `Desk::client` before admission.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use super::KeyName;
use crate::fair_queue::ClientId;

/// The client's number. `seed` is the process's own, so that nobody can choose an address that shares another's number.
pub(super) fn client_id(
    key: Option<&KeyName>,
    address: Option<IpAddr>,
    seed: &RandomState,
) -> ClientId {
    match (key, address) {
        (Some(key), _) => ClientId(seed.hash_one(key)),
        (None, Some(address)) => ClientId(seed.hash_one(network(address))),
        (None, None) => ClientId::LOCAL,
    }
}

/// What one client may have many of: of an IPv6 address only the network of 64 bits counts, because that is the least
/// that a site gets (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(address: &str, seed: &RandomState) -> ClientId {
        client_id(None, Some(address.parse().expect("an address")), seed)
    }

    #[test]
    fn client_is_its_address_or_its_network() {
        let seed = RandomState::new();
        let one = id("192.0.2.1", &seed);
        assert_eq!(one, id("::ffff:192.0.2.1", &seed));
        assert_ne!(one, id("192.0.2.2", &seed));
        assert_eq!(id("2001:db8::1", &seed), id("2001:db8::f:2", &seed));
        assert_ne!(id("2001:db8::1", &seed), id("2001:db8:0:1::1", &seed));
        assert_ne!(one, id("192.0.2.1", &RandomState::new()));
    }

    #[test]
    fn client_with_a_key_is_its_key_wherever_it_is() {
        let seed = RandomState::new();
        let key = KeyName("shop".into());
        let with_key = |address: &str| {
            client_id(
                Some(&key),
                Some(address.parse().expect("an address")),
                &seed,
            )
        };
        assert_eq!(with_key("192.0.2.1"), with_key("198.51.100.7"));
        assert_ne!(with_key("192.0.2.1"), id("192.0.2.1", &seed));
    }
}
