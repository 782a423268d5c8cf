//! Determines the client's network address.
//!
//! Behind a proxy, every connection comes from the proxy and the client's address is in `X-Forwarded-For`: each proxy
//! appends the address that called it. Any client can send that header, so it is read from the right and trusted only as
//! far as our own proxies wrote it. The first address, starting with the peer, that is not in `requests.trusted_proxies` is
//! the client's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

use crate::problem::{Problem, Result};

/// Maximum number of `X-Forwarded-For` entries to read, from the right. No chain of our own proxies is longer.
const HOPS_MAX: usize = 32;

/// The client's address. IPv4-mapped IPv6 addresses are converted to IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// The networks of our own proxies (`requests.trusted_proxies`), as part of a service's state.
#[derive(Debug, Clone)]
pub struct TrustedProxies(pub Arc<[IpNet]>);

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress
where
    TrustedProxies: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else {
            // This happens only if a listener does not provide the peer's address.
            return Err(Problem::unavailable("the client's address is unknown", 1));
        };
        let TrustedProxies(trusted) = TrustedProxies::from_ref(state);
        Ok(Self(client(peer.ip(), &parts.headers, &trusted)))
    }
}

/// The first address from the right that is not one of our proxies. An invalid entry ends the chain: the client is then the
/// proxy that forwarded it.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let entries = headers.get_all("x-forwarded-for").iter().rev();
    let entries = entries.flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','));
    for entry in entries.take(HOPS_MAX) {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = address(entry) else { break };
        client = address;
    }
    client
}

/// Reads `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXIES: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = PROXIES.iter().map(|network| network.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn without_a_proxy_the_peer_is_the_client() {
        assert_eq!(seen("192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn readers_behind_one_proxy_have_separate_addresses() {
        assert_eq!(seen("10.1.1.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(seen("10.1.1.1", &["192.0.2.2"]), "192.0.2.2");
    }

    #[test]
    fn a_header_from_an_untrusted_peer_is_ignored() {
        assert_eq!(seen("203.0.113.9", &["192.0.2.1"]), "203.0.113.9");
    }

    #[test]
    fn entries_left_of_our_proxies_are_not_trusted() {
        assert_eq!(seen("10.1.1.1", &["8.8.8.8, 192.0.2.1, 10.2.2.2"]), "192.0.2.1");
        assert_eq!(seen("10.1.1.1", &["8.8.8.8", "192.0.2.1, 10.2.2.2"]), "192.0.2.1");
    }

    #[test]
    fn if_all_entries_are_proxies_the_leftmost_is_the_client() {
        assert_eq!(seen("10.1.1.1", &["10.3.3.3, 10.2.2.2"]), "10.3.3.3");
    }

    #[test]
    fn ports_brackets_and_both_address_families_are_parsed() {
        assert_eq!(seen("10.1.1.1", &["192.0.2.1:4711"]), "192.0.2.1");
        assert_eq!(seen("fd00::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(seen("fd00::1", &["[2001:db8::7]:443"]), "2001:db8::7");
        assert_eq!(seen("fd00::1", &["\"[2001:db8::7]\""]), "2001:db8::7");
        assert_eq!(seen("::ffff:10.1.1.1", &["::ffff:192.0.2.1"]), "192.0.2.1");
    }

    #[test]
    fn garbage_ends_the_chain() {
        for garbage in ["", "unknown", "_hidden", "1.2.3", "fe80::1%eth0", "192.0.2.1:port", ",,,", "[::1"] {
            assert_eq!(seen("10.1.1.1", &[garbage]), "10.1.1.1", "{garbage}");
            assert_eq!(seen("10.1.1.1", &[&format!("192.0.2.1, {garbage}")]), "10.1.1.1", "{garbage}");
            assert_eq!(seen("10.1.1.1", &[&format!("{garbage}, 192.0.2.1")]), "192.0.2.1", "{garbage}");
        }
    }

    #[test]
    fn only_the_last_entries_of_a_long_chain_are_read() {
        let chain = vec!["10.2.2.2"; 1000].join(",");
        assert_eq!(seen("10.1.1.1", &[&format!("192.0.2.1,{chain}")]), "10.2.2.2");
    }
}
