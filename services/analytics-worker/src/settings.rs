//! The settings of a worker and the bounds between them.

use std::time::Duration;

use anyhow::{Result, ensure};
use runtime::settings::{Bound, at_least, bound};
use serde::Deserialize;

/// The bounds of this service's settings.
pub(crate) const BOUNDS: &[Bound] = &[
    bound("worker.batch_envelopes_max", 1..=4096),
    bound("worker.batch_events_max", 1..=65_536),
    bound("worker.batch_interval_ms", 0..=60_000).because("counters lag by up to this interval"),
    bound("worker.prefetch", 1..=65_535),
    at_least("worker.retry_pause_min_ms", 1),
    at_least("worker.retry_pause_max_ms", 1),
    bound("worker.give_up_after_s", 1..=1200)
        .because("RabbitMQ takes an unacked delivery back after 30 minutes"),
    at_least("worker.drain_timeout_s", 1),
    at_least("worker.clock_skew_max_s", 1),
    bound("poison.suspect_after_deliveries", 1..=0xffff_ffff)
        .because("at 0 every envelope is applied by itself"),
    bound("poison.attempts_max", 1..=0x7fff_ffff),
    bound("poison.stop_in_a_row", 1..=1_000_000),
    bound("poison.stop_percent", 1..=100),
    bound("poison.stop_minutes", 1..=60),
    bound("poison.stop_parked_min", 1..=1_000_000),
    bound("poison.check_interval_ms", 100..=600_000),
    bound("partitions.days_ahead", 7..=50).because("each event needs the partition of its day"),
    bound("partitions.ledger_days", 2..=3650),
    bound("partitions.interval_s", 1..=86_400),
    bound("partitions.forget_keys_max", 1..=1_000_000),
    bound("popularity.interval_s", 1..=86_400),
    bound("reconcile.blogs_per_round", 1..=100_000),
    bound("reconcile.interval_s", 1..=86_400),
];

/// The settings. `config/analytics-worker.toml` has the defaults and their reasons. Sections that services share may
/// also be present if this service does not use them (tokens).
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// The listener for health and metrics.
    pub http: runtime::settings::HttpSettings,
    /// Logging.
    pub log: runtime::settings::LogSettings,
    /// Where traces are sent.
    pub traces: runtime::traces::TraceSettings,
    /// The shared database, under this service's role.
    pub database: database::Settings,
    /// RabbitMQ.
    pub broker: broker::Settings,
    /// The rules for counting.
    pub engagement: engagement::Settings,
    /// Batches and retries.
    pub worker: WorkerSettings,
    /// Messages that kill workers, and the rule that stops workers.
    pub poison: PoisonSettings,
    /// The daily partitions of the ledger and of the views.
    pub partitions: PartitionSettings,
    /// The comparison of counters with what they count.
    pub reconcile: ReconcileSettings,
    /// The lists of popular blogs.
    pub popularity: PopularitySettings,
}

/// The `[worker]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Maximum number of envelopes in a batch.
    pub batch_envelopes_max: usize,
    /// Maximum number of events in a batch. An envelope is never split, however many events it holds.
    pub batch_events_max: usize,
    /// Interval between batches that are not full, in milliseconds.
    pub batch_interval_ms: u64,
    /// Maximum number of unacked envelopes that RabbitMQ delivers to this worker.
    pub prefetch: u16,
    /// First pause after a failed attempt to apply a batch, in milliseconds; it doubles from there.
    pub retry_pause_min_ms: u64,
    /// Maximum pause between attempts, in milliseconds.
    pub retry_pause_max_ms: u64,
    /// Time after which the channel is given up and its deliveries return to the queue, in seconds.
    pub give_up_after_s: u64,
    /// Time for the last batches at shutdown, in seconds.
    pub drain_timeout_s: u64,
    /// A worker is not ready while its clock differs by more than this from the database's, in seconds.
    pub clock_skew_max_s: u64,
}

/// The `[poison]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoisonSettings {
    /// An envelope with this many earlier deliveries is applied by itself.
    pub suspect_after_deliveries: u32,
    /// Number of attempts that killed their worker after which an envelope is parked.
    pub attempts_max: i32,
    /// Number of consecutive parked events that stops all workers.
    pub stop_in_a_row: i64,
    /// Share of recent events, in percent, that stops all workers if more than that is parked.
    pub stop_percent: i64,
    /// The period that counts as recent: the newest minutes in which anything was taken in.
    pub stop_minutes: i64,
    /// Minimum number of parked events before the share can stop workers.
    pub stop_parked_min: i64,
    /// Interval between two reads of the parked events, in milliseconds.
    pub check_interval_ms: u64,
}

