//! The networks by which limits are counted.

use std::net::{IpAddr, Ipv6Addr};

/// All networks of one delegation together may use this many times the share of a single network.
pub const DELEGATION_FACTOR: u32 = 4;

/// The network that counts as one client: an IPv4 address, or the /64 of an IPv6 address.
#[must_use]
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => network(address, 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// The /56 of an IPv6 address. It contains 256 networks, the most that a provider usually assigns to one customer.
#[must_use]
pub fn delegation(address: IpAddr) -> Option<Ipv6Addr> {
    match address.to_canonical() {
        IpAddr::V6(address) => Some(network(address, 56)),
        IpAddr::V4(_) => None,
    }
}

fn network(address: Ipv6Addr, prefix: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_has_a_household_and_a_delegation() {
        let of = |text: &str| {
            let address = text.parse().unwrap();
            (household(address).to_string(), delegation(address).map(|network| network.to_string()))
        };
        assert_eq!(of("2001:db8:0:1ff::1"), ("2001:db8:0:1ff::".into(), Some("2001:db8:0:100::".into())));
        assert_eq!(of("::ffff:192.0.2.1"), ("192.0.2.1".into(), None));
        assert_eq!(of("192.0.2.1"), ("192.0.2.1".into(), None));
    }
}
