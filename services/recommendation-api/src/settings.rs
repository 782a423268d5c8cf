//! The settings of the service and the bounds between them.

use std::time::Duration;

use anyhow::{Result, ensure};
use runtime::settings::{Bound, LogSettings, bound};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use web::api::ApiSettings;
use web::limits::ReadRateSettings;
use web::settings::{DocsSettings, HttpSettings, RequestSettings};
use web::tokens::TokenSettings;

/// Memory in addition to requests and connections: the process itself and the learnt data in use (32 MiB).
const BASE_BYTES: usize = 32 << 20;

/// The bounds of this service's settings.
pub(crate) const BOUNDS: &[Bound] = &[
    bound("database.pool_max", 2..=500).because("learning holds one connection, and readers need another"),
    bound("recommendation.staleness_max_s", 1..=86_400),
    bound("learning.poll_ms", 10..=60_000),
    bound("learning.changes_max", 1..=100_000),
    bound("learning.blogs_max", 1..=10_000),
    bound("learning.likers_max", 1..=100_000),
    bound("learning.likes_max", 1..=1000),
    bound("learning.neighbours_max", 1..=200),
    bound("learning.rebuild_interval_s", 60..=30 * 86_400),
    bound("learning.chunk_blogs_min", 1..=100_000),
    bound("learning.chunk_blogs_max", 1..=100_000),
    // The role's statement_timeout is 10 s; a chunk stays below it even if it suddenly takes ten times as long.
    bound("learning.chunk_target_ms", 1..=1000),
    bound("learning.rest_percent", 0..=10_000),
];

/// The settings. `config/recommendation-api.toml` has the defaults and their reasons. Sections that services share may
/// also be present if this service does not use them (RabbitMQ, how views are counted).
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// The listeners.
    pub http: HttpSettings,
    /// Whether the API's documentation is served.
    pub docs: DocsSettings,
    /// Logging.
    pub log: LogSettings,
    /// Where traces are sent.
    pub traces: runtime::traces::TraceSettings,
    /// The shared database, under the role `recommendation_api`.
    pub database: database::Settings,
    /// Limits of a request.
    pub requests: RequestSettings,
    /// Verification of tokens.
    pub tokens: TokenSettings,
    /// Rate limits.
    pub rate_limits: ReadRateSettings,
    /// Where answers are read from, and when they are stale.
    pub recommendation: RecommendationSettings,
    /// Learning.
    pub learning: LearningSettings,
}

/// The `[recommendation]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecommendationSettings {
    /// Connection URL of a replica for all reads, in the form of `database.url`. Empty: no replica.
    pub replica_url: SecretString,
    /// Answers from data older than this are marked as stale, in seconds.
    pub staleness_max_s: u64,
}

/// The `[learning]` section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningSettings {
    /// Pause between two reads of changed likes, in milliseconds.
    pub poll_ms: u64,
    /// Maximum number of likes per read; the likes of one transaction are never split.
    pub changes_max: i64,
    /// Maximum number of blogs that one statement learns.
    pub blogs_max: usize,
    /// Maximum number of a blog's likers that are considered.
    pub likers_max: i64,
    /// Maximum number of an account's likes that are considered.
    pub likes_max: i64,
    /// Number of neighbours kept for each blog.
    pub neighbours_max: i64,
    /// Interval between rebuilds, in seconds.
    pub rebuild_interval_s: u64,
    /// Minimum number of blogs in a rebuild chunk.
    pub chunk_blogs_min: i64,
    /// Maximum number of blogs in a rebuild chunk.
    pub chunk_blogs_max: i64,
    /// Target duration of a chunk, in milliseconds.
    pub chunk_target_ms: u64,
    /// Pause after each chunk, in percent of the chunk's duration.
    pub rest_percent: u32,
}

impl Settings {
    /// Checks the rules between settings; bounds are checked when settings are loaded.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> Result<()> {
        self.requests.validate(BASE_BYTES).map_err(anyhow::Error::msg)?;
        let LearningSettings { chunk_blogs_min, chunk_blogs_max, .. } = self.learning;
        ensure!(
            chunk_blogs_min <= chunk_blogs_max,
            "learning.chunk_blogs_min is {chunk_blogs_min} and must be at most learning.chunk_blogs_max, {chunk_blogs_max}"
        );
        Ok(())
    }

    /// The settings that it shares with other APIs.
    pub(crate) fn api(&self) -> ApiSettings {
        let Self { http, docs, log, traces, database, requests, tokens, rate_limits, .. } = self.clone();
        ApiSettings { http, docs, log, traces, database, requests, tokens, rate_limits }
    }

    /// The `[database]` section for the replica, if there is one.
    pub(crate) fn replica(&self) -> Option<database::Settings> {
        let url = self.recommendation.replica_url.clone();
        (!url.expose_secret().is_empty()).then(|| database::Settings { url, ..self.database.clone() })
    }
}

impl LearningSettings {
    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }
}

#[cfg(test)]
mod tests {
    use runtime::settings::Loader;

    use super::*;

    #[test]
    fn error_names_the_violated_bound() {
        let refusal = |key: &'static str, value: i64| match Loader::new(crate::DEFAULTS)
            .environment([])
            .set(key, value)
            .load::<Settings>()
        {
            Ok(settings) => settings.validate().err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        assert_eq!(refusal("learning.poll_ms", 1000), None);
        for (key, value) in [
            ("database.pool_max", 1),
            ("requests.timeout_ms", 0),
            ("rate_limits.read_per_minute", 0),
            ("recommendation.staleness_max_s", 0),
            ("learning.poll_ms", 0),
            ("learning.neighbours_max", 201),
            ("learning.chunk_blogs_min", 1_000_000),
            ("learning.chunk_target_ms", 5000),
        ] {
            let said = refusal(key, value).unwrap();
            assert!(said.contains(key), "{key} = {value}: {said}");
        }
    }
}
