//! The `[engagement]` section.

use std::time::Duration;

use anyhow::ensure;
use broker::{HandOver, Overdue};
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::write_path::WritePath;
use crate::bounds::within;
use crate::live_blogs;

/// Fewest bytes of a secret that nobody guesses.
const SECRET_BYTES_MIN: usize = 32;

/// The most that [`Settings::batch_events_max`] may be.
pub(crate) const BATCH_EVENTS_MAX: usize = 100_000;

/// How engagement is accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The path of requests that do not choose one.
    pub write_path: WritePath,
    /// Are the direct paths enabled? The role of the service must then be a member of `engagement_writer`.
    pub direct_path: bool,
    /// May a request choose its path by the header `X-Write-Path`?
    pub allow_write_path_header: bool,
    /// Networks whose connections may choose so, where that is allowed.
    pub write_path_header_from: Vec<IpNet>,
    /// Longest wait for a confirm or a commit, from when a request has been read, in milliseconds; then the answer
    /// is 503.
    pub accept_timeout_ms: u64,
    /// A view counts once per visitor, blog and window of so many seconds; 0: every view counts.
    pub view_window_s: u32,
    /// What visitors and keys are hashed with. The same for all processes; a new one makes everybody a new
    /// visitor.
    pub visitor_secret: SecretString,
    /// Does a clock that is known to be wrong refuse engagement, and make the process not ready?
    pub refuse_on_clock_skew: bool,
    /// Most events of one batch request.
    pub batch_events_max: usize,
    /// Most hours or days of one series.
    pub series_buckets_max: u32,
    /// What becomes of events that the broker does not confirm in time.
    pub spill: SpillSettings,
    /// The grouping of `direct-batched`.
    pub direct_batched: BatchedSettings,
    /// What is remembered of live blogs.
    pub live_blogs: live_blogs::Settings,
}

/// How requests share a transaction.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchedSettings {
    /// Most requests that wait for a transaction; more are answered 503.
    pub waiting_max: usize,
    /// Most events of one transaction.
    pub events_max: usize,
    /// Most transactions at the same time.
    pub transactions_max: usize,
}

/// The `[engagement.spill]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpillSettings {
    /// When the broker has been away or blocked for so long, events go to the outbox without waiting for half of
    /// their time, in milliseconds.
    pub away_ms: u64,
    /// Most envelopes that wait for an insert, besides those in it.
    pub waiting_max: usize,
    /// Most envelopes of one insert.
    pub insert_envelopes_max: usize,
    /// Shortest time from the beginning of an insert to the next, in milliseconds.
    pub insert_every_ms: u64,
    /// The pause after an insert that failed, in milliseconds.
    pub retry_pause_ms: u64,
    /// While the outbox holds so many envelopes nothing is spilled into it.
    pub outbox_envelopes_max: u32,
}

impl SpillSettings {
    /// Checks the bounds, and makes the way from the publisher to the task.
    ///
    /// # Errors
    /// A sentence that says which setting to change.
    pub fn open(&self) -> anyhow::Result<(HandOver, mpsc::Receiver<Overdue>)> {
        within("engagement.spill.away_ms", self.away_ms, 0..=60_000)?;
        within("engagement.spill.waiting_max", self.waiting_max, 1..=1024)?;
        within("engagement.spill.insert_envelopes_max", self.insert_envelopes_max, 1..=1024)?;
        within("engagement.spill.insert_every_ms", self.insert_every_ms, 0..=10_000)?;
        within("engagement.spill.retry_pause_ms", self.retry_pause_ms, 1..=10_000)?;
        within("engagement.spill.outbox_envelopes_max", self.outbox_envelopes_max, 1..=u32::MAX)?;
        let (to, overdue) = mpsc::channel(self.waiting_max);
        Ok((HandOver { to, away_after: Duration::from_millis(self.away_ms) }, overdue))
    }
}

impl Settings {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.direct_path || self.write_path == WritePath::Message,
            "engagement.write_path is {}, which needs engagement.direct_path = true",
            self.write_path
        );
        within("engagement.accept_timeout_ms", self.accept_timeout_ms, 1..=300_000)?;
        ensure!(
            self.visitor_secret.expose_secret().len() >= SECRET_BYTES_MIN,
            "engagement.visitor_secret must have at least {SECRET_BYTES_MIN} bytes; `openssl rand -hex 32` makes one"
        );
        let batched = &self.direct_batched;
        within("engagement.direct_batched.events_max", batched.events_max, 1..=events::ENVELOPE_EVENTS_MAX)?;
        within("engagement.direct_batched.waiting_max", batched.waiting_max, 1..=1_000_000)?;
        within("engagement.direct_batched.transactions_max", batched.transactions_max, 1..=500)?;
        within("engagement.batch_events_max", self.batch_events_max, 1..=BATCH_EVENTS_MAX)?;
        within("engagement.series_buckets_max", self.series_buckets_max, 1..=1_000_000)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Settings that pass.
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
    fn a_wrong_setting_is_named() {
        settings().check().unwrap();
        type Change = fn(&mut Settings);
        let wrong: [(&str, Change); 7] = [
            ("engagement.direct_batched.waiting_max", |all| all.direct_batched.waiting_max = usize::MAX),
            ("engagement.batch_events_max", |all| all.batch_events_max = 0),
            ("engagement.direct_path", |all| all.write_path = WritePath::Direct),
            ("engagement.visitor_secret", |all| all.visitor_secret = SecretString::from("short")),
            ("engagement.direct_batched.events_max", |all| all.direct_batched.events_max = 513),
            ("engagement.direct_batched.transactions_max", |all| all.direct_batched.transactions_max = 0),
            ("engagement.accept_timeout_ms", |all| all.accept_timeout_ms = 0),
        ];
        for (key, change) in wrong {
            let mut settings = settings();
            change(&mut settings);
            assert!(settings.check().unwrap_err().to_string().contains(key), "{key}");
        }
    }

    #[test]
    fn a_wrong_setting_of_the_spill_is_named() {
        settings().spill.open().unwrap();
        type Change = fn(&mut SpillSettings);
        let wrong: [(&str, Change); 6] = [
            ("engagement.spill.away_ms", |spill| spill.away_ms = u64::MAX),
            ("engagement.spill.insert_every_ms", |spill| spill.insert_every_ms = u64::MAX),
            ("engagement.spill.waiting_max", |spill| spill.waiting_max = 0),
            ("engagement.spill.insert_envelopes_max", |spill| spill.insert_envelopes_max = 1025),
            ("engagement.spill.retry_pause_ms", |spill| spill.retry_pause_ms = 0),
            ("engagement.spill.outbox_envelopes_max", |spill| spill.outbox_envelopes_max = 0),
        ];
        for (key, change) in wrong {
            let mut spill = settings().spill;
            change(&mut spill);
            assert!(spill.open().unwrap_err().to_string().starts_with(key), "{key}");
        }
    }
}
