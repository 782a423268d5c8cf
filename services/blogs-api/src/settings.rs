//! Every setting of the Blogs API. Defaults and reasons stand in `config/default.toml` and
//! `config/blogs-api.toml`; a bound that makes no sense stops the start with a sentence that says what to
//! change.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::http::HeaderValue;
use ipnet::IpNet;
use runtime::settings::{HttpSettings, LogSettings};
use serde::Deserialize;

use crate::auth::{PasswordSettings, TokenSettings};
use crate::blogs::BODY_BYTES_MAX;
use crate::limits::RateSettings;

/// The defaults of this service, as they stand in `config/blogs-api.toml`.
pub const DEFAULTS: &str = include_str!("../../../config/blogs-api.toml");

/// What can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to listen.
    pub http: HttpSettings,
    /// What to log.
    pub log: LogSettings,
    /// Postgres, under the role `blogs_api`.
    pub database: database::Settings,
    /// RabbitMQ.
    pub broker: broker::Settings,
    /// How engagement is accepted.
    pub engagement: crate::engagement::Settings,
    /// The relay that empties the outbox.
    pub relay: crate::relay::Settings,
    /// What a request may cost.
    pub requests: RequestSettings,
    /// Bearer tokens.
    pub tokens: TokenSettings,
    /// Password hashing.
    pub passwords: PasswordSettings,
    /// Rate limits.
    pub rate_limits: RateSettings,
    /// Which web pages may call the API.
    pub cors: CorsSettings,
    /// The pages that readers see.
    pub pages: crate::pages::Settings,
}

/// What a request may cost.
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
}

/// Which web pages may call the API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSettings {
    /// Exact origins, such as `https://example.org`. Empty: none, and no CORS header is ever sent.
    pub allowed_origins: Vec<String>,
}

impl Settings {
    /// Checks the bounds that no part checks for itself.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.database.validate()?;
        self.broker.validate()?;
        self.requests.validate()?;
        ensure!(
            self.engagement.accept_timeout_ms < self.requests.timeout_ms,
            "engagement.accept_timeout_ms is {} and must be below requests.timeout_ms ({}), so that who waits for a \
             promise is told of it",
            self.engagement.accept_timeout_ms,
            self.requests.timeout_ms
        );
        self.rate_limits.validate().map_err(anyhow::Error::msg)?;
        self.cors.origins().map(drop)
    }
}

impl RequestSettings {
    /// Longest time for one request.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    fn validate(&self) -> anyhow::Result<()> {
        // JSON writes some characters in more bytes than Markdown has.
        let body_bytes_min = 2 * BODY_BYTES_MAX;
        ensure!(
            (body_bytes_min..=64 << 20).contains(&self.body_bytes_max),
            "requests.body_bytes_max must be from {body_bytes_min}, so that a blog of the greatest length fits, to 67108864"
        );
        ensure!((100..=300_000).contains(&self.timeout_ms), "requests.timeout_ms must be from 100 to 300000");
        ensure!(
            (1..=1_000_000).contains(&self.concurrent_max),
            "requests.concurrent_max must be from 1 to 1000000"
        );
        ensure!(
            (1..=1_000_000).contains(&self.connections_max),
            "requests.connections_max must be from 1 to 1000000"
        );
        ensure!(
            (100..=300_000).contains(&self.head_timeout_ms),
            "requests.head_timeout_ms must be from 100 to 300000"
        );
        ensure!(
            (self.timeout_ms..=600_000).contains(&self.drain_timeout_ms),
            "requests.drain_timeout_ms must be from requests.timeout_ms ({}) to 600000, so that requests under way can end",
            self.timeout_ms
        );
        Ok(())
    }
}

/// Refuses a value outside of its range, with a sentence that names its key.
pub(crate) fn within<T>(key: &str, value: T, range: RangeInclusive<T>) -> anyhow::Result<()>
where
    T: PartialOrd + Display,
{
    let (low, high) = (range.start(), range.end());
    ensure!(range.contains(&value), "{key} is {value} and must be from {low} to {high}");
    Ok(())
}

impl CorsSettings {
    /// The origins as header values.
    ///
    /// # Errors
    /// A sentence that names the one that is no origin.
    pub fn origins(&self) -> anyhow::Result<Vec<HeaderValue>> {
        let origin = |text: &String| {
            let sentence = || {
                format!(
                    "cors.allowed_origins: {text:?} must be a scheme and a host, such as https://example.org"
                )
            };
            let host = text
                .strip_prefix("https://")
                .or_else(|| text.strip_prefix("http://"))
                .with_context(sentence)?;
            ensure!(!host.is_empty() && !host.contains(['/', '*', ' ', '?', '#', '@']), sentence());
            HeaderValue::from_str(text).with_context(sentence)
        };
        self.allowed_origins.iter().map(origin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        let origins = |text: &str| CorsSettings { allowed_origins: vec![text.to_owned()] }.origins();
        for good in ["https://example.org", "http://localhost:3000"] {
            assert_eq!(origins(good).unwrap(), [good]);
        }
        for bad in ["*", "example.org", "https://", "https://*.example.org", "https://example.org/", "null"] {
            assert!(origins(bad).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
