//! The limits of requests. The defaults and their reasons are in each service's file in `config/`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use ipnet::IpNet;
use runtime::http::{CONNECTIONS_OF_OPERATIONS, HEAD_BYTES_MAX, RECEIVE_BUFFER_BYTES, WINDOW};
use runtime::settings::{Bound, at_least, bound};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// `Strict-Transport-Security` for a site with TLS: for two years browsers use only HTTPS.
pub const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// The `[http]` section of a service that serves clients other than its operators.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port. Port 0 means any free port.
    pub address: SocketAddr,
    /// The address of `/metrics` and `/readyz`. `None` means `address`.
    #[serde(deserialize_with = "address_or_none")]
    pub operations_address: Option<SocketAddr>,
}

impl HttpSettings {
    /// The address of `/readyz`.
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

/// An address, or `None` if the text is empty.
fn address_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = (!text.is_empty()).then(|| text.parse()).transpose();
    address.map_err(|_| D::Error::custom("must be an address and a port, such as 127.0.0.1:9080, or empty"))
}

/// Responses of at least this size are counted, in bytes.
pub const LARGE_ANSWER: usize = 32 * 1024;
/// A client network may use at most this fraction of connections, bodies and responses, so that a few networks cannot use
/// everything.
const SHARES_MIN: usize = 16;
/// A body can be in memory up to four times: in chunks, joined, parsed, and in the outgoing message.
const BODY_COPIES: usize = 4;

/// Bounds of the `[requests]` section.
pub const BOUNDS: &[Bound] = &[
    bound("requests.body_bytes_max", 1..=64 << 20),
    bound("requests.body_rate_min", 1..=1 << 30),
    bound("requests.held_bytes_max", 1..=1 << 40),
    bound("requests.held_bytes_per_address_max", 1..=1 << 40),
    bound("requests.answer_bytes_max", 1 << 19..=1 << 40),
    bound("requests.timeout_ms", 100..=300_000),
    bound("requests.concurrent_max", 1..=1_000_000),
    bound("requests.connections_max", 1..=1_000_000),
    bound("requests.connections_per_address_max", 1..=1_000_000),
    at_least("requests.send_buffer_bytes", 4096),
    bound("requests.answer_rate_min", 1024..=1 << 30),
    bound("requests.head_timeout_ms", 100..=300_000),
    bound("requests.drain_timeout_ms", 1..=600_000),
];

/// The `[requests]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestSettings {
    /// Maximum length of a body in bytes, except on routes that need longer ones.
    pub body_bytes_max: usize,
    /// Minimum rate at which a body must arrive, in bytes a second.
    pub body_rate_min: u32,
    /// Maximum bytes of bodies in memory.
    pub held_bytes_max: usize,
    /// Of these, maximum bytes of one client address.
    pub held_bytes_per_address_max: usize,
    /// Maximum bytes of large responses in memory.
    pub answer_bytes_max: usize,
    /// Time limit of a request in milliseconds; then the response is 503.
    pub timeout_ms: u64,
    /// Maximum concurrent requests; further requests are answered with 503.
    pub concurrent_max: usize,
    /// Maximum open connections. A further connection closes the one that has been idle longest.
    pub connections_max: usize,
    /// Of these, maximum connections of one address; further ones are closed.
    pub connections_per_address_max: usize,
    /// The size of a connection's send buffer in the kernel, in bytes.
    pub send_buffer_bytes: usize,
    /// Minimum rate at which a client must read a response, in bytes a second.
    pub answer_rate_min: u32,
    /// Maximum time for the head of a request to arrive, in milliseconds.
    pub head_timeout_ms: u64,
    /// Maximum time for requests to finish after the shutdown signal, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Proxies whose `X-Forwarded-For` is trusted, as networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<IpNet>,
    /// Accepted host names in addition to those of this machine, in lower case and without ports.
    pub host_names: Vec<String>,
}

