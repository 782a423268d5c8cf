//! The settings of the Blogs API. `config/default.toml` and `config/blogs-api.toml` have the defaults and their
//! reasons. Invalid values prevent the start, with an error that says what to change.

use anyhow::{Context, ensure};
use axum::http::HeaderValue;
use runtime::settings::{Bound, Defaults, LogSettings, bound};
use serde::Deserialize;
use web::settings::{DocsSettings, HttpSettings, RequestSettings};

use crate::acceptance::BATCH_EVENTS_MAX;
use crate::auth::{PasswordSettings, TokenSettings};
use crate::limits::RateSettings;

/// The defaults of this service, from `config/blogs-api.toml`.
pub const DEFAULTS: Defaults = Defaults::new(
    include_str!("../../../config/blogs-api.toml"),
    &[
        runtime::traces::BOUNDS,
        database::BOUNDS,
        broker::BOUNDS,
        ::engagement::BOUNDS,
        web::settings::BOUNDS,
        web::tokens::BOUNDS,
        web::limits::BOUNDS,
        BOUNDS,
    ],
);

/// The bounds of this service's settings.
const BOUNDS: &[Bound] = &[
    // JSON may need more bytes than Markdown for a character.
    bound("bodies.blog_bytes_max", 2 * BODY_BYTES_MAX as u64..=64 << 20),
    bound("bodies.batch_bytes_max", 1..=64 << 20),
    bound("tokens.lifetime_s", 60..=366 * 86_400),
    bound("passwords.memory_kib", 1024..=1_048_576),
    bound("passwords.passes", 1..=20),
    bound("passwords.running_max", 1..=64),
    bound("passwords.waiting_max", 1..=10_000),
    bound("passwords.tries_per_minute", 1..=10_000),
    bound("passwords.known_networks_max", 1..=10_000_000),
    bound("accounts.deletion_grace_days", 1..=365),
    bound("engagement.accept_timeout_ms", 1..=300_000),
    bound("engagement.batch_events_max", 1..=BATCH_EVENTS_MAX as u64),
    bound("engagement.series_buckets_max", 1..=1_000_000),
    bound("engagement.spill.away_ms", 0..=60_000),
    bound("engagement.spill.waiting_max", 1..=1024),
    bound("engagement.spill.insert_envelopes_max", 1..=1024),
    bound("engagement.spill.insert_every_ms", 0..=10_000),
    bound("engagement.spill.retry_pause_ms", 1..=10_000),
    bound("engagement.spill.outbox_envelopes_max", 1..=0xffff_ffff),
    bound("engagement.direct_batched.events_max", 1..=events::ENVELOPE_EVENTS_MAX as u64),
    bound("engagement.direct_batched.waiting_max", 1..=1_000_000),
    bound("engagement.direct_batched.transactions_max", 1..=500),
    bound("engagement.live_blogs.ids_max", 1..=100_000_000),
    bound("engagement.live_blogs.ttl_ms", 1..=3_600_000),
    bound("engagement.live_blogs.lookup_timeout_ms", 1..=300_000),
    bound("engagement.live_blogs.away_ms", 0..=300_000),
    bound("engagement.live_blogs.waiting_max", 1..=1_000_000),
    bound("engagement.live_blogs.lookup_ids_max", 1..=100_000),
    bound("relay.poll_ms", 1..=3_600_000),
    bound("relay.pause_max_ms", 1..=3_600_000),
    bound("relay.claim_envelopes_max", 1..=10_000),
    bound("relay.claim_bytes_max", 1..=1 << 30),
    bound("relay.publish_envelopes_max", 1..=1024),
    bound("relay.publish_timeout_ms", 1..=600_000),
    bound("relay.lease_ms", 1..=3_600_000),
];

/// Maximum length of a blog's body as Markdown, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 256 * 1024;

/// The settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The listeners.
    pub http: HttpSettings,
    /// Whether the API's documentation is served.
    pub docs: DocsSettings,
    /// Logging.
    pub log: LogSettings,
    /// Where traces are sent.
    pub traces: runtime::traces::TraceSettings,
    /// Postgres, under the role `blogs_api`.
    pub database: database::Settings,
    /// RabbitMQ.
    pub broker: broker::Settings,
    /// How engagement is accepted.
    pub engagement: crate::acceptance::Settings,
    /// The relay that empties the outbox.
    pub relay: crate::outbox::relay::Settings,
    /// Limits of a request.
    pub requests: RequestSettings,
    /// Limits of bodies that may be longer than `requests.body_bytes_max`.
    pub bodies: BodySettings,
    /// Bearer tokens.
    pub tokens: TokenSettings,
    /// Password hashing.
    pub passwords: PasswordSettings,
    /// Accounts.
    pub accounts: AccountSettings,
    /// Rate limits.
    pub rate_limits: RateSettings,
    /// The web origins that may call the API.
    pub cors: CorsSettings,
    /// The pages that readers see.
    pub pages: PageSettings,
}

/// The `[bodies]` section: limits for routes whose bodies may be longer than `requests.body_bytes_max`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodySettings {
    /// Maximum body of a request that creates or changes a blog, in bytes.
    pub blog_bytes_max: usize,
    /// Maximum batch of events, in bytes.
    pub batch_bytes_max: usize,
}

impl BodySettings {
    fn validate(self, requests: &RequestSettings) -> anyhow::Result<()> {
        let largest = self.blog_bytes_max.max(self.batch_bytes_max);
        requests.check_body("the larger key of [bodies]", largest).map_err(anyhow::Error::msg)
    }
}

/// The `[accounts]` section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSettings {
    /// Days after its deletion during which a sign-in restores an account.
    pub deletion_grace_days: i32,
}

/// The `[pages]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageSettings {
    /// Whether readers reach the pages over TLS. The session cookie is then sent over TLS only, and browsers are told
    /// to use TLS only.
    pub secure_cookies: bool,
}

/// The web origins that may call the API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSettings {
    /// Exact origins, such as `https://example.org`. Empty: none, and no CORS header is sent.
    pub allowed_origins: Vec<String>,
}

impl Settings {
    /// Checks the rules between settings; bounds are checked when settings are loaded.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.broker.validate()?;
        self.requests.validate(self.base_bytes()).map_err(anyhow::Error::msg)?;
        self.bodies.validate(&self.requests)?;
        ensure!(
            self.engagement.accept_timeout_ms < self.requests.timeout_ms,
            "engagement.accept_timeout_ms is {} and must be below requests.timeout_ms ({}), so that clients see the more \
             specific error",
            self.engagement.accept_timeout_ms,
            self.requests.timeout_ms
        );
        self.cors.origins().map(drop)
    }

    /// Memory in addition to requests and connections: concurrent password hashes, and the process itself with the
    /// events waiting to be published (16 MiB).
    fn base_bytes(&self) -> usize {
        let hash = usize::try_from(self.passwords.memory_kib).unwrap_or(usize::MAX).saturating_mul(1024);
        hash.saturating_mul(self.passwords.running_max).saturating_add(48 << 20)
    }
}

impl CorsSettings {
    /// The origins as header values.
    ///
    /// # Errors
    /// A sentence that names the invalid origin.
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
