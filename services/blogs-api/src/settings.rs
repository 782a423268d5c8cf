//! Every setting of the Blogs API. Defaults and reasons stand in `config/default.toml` and
//! `config/blogs-api.toml`; a bound that makes no sense stops the start with a sentence that says what to
//! change.

use anyhow::{Context, ensure};
use axum::http::HeaderValue;
use runtime::settings::LogSettings;
use serde::Deserialize;
use web::settings::{DocsSettings, HttpSettings, RequestSettings};

use crate::auth::{PasswordSettings, TokenSettings};
use crate::bounds::within;
use crate::limits::RateSettings;

/// The defaults of this service, as they stand in `config/blogs-api.toml`.
pub const DEFAULTS: &str = include_str!("../../../config/blogs-api.toml");

/// Most bytes of a blog's body, as Markdown.
pub(crate) const BODY_BYTES_MAX: usize = 256 * 1024;

/// What can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to listen.
    pub http: HttpSettings,
    /// Whether the API's documentation is served.
    pub docs: DocsSettings,
    /// What to log.
    pub log: LogSettings,
    /// Where traces go.
    pub traces: runtime::traces::TraceSettings,
    /// Postgres, under the role `blogs_api`.
    pub database: database::Settings,
    /// RabbitMQ.
    pub broker: broker::Settings,
    /// How engagement is accepted.
    pub engagement: crate::acceptance::Settings,
    /// The relay that empties the outbox.
    pub relay: crate::outbox::relay::Settings,
    /// What a request may cost.
    pub requests: RequestSettings,
    /// The bodies that may be longer than `requests.body_bytes_max`.
    pub bodies: BodySettings,
    /// Bearer tokens.
    pub tokens: TokenSettings,
    /// Password hashing.
    pub passwords: PasswordSettings,
    /// Accounts.
    pub accounts: AccountSettings,
    /// Rate limits.
    pub rate_limits: RateSettings,
    /// Which web pages may call the API.
    pub cors: CorsSettings,
    /// The pages that readers see.
    pub pages: PageSettings,
}

/// The `[bodies]` section: routes whose bodies may be longer than `requests.body_bytes_max`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodySettings {
    /// Longest body that creates or changes a blog, in bytes.
    pub blog_bytes_max: usize,
    /// Longest batch of events, in bytes.
    pub batch_bytes_max: usize,
}

impl BodySettings {
    fn validate(self, requests: &RequestSettings) -> anyhow::Result<()> {
        // JSON writes some characters in more bytes than Markdown has.
        within("bodies.blog_bytes_max", self.blog_bytes_max, 2 * BODY_BYTES_MAX..=64 << 20)?;
        within("bodies.batch_bytes_max", self.batch_bytes_max, 1..=64 << 20)?;
        let largest = self.blog_bytes_max.max(self.batch_bytes_max);
        requests.check_body("the larger key of [bodies]", largest).map_err(anyhow::Error::msg)
    }
}

/// The `[accounts]` section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSettings {
    /// How many days after its deletion an account comes back by signing in.
    pub deletion_grace_days: i32,
}

impl AccountSettings {
    /// Checks the bounds.
    ///
    /// # Errors
    /// A sentence that says what to change.
    fn validate(self) -> anyhow::Result<()> {
        within("accounts.deletion_grace_days", self.deletion_grace_days, 1..=365)
    }
}

/// The `[pages]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageSettings {
    /// Whether readers reach the pages over TLS: then the cookie of a session travels no other way, and browsers are told to
    /// come no other way.
    pub secure_cookies: bool,
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
        self.requests.validate(self.base_bytes()).map_err(anyhow::Error::msg)?;
        self.bodies.validate(&self.requests)?;
        self.accounts.validate()?;
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

    /// Memory besides requests and connections: password hashes that run at the same time, and the process itself with the
    /// events that wait to be published (16 MiB).
    fn base_bytes(&self) -> usize {
        let hash = usize::try_from(self.passwords.memory_kib).unwrap_or(usize::MAX).saturating_mul(1024);
        hash.saturating_mul(self.passwords.running_max).saturating_add(48 << 20)
    }
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