/// The `[partitions]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionSettings {
    /// Days for which partitions are created in advance.
    pub days_ahead: u16,
    /// Days that the ledger keeps.
    pub ledger_days: u16,
    /// Interval between rounds of maintenance, in seconds.
    pub interval_s: u64,
    /// Maximum number of expired event keys that a statement deletes.
    pub forget_keys_max: i32,
}

/// The `[reconcile]` section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileSettings {
    /// Number of blogs per comparison.
    pub blogs_per_round: i32,
    /// Interval between comparisons, in seconds.
    pub interval_s: u64,
}

/// The `[popularity]` section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopularitySettings {
    /// Lists older than this are rebuilt, in seconds.
    pub interval_s: u64,
}

impl Settings {
    /// Checks the rules between settings; bounds are checked when settings are loaded.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> Result<()> {
        self.broker.validate()?;
        self.engagement.validate()?;
        let worker = &self.worker;
        let two_batches = worker.batch_envelopes_max.saturating_mul(2);
        ensure!(
            usize::from(worker.prefetch) >= two_batches,
            "worker.prefetch is {} and must be at least two batches (worker.batch_envelopes_max {} times 2), so that \
             one gathers while the other commits: raise the first or lower the second",
            worker.prefetch,
            worker.batch_envelopes_max
        );
        ensure!(
            worker.retry_pause_min_ms <= worker.retry_pause_max_ms,
            "worker.retry_pause_min_ms is {} and must be at most worker.retry_pause_max_ms, {}",
            worker.retry_pause_min_ms,
            worker.retry_pause_max_ms
        );
        Ok(())
    }
}

impl WorkerSettings {
    pub(crate) fn batch_interval(&self) -> Duration {
        Duration::from_millis(self.batch_interval_ms)
    }
}

impl PoisonSettings {
    pub(crate) fn check_interval(&self) -> Duration {
        Duration::from_millis(self.check_interval_ms)
    }
}

impl PartitionSettings {
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_s)
    }
}

impl ReconcileSettings {
    pub(crate) fn interval(self) -> Duration {
        Duration::from_secs(self.interval_s)
    }
}

#[cfg(test)]
mod tests {
    use runtime::settings::Loader;

    use super::*;

    /// The error for a value, from the loader or from the rules between settings.
    fn refusal(key: &'static str, value: u32) -> Option<String> {
        let loaded = Loader::new(crate::DEFAULTS).environment([]).set(key, value).load::<Settings>();
        match loaded {
            Ok(settings) => settings.validate().err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    #[test]
    fn error_names_each_invalid_setting() {
        assert_eq!(refusal("worker.prefetch", 128), None);
        for (key, value, names) in [
            (
                "worker.batch_interval_ms",
                60_001,
                "worker.batch_interval_ms in this command must be from 0 to 60000",
            ),
            ("worker.prefetch", 127, "worker.batch_envelopes_max 64 times 2"),
            ("worker.batch_envelopes_max", 65, "worker.prefetch is 128"),
            ("worker.batch_events_max", 0, "worker.batch_events_max"),
            ("worker.retry_pause_min_ms", 2001, "worker.retry_pause_max_ms"),
            ("worker.give_up_after_s", 1800, "worker.give_up_after_s"),
            ("worker.drain_timeout_s", 0, "worker.drain_timeout_s"),
            ("worker.clock_skew_max_s", 0, "worker.clock_skew_max_s"),
            ("partitions.days_ahead", 6, "partitions.days_ahead"),
            ("partitions.ledger_days", 1, "partitions.ledger_days"),
            ("partitions.forget_keys_max", 0, "partitions.forget_keys_max"),
            ("popularity.interval_s", 0, "popularity.interval_s"),
            ("reconcile.interval_s", 0, "reconcile.interval_s"),
            ("engagement.view_window_s", 1700, "view_window_s"),
            ("database.pool_max", 0, "database.pool_max"),
        ] {
            let said = refusal(key, value).unwrap();
            assert!(said.contains(names), "{key} = {value}: {said}");
        }
    }
}
