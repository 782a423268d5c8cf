//! The host names that a service accepts if it listens on a loopback address or if its settings list its names.
//!
//! This prevents DNS rebinding. A page of another site cannot read a local service's responses unless the site's name is made
//! to resolve to this machine while the page is open; the browser then treats page and service as one origin. The request
//! still contains the site's name. A service that listens on another address, as in a container, does not know its names
//! unless its settings list them. Without a list it accepts every name.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::HOST;
use tokio::net::TcpListener;

const REFUSAL: &str = "this host name is not accepted: use localhost or an IP address, or add the name to this service's \
     host_names (HOST_NAMES with docker compose)";

/// The accepted names. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// Names in addition to this machine's. `None`: every name is accepted.
    named: Option<Arc<[String]>>,
}

impl Hosts {
    /// The names this listener accepts: this machine's names and `names`, or every name if it is not on a loopback address
    /// and `names` is empty.
    #[must_use]
    pub fn of(listener: &TcpListener, names: &[String]) -> Self {
        let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        Self { named: (is_loopback || !names.is_empty()).then(|| names.into()) }
    }

    /// The reason if a request's host name is not accepted. A request without a host name does not come from a browser and
    /// is accepted.
    #[must_use]
    pub fn refusal(&self, headers: &HeaderMap) -> Option<&'static str> {
        let named = self.named.as_ref()?;
        let is_known = |name: &str| {
            is_of_this_machine(name) || named.iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        let is_good = |host: &str| is_known(name_of(host));
        let is_answered = headers.get_all(HOST).iter().all(|host| host.to_str().is_ok_and(is_good));
        (!is_answered).then_some(REFUSAL)
    }
}

/// The host without its port, and an IPv6 address without its brackets.
fn name_of(host: &str) -> &str {
    let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = port.map_or(host, |(name, _)| name);
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

/// Browsers resolve `localhost` and its subdomains themselves, and do not resolve an address, so these cannot be rebound.
fn is_of_this_machine(name: &str) -> bool {
    let last = name.rsplit_once('.').map_or(name, |(_, last)| last);
    last.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(named: Option<&[&str]>, hosts: &[&str]) -> bool {
        let named = named.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().unwrap());
        }
        Hosts { named }.refusal(&headers).is_some()
    }

    #[test]
    fn names_of_this_machine_and_listed_names_are_accepted() {
        for good in [
            "localhost",
            "LOCALHOST:1",
            "a.localhost:80",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.0.0.1",
            "b.example",
        ] {
            assert!(!refuses(Some(&["b.example"]), &[good]), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
            "",
            ":80",
        ] {
            assert!(refuses(Some(&["b.example"]), &[bad]), "{bad}");
        }
        assert!(refuses(Some(&[]), &["localhost", "evil.example"]));
        assert!(!refuses(Some(&[]), &[]));
        assert!(!refuses(None, &["evil.example"]));
    }
}
