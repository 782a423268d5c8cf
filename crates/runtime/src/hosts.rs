//! Names that a service answers if it listens on a loopback address or its settings list its names.
//!
//! A page of another site cannot read what such a service answers, unless the name of that site is made to lead to this
//! machine while the page is open (DNS rebinding): to the browser, page and service are then of one origin. The request
//! still says the name of the site. A service that listens elsewhere, as in a container, does not know its names unless its
//! settings list them; without a list it answers every name.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::HOST;
use tokio::net::TcpListener;

const REFUSAL: &str = "ask for this by localhost or an address; other names must be in this service's host_names (HOST_NAMES \
     with docker compose)";

/// The names that are answered; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// Besides those of this machine. `None`: every name is.
    named: Option<Arc<[String]>>,
}

impl Hosts {
    /// What this listener answers to: this machine's names and `names`, or every name if it is on no loopback address and has
    /// no `names`.
    #[must_use]
    pub fn of(listener: &TcpListener, names: &[String]) -> Self {
        let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        Self { named: (is_loopback || !names.is_empty()).then(|| names.into()) }
    }

    /// Why a request for a name that is not of this machine is refused. A request without a name comes from no browser.
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

/// A host without its port, an IPv6 address without its brackets.
fn name_of(host: &str) -> &str {
    let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = port.map_or(host, |(name, _)| name);
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

/// A browser resolves `localhost` and the names below it by itself, and an address not at all.
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
    fn names_of_this_machine_and_named_ones_are_answered() {
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
