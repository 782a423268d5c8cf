//! The `[engagement]` section.

use std::time::Duration;

use anyhow::ensure;
use broker::{HandOver, Overdue};
use events::WritePath;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::live_blogs;

/// Minimum length of the secret, in bytes.
const SECRET_BYTES_MIN: usize = 32;

/// The upper bound of [`Settings::batch_events_max`].
pub(crate) const BATCH_EVENTS_MAX: usize = 100_000;

/// How engagement is accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The write path of requests that do not choose one.
    pub write_path: WritePath,
    /// Whether the direct paths are enabled. The service's role must then be a member of `engagement_writer`.
    pub direct_path: bool,
    /// Whether a request may choose its path with the header `X-Write-Path`.
    pub allow_write_path_header: bool,
    /// Networks whose connections may choose a path, if that is allowed.
    pub write_path_header_from: Vec<IpNet>,
    /// Maximum wait for a confirm or a commit after the request has been read, in milliseconds; then the answer is 503.
    pub accept_timeout_ms: u64,
    /// Length of the window in which a view counts once per visitor and blog, in seconds; 0: every view counts.
    pub view_window_s: u32,
    /// The secret for hashing visitors and keys. All processes must have the same one; a new one makes every visitor a
    /// new visitor.
    pub visitor_secret: SecretString,
    /// Whether a clock that is known to be wrong refuses engagement and makes the process not ready.
    pub refuse_on_clock_skew: bool,
    /// Maximum number of events in a batch request.
    pub batch_events_max: usize,
    /// Maximum number of hours or days in a series.
    pub series_buckets_max: u32,
    /// What happens to events that the broker does not confirm in time.
    pub spill: SpillSettings,
    /// The batches of `direct-batched`.
    pub direct_batched: BatchedSettings,
    /// The cache of live blogs.
    pub live_blogs: live_blogs::Settings,
}

/// How requests share a transaction.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchedSettings {
    /// Maximum number of requests that wait for a transaction; further ones are answered 503.
    pub waiting_max: usize,
    /// Maximum number of events in a transaction.
    pub events_max: usize,
    /// Maximum number of concurrent transactions.
    pub transactions_max: usize,
}

/// The `[engagement.spill]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpillSettings {
    /// Once the broker has been unreachable or blocked for this long, events go to the outbox at once instead of after
    /// half of their time, in milliseconds.
    pub away_ms: u64,
    /// Maximum number of envelopes that wait for an insert, in addition to those being inserted.
    pub waiting_max: usize,
    /// Maximum number of envelopes per insert.
    pub insert_envelopes_max: usize,
    /// Minimum interval between the starts of two inserts, in milliseconds.
    pub insert_every_ms: u64,
    /// The pause after a failed insert, in milliseconds.
    pub retry_pause_ms: u64,
    /// While the outbox holds this many envelopes, nothing is spilled into it.
    pub outbox_envelopes_max: u32,
}

impl SpillSettings {
    /// Creates the channel from the publisher to the task.
    pub fn open(&self) -> (HandOver, mpsc::Receiver<Overdue>) {
        let (to, overdue) = mpsc::channel(self.waiting_max);
        (HandOver { to, away_after: Duration::from_millis(self.away_ms) }, overdue)
    }
}

impl Settings {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.direct_path || self.write_path == WritePath::Message,
            "engagement.write_path is {}, which needs engagement.direct_path = true",
            self.write_path
        );
        ensure!(
            self.visitor_secret.expose_secret().len() >= SECRET_BYTES_MIN,
            "engagement.visitor_secret must have at least {SECRET_BYTES_MIN} bytes; `openssl rand -hex 32` generates one"
        );
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Valid settings.
    pub(in crate::acceptance) fn settings() -> Settings {
        Settings {
            write_path: WritePath::Message,
            direct_path: false,
            allow_write_path_header: false,
            write_path_header_from: ["127.0.0.0/8", "::1/128"]
                .map(|network| network.parse().unwrap())
                .to_vec(),
            accept_timeout_ms: 2000,
            view_window_s: 1800,
            visitor_secret: SecretString::from("0123456789abcdef0123456789abcdef"),
            refuse_on_clock_skew: true,
            batch_events_max: 1000,
            series_buckets_max: 10_000,
            spill: SpillSettings {
                away_ms: 250,
                waiting_max: 64,
                insert_envelopes_max: 64,
                insert_every_ms: 20,
                retry_pause_ms: 100,
                outbox_envelopes_max: 200_000,
            },
            direct_batched: BatchedSettings { waiting_max: 1024, events_max: 512, transactions_max: 2 },
            live_blogs: live_blogs::Settings {
                ids_max: 100,
                ttl_ms: 10_000,
                lookup_timeout_ms: 250,
                away_ms: 1000,
                waiting_max: 1024,
                lookup_ids_max: 1000,
            },
        }
    }

    #[test]
    fn error_names_the_invalid_setting() {
        settings().check().unwrap();
        type Change = fn(&mut Settings);
        let wrong: [(&str, Change); 2] = [
            ("engagement.direct_path", |all| all.write_path = WritePath::Direct),
            ("engagement.visitor_secret", |all| all.visitor_secret = SecretString::from("short")),
        ];
        for (key, change) in wrong {
            let mut settings = settings();
            change(&mut settings);
            assert!(settings.check().unwrap_err().to_string().contains(key), "{key}");
        }
    }
}