impl RequestSettings {
    /// Maximum time for one request.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Checks the rules between several settings. `base_bytes` is the memory of this process without requests and
    /// connections.
    ///
    /// # Errors
    /// A message that says what to change.
    pub fn validate(&self, base_bytes: usize) -> Result<(), String> {
        let of_address = wide(self.connections_per_address_max);
        let share_max = wide((self.connections_max / SHARES_MIN).max(1));
        at_most("connections_per_address_max", of_address, share_max)?;
        // The kernel's buffer has twice this size. It wakes a writer when a third of the buffer is free again.
        let window_bytes = u64::from(self.answer_rate_min) * WINDOW.as_secs();
        at_most("send_buffer_bytes", wide(self.send_buffer_bytes), window_bytes)?;
        self.check_host_names()?;
        self.check_held()?;
        self.check_memory(base_bytes, runtime::memory::limit())?;
        runtime::open_files::check(wide(self.connections_max.saturating_add(CONNECTIONS_OF_OPERATIONS)))?;
        if self.drain_timeout_ms < self.timeout_ms {
            return Err(format!(
                "requests.drain_timeout_ms must be at least requests.timeout_ms ({}), so that running requests can finish",
                self.timeout_ms
            ));
        }
        Ok(())
    }

    /// Maximum bytes of large responses of one client address.
    pub(crate) fn answer_share(&self) -> usize {
        self.answer_bytes_max / SHARES_MIN
    }

    /// Maximum bytes of bodies beyond the first `body_bytes_max` bytes, which every request may use.
    pub(crate) fn long_bodies_max(&self) -> usize {
        self.held_bytes_max.saturating_sub(self.short_bodies_max())
    }

    fn short_bodies_max(&self) -> usize {
        self.concurrent_max.min(self.connections_max).saturating_mul(self.body_bytes_max)
    }

    /// Checks that a body of this length fits twice into the limit of one address: joined, and in the chunks it arrived in.
    ///
    /// # Errors
    /// A message that says what to change.
    pub fn check_body(&self, key: &str, bytes_max: usize) -> Result<(), String> {
        let share = self.held_bytes_per_address_max;
        if bytes_max.saturating_mul(2) <= share {
            return Ok(());
        }
        Err(format!(
            "requests.held_bytes_per_address_max is {share} but must be at least twice {key} ({bytes_max}), so that a body \
             of maximum length fits"
        ))
    }

    /// A name in upper case or with a port would never match a request's host name.
    fn check_host_names(&self) -> Result<(), String> {
        let is_name = |name: &str| {
            let is_of_name =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
            !name.is_empty() && name.bytes().all(is_of_name)
        };
        match self.host_names.iter().find(|name| !is_name(name)) {
            Some(name) => Err(format!(
                "requests.host_names: {name:?} must be a lower-case name without a port, such as example.org"
            )),
            None => Ok(()),
        }
    }

    fn check_held(&self) -> Result<(), String> {
        self.check_body("requests.body_bytes_max", self.body_bytes_max)?;
        let share_max = wide(self.held_bytes_max / SHARES_MIN);
        at_most("held_bytes_per_address_max", wide(self.held_bytes_per_address_max), share_max)?;
        let short = self.short_bodies_max();
        if self.held_bytes_max / 2 < short {
            return Err(format!(
                "requests.held_bytes_max is {} but must be at least {}, twice what short bodies take (body_bytes_max for each \
                 of concurrent_max requests)",
                self.held_bytes_max,
                short.saturating_mul(2)
            ));
        }
        Ok(())
    }

