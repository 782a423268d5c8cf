//! What a request may cost. The defaults and their reasons stand in each service's own file in `config/`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::http::HeaderValue;
use ipnet::IpNet;
use runtime::http::WINDOW;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// `Strict-Transport-Security` of a site that is reached over TLS: for two years browsers come no other way.
pub const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// The `[http]` section of a service that is reached by others than its operators.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Where `/metrics` and `/readyz` are served. None: on `address`.
    #[serde(deserialize_with = "address_or_none")]
    pub operations_address: Option<SocketAddr>,
}

impl HttpSettings {
    /// Where `/readyz` is served.
    #[must_use]
    pub fn readiness(&self) -> SocketAddr {
        self.operations_address.unwrap_or(self.address)
    }
}

/// The `[docs]` section of an API.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocsSettings {
    /// Whether `/docs` and `/openapi.json` are served on `http.address`.
    pub enabled: bool,
}

/// An address; none where the text is empty.
fn address_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = (!text.is_empty()).then(|| text.parse()).transpose();
    address.map_err(|_| D::Error::custom("must be an address and a port, such as 127.0.0.1:9080, or empty"))
}

/// The `[requests]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestSettings {
    /// Longest body that is read, in bytes, on routes that do not need a longer one.
    pub body_bytes_max: usize,
    /// Least rate at which a body arrives while it is waited for, in bytes a second.
    pub body_rate_min: u32,
    /// Most bytes of bodies and of large answers that are held in memory.
    pub held_bytes_max: usize,
    /// Of these, most bytes of one client address.
    pub held_bytes_per_address_max: usize,
    /// A request that takes longer is answered 503, in milliseconds.
    pub timeout_ms: u64,
    /// Requests that are worked on at the same time; more are answered 503.
    pub concurrent_max: usize,
    /// Connections that are open at the same time; more wait to be taken.
    pub connections_max: usize,
    /// Of these, most connections of one address; more are closed.
    pub connections_per_address_max: usize,
    /// The kernel's send buffer of a connection, in bytes.
    pub send_buffer_bytes: usize,
    /// Least rate at which an answer is read, in bytes a second.
    pub answer_rate_min: u32,
    /// Longest time for the head of a request to arrive, in milliseconds.
    pub head_timeout_ms: u64,
    /// After the signal to end, requests under way have this long, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Proxies whose `X-Forwarded-For` is believed, as networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<IpNet>,
    /// Names that are answered besides those of this machine, without ports, in lower case.
    pub host_names: Vec<String>,
}

impl RequestSettings {
    /// Longest time for one request.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> Result<(), String> {
        within("body_bytes_max", wide(self.body_bytes_max), 1..=64 << 20)?;
        within("timeout_ms", self.timeout_ms, 100..=300_000)?;
        within("concurrent_max", wide(self.concurrent_max), 1..=1_000_000)?;
        within("connections_max", wide(self.connections_max), 1..=1_000_000)?;
        let of_address = wide(self.connections_per_address_max);
        within("connections_per_address_max", of_address, 1..=wide(self.connections_max))?;
        within("body_rate_min", self.body_rate_min.into(), 1..=1 << 30)?;
        within("answer_rate_min", self.answer_rate_min.into(), 1024..=1 << 30)?;
        // The kernel wakes a writer when a third of its buffer, of twice this size, is free again.
        let window_bytes = u64::from(self.answer_rate_min) * WINDOW.as_secs();
        within("send_buffer_bytes", wide(self.send_buffer_bytes), 4096..=window_bytes)?;
        self.check_held(runtime::memory::limit())?;
        within("head_timeout_ms", self.head_timeout_ms, 100..=300_000)?;
        if !(self.timeout_ms..=600_000).contains(&self.drain_timeout_ms) {
            return Err(format!(
                "requests.drain_timeout_ms must be from requests.timeout_ms ({}) to 600000, so that requests under way can end",
                self.timeout_ms
            ));
        }
        Ok(())
    }

    /// Bodies of this length must fit into what one address may hold, twice: in one piece and in the pieces that it came
    /// in.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn check_body(&self, key: &str, bytes_max: usize) -> Result<(), String> {
        let share = self.held_bytes_per_address_max;
        if bytes_max.saturating_mul(2) <= share {
            return Ok(());
        }
        Err(format!(
            "requests.held_bytes_per_address_max is {share} and must be at least twice {key} ({bytes_max}), so that a body \
             of the greatest length fits"
        ))
    }

    /// A body that is read is there up to four times: in pieces, in one, parsed, and in what is sent on.
    fn check_held(&self, memory_limit: Option<u64>) -> Result<(), String> {
        self.check_body("requests.body_bytes_max", self.body_bytes_max)?;
        let held = wide(self.held_bytes_max);
        let share = wide(self.held_bytes_per_address_max);
        within("held_bytes_per_address_max", share, 1..=wide(self.held_bytes_max))?;
        match memory_limit {
            Some(limit) if held > limit / 4 => Err(format!(
                "requests.held_bytes_max is {held} and must be at most {}, a quarter of this process's memory limit \
                 ({limit} bytes): lower it, or raise the limit",
                limit / 4
            )),
            _ => Ok(()),
        }
    }
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn within(key: &str, value: u64, range: RangeInclusive<u64>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = range.into_inner();
    Err(format!("requests.{key} must be from {low} to {high}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_requests_hold_fits_into_the_memory_limit() {
        let settings = RequestSettings {
            body_bytes_max: 1000,
            body_rate_min: 1000,
            held_bytes_max: 1 << 20,
            held_bytes_per_address_max: 1 << 18,
            timeout_ms: 1000,
            concurrent_max: 10,
            connections_max: 10,
            connections_per_address_max: 5,
            send_buffer_bytes: 8000,
            answer_rate_min: 1024,
            head_timeout_ms: 1000,
            drain_timeout_ms: 1000,
            trusted_proxies: Vec::new(),
            host_names: Vec::new(),
        };
        settings.validate().unwrap();
        for fits in [None, Some(u64::MAX), Some(4 << 20)] {
            settings.check_held(fits).unwrap();
        }
        let refused = settings.check_held(Some((4 << 20) - 1)).unwrap_err();
        assert!(
            refused.starts_with("requests.held_bytes_max is 1048576 and must be at most 1048575"),
            "{refused}"
        );
        for (wrong, key) in [
            (
                RequestSettings { held_bytes_per_address_max: 1999, ..settings.clone() },
                "held_bytes_per_address_max",
            ),
            (RequestSettings { held_bytes_max: 1 << 17, ..settings.clone() }, "held_bytes_per_address_max"),
            (RequestSettings { send_buffer_bytes: 8193, ..settings.clone() }, "send_buffer_bytes"),
            (
                RequestSettings { connections_per_address_max: 11, ..settings.clone() },
                "connections_per_address_max",
            ),
        ] {
            let refused = wrong.validate().unwrap_err();
            assert!(refused.contains(key), "{refused}");
        }
    }
}
