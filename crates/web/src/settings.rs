//! What a request may cost. The defaults and their reasons stand in each service's own file in `config/`.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::http::HeaderValue;
use ipnet::IpNet;
use serde::Deserialize;

/// `Strict-Transport-Security` of a site that is reached over TLS: for two years browsers come no other way.
pub const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// The `[requests]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestSettings {
    /// Longest body that is read, in bytes.
    pub body_bytes_max: usize,
    /// A request that takes longer is answered 503, in milliseconds.
    pub timeout_ms: u64,
    /// Requests that are worked on at the same time; more are answered 503.
    pub concurrent_max: usize,
    /// Connections that are open at the same time; more wait to be taken.
    pub connections_max: usize,
    /// Longest time for the head of a request to arrive, in milliseconds.
    pub head_timeout_ms: u64,
    /// After the signal to end, requests under way have this long, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Proxies whose `X-Forwarded-For` is believed, as networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<IpNet>,
    /// Names that a service on a loopback address answers to besides those of this machine, without ports, in lower case.
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
        within("head_timeout_ms", self.head_timeout_ms, 100..=300_000)?;
        if !(self.timeout_ms..=600_000).contains(&self.drain_timeout_ms) {
            return Err(format!(
                "requests.drain_timeout_ms must be from requests.timeout_ms ({}) to 600000, so that requests under way can end",
                self.timeout_ms
            ));
        }
        Ok(())
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