    /// Checks that all memory that clients can make this process and the kernel use fits into the memory limit.
    fn check_memory(&self, base_bytes: usize, memory_limit: Option<u64>) -> Result<(), String> {
        let bodies = self.held_bytes_max.saturating_mul(BODY_COPIES);
        // The kernel doubles the sizes of its buffers.
        let kernel = self.send_buffer_bytes.saturating_add(RECEIVE_BUFFER_BYTES).saturating_mul(2);
        let connection = kernel.saturating_add(HEAD_BYTES_MAX).saturating_add(LARGE_ANSWER);
        let count = self.connections_max.saturating_add(CONNECTIONS_OF_OPERATIONS);
        let connections = count.saturating_mul(connection);
        let sum = [bodies, self.answer_bytes_max, connections, base_bytes]
            .into_iter()
            .fold(0, usize::saturating_add);
        match memory_limit {
            Some(limit) if wide(sum) > limit => Err(format!(
                "this process may need {sum} bytes, but its memory limit is {limit}: {BODY_COPIES} times \
                 requests.held_bytes_max ({bodies}), requests.answer_bytes_max ({}), {connection} for each of \
                 requests.connections_max and {CONNECTIONS_OF_OPERATIONS} operations connections ({connections}), and \
                 {base_bytes} for the rest. Lower these settings, or raise the limit",
                self.answer_bytes_max
            )),
            _ => Ok(()),
        }
    }
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn at_most(key: &str, value: u64, most: u64) -> Result<(), String> {
    if value <= most { Ok(()) } else { Err(format!("requests.{key} must be at most {most}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RequestSettings {
        RequestSettings {
            body_bytes_max: 1000,
            body_rate_min: 1000,
            held_bytes_max: 1 << 20,
            held_bytes_per_address_max: 1 << 16,
            answer_bytes_max: 1 << 20,
            timeout_ms: 1000,
            concurrent_max: 10,
            connections_max: 32,
            connections_per_address_max: 2,
            send_buffer_bytes: 8192,
            answer_rate_min: 1024,
            head_timeout_ms: 1000,
            drain_timeout_ms: 1000,
            trusted_proxies: Vec::new(),
            host_names: Vec::new(),
        }
    }

    #[test]
    fn memory_that_clients_can_use_must_fit_into_the_memory_limit() {
        let settings = settings();
        settings.validate(0).unwrap();
        // Bodies four times, responses, 32 + 128 connections of 112 KiB, and 1000 bytes for the rest.
        let sum = (5 << 20) + 160 * (16 + 32 + 32 + 32) * 1024 + 1000;
        for fits in [None, Some(u64::MAX), Some(sum)] {
            settings.check_memory(1000, fits).unwrap();
        }
        let refused = settings.check_memory(1000, Some(sum - 1)).unwrap_err();
        assert!(refused.starts_with(&format!("this process may need {sum} bytes")), "{refused}");
        assert!(refused.contains("requests.connections_max"), "{refused}");
    }

    #[test]
    fn host_names_are_names_in_lower_case_without_ports() {
        let with =
            |name: &str| RequestSettings { host_names: vec![name.to_owned()], ..settings() }.validate(0);
        with("blog.example.org").unwrap();
        for wrong in ["Blog.example.org", "example.org:443", "https://example.org", ""] {
            let refused = with(wrong).unwrap_err();
            assert!(refused.starts_with("requests.host_names"), "{refused}");
        }
    }

    #[test]
    fn no_share_is_more_than_a_sixteenth_and_short_bodies_have_room() {
        for (wrong, key) in [
            (
                RequestSettings { held_bytes_per_address_max: 1999, ..settings() },
                "held_bytes_per_address_max",
            ),
            (
                RequestSettings { held_bytes_per_address_max: (1 << 16) + 1, ..settings() },
                "held_bytes_per_address_max",
            ),
            (
                RequestSettings { concurrent_max: 1000, connections_max: 1000, ..settings() },
                "twice what short bodies take",
            ),
            (RequestSettings { send_buffer_bytes: 8193, ..settings() }, "send_buffer_bytes"),
            (
                RequestSettings { connections_per_address_max: 3, ..settings() },
                "connections_per_address_max must be at most 2",
            ),
        ] {
            let refused = wrong.validate(0).unwrap_err();
            assert!(refused.contains(key), "{refused}");
        }
        RequestSettings { connections_max: 4, connections_per_address_max: 1, ..settings() }
            .validate(0)
            .unwrap();
    }
}
