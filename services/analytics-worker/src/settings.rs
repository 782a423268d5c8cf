//! The settings of a worker and the bounds between them.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Deserialize;

/// RabbitMQ closes a channel whose oldest delivery is unacked for 30 minutes; a worker that cannot apply a batch
/// gives its channel up well before.
const GIVE_UP_MAX_S: u64 = 20 * 60;

/// Whoever has just viewed a blog wants to see it counted.
const BATCH_INTERVAL_MAX_MS: u64 = 60_000;

/// Everything a worker can be told; the defaults and their reasons stand in `config/analytics-worker.toml`. What all
/// services share and this one has no use for (tokens) may stand beside it.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// Where health and metrics are served.
    pub http: runtime::settings::HttpSettings,
    /// What is logged, and how.
    pub log: runtime::settings::LogSettings,
    /// Where traces go.
    pub traces: runtime::traces::TraceSettings,
    /// The shared database, under this service's role.
    pub database: database::Settings,
    /// RabbitMQ.
    pub broker: broker::Settings,
    /// What counts.
    pub engagement: engagement::Settings,
    /// Batches and retries.
    pub worker: WorkerSettings,
    /// Messages that end workers, and the rule that stops workers.
    pub poison: PoisonSettings,
    /// The days of the ledger and of the views.
    pub partitions: PartitionSettings,
    /// Counters and what they count.
    pub reconcile: ReconcileSettings,
    /// The lists of popular blogs.
    pub popularity: PopularitySettings,
}

/// The `[worker]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Most envelopes in a batch.
    pub batch_envelopes_max: usize,
    /// Most events in a batch. One envelope is never split, however many it holds.
    pub batch_events_max: usize,
    /// Time from one batch to the next that is not full, in milliseconds.
    pub batch_interval_ms: u64,
    /// Most envelopes that RabbitMQ hands out before the first of them is acked.
    pub prefetch: u16,
    /// First pause after a batch could not be applied, in milliseconds; it doubles from there.
    pub retry_pause_min_ms: u64,
    /// Longest pause between tries, in milliseconds.
    pub retry_pause_max_ms: u64,
    /// After so long the channel is given up and its deliveries go back into the queue, in seconds.
    pub give_up_after_s: u64,
    /// Time for the last batches at shutdown, in seconds.
    pub drain_timeout_s: u64,
    /// A worker whose clock differs more than this from the database's is not ready, in seconds.
    pub clock_skew_max_s: u64,
}

/// The `[poison]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoisonSettings {
    /// An envelope that has been delivered so often before is taken alone.
    pub suspect_after_deliveries: u32,
    /// Tries that ended with their worker after which an envelope is parked.
    pub attempts_max: i32,
    /// Events parked one after the other that stop all workers.
    pub stop_in_a_row: i64,
    /// Share of what was taken in lately that stops all workers when more is parked, in percent.
    pub stop_percent: i64,
    /// The newest minutes that took anything in: what is "lately".
    pub stop_minutes: i64,
    /// While fewer are parked the share stops nobody.
    pub stop_parked_min: i64,
    /// Time between two looks at what was parked, in milliseconds.
    pub check_interval_ms: u64,
}

/// The `[partitions]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionSettings {
    /// Days that are made ahead.
    pub days_ahead: u16,
    /// Days that the ledger remembers.
    pub ledger_days: u16,
    /// Time between two rounds of maintenance, in seconds.
    pub interval_s: u64,
    /// Most expired event keys that one statement forgets.
    pub forget_keys_max: i32,
}

/// The `[reconcile]` section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileSettings {
    /// Blogs that one look takes in.
    pub blogs_per_round: i32,
    /// Time between two looks, in seconds.
    pub interval_s: u64,
}

/// The `[popularity]` section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PopularitySettings {
    /// Lists that are older than this are made anew, in seconds.
    pub interval_s: u64,
}

impl Settings {
    /// Checks the bounds, and that they do not contradict each other.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> Result<()> {
        self.database.validate()?;
        self.broker.validate()?;
        self.engagement.validate()?;
        let worker = &self.worker;
        ensure!(
            (1..=4096).contains(&worker.batch_envelopes_max),
            "worker.batch_envelopes_max is {} and must be between 1 and 4096",
            worker.batch_envelopes_max
        );
        ensure!(
            (1..=65_536).contains(&worker.batch_events_max),
            "worker.batch_events_max is {} and must be between 1 and 65536",
            worker.batch_events_max
        );
        ensure!(
            worker.batch_interval_ms <= BATCH_INTERVAL_MAX_MS,
            "worker.batch_interval_ms is {} and must be at most {BATCH_INTERVAL_MAX_MS}: counters are so much older",
            worker.batch_interval_ms
        );
        let two_batches = worker.batch_envelopes_max.saturating_mul(2);
        ensure!(
            usize::from(worker.prefetch) >= two_batches,
            "worker.prefetch is {} and must be at least two batches (worker.batch_envelopes_max {} times 2), so that \
             one gathers while the other commits: raise the first or lower the second",
            worker.prefetch,
            worker.batch_envelopes_max
        );
        ensure!(
            1 <= worker.retry_pause_min_ms && worker.retry_pause_min_ms <= worker.retry_pause_max_ms,
            "worker.retry_pause_min_ms is {} and must be between 1 and worker.retry_pause_max_ms, {}",
            worker.retry_pause_min_ms,
            worker.retry_pause_max_ms
        );
        ensure!(
            (1..=GIVE_UP_MAX_S).contains(&worker.give_up_after_s),
            "worker.give_up_after_s is {} and must be between 1 and {GIVE_UP_MAX_S}: RabbitMQ takes a delivery back \
             after 30 minutes",
            worker.give_up_after_s
        );
        ensure!(worker.drain_timeout_s >= 1, "worker.drain_timeout_s must be at least 1");
        ensure!(worker.clock_skew_max_s >= 1, "worker.clock_skew_max_s must be at least 1");
        self.poison.validate()?;
        self.partitions.validate()?;
        ensure!(
            (1..=86_400).contains(&self.popularity.interval_s),
            "popularity.interval_s is {} and must be between 1 and 86400",
            self.popularity.interval_s
        );
        self.reconcile.validate()
    }
}

impl WorkerSettings {
    pub(crate) fn batch_interval(&self) -> Duration {
        Duration::from_millis(self.batch_interval_ms)
    }
}

impl PoisonSettings {
    fn validate(&self) -> Result<()> {
        ensure!(
            self.suspect_after_deliveries >= 1,
            "poison.suspect_after_deliveries is 0 and must be at least 1: at 0 every envelope is taken alone"
        );
        ensure!(
            self.attempts_max >= 1,
            "poison.attempts_max is {} and must be at least 1",
            self.attempts_max
        );
        for (key, value, most) in [
            ("stop_in_a_row", self.stop_in_a_row, 1_000_000),
            ("stop_percent", self.stop_percent, 100),
            ("stop_minutes", self.stop_minutes, 60),
            ("stop_parked_min", self.stop_parked_min, 1_000_000),
        ] {
            ensure!((1..=most).contains(&value), "poison.{key} is {value} and must be between 1 and {most}");
        }
        ensure!(
            (100..=600_000).contains(&self.check_interval_ms),
            "poison.check_interval_ms is {} and must be between 100 and 600000",
            self.check_interval_ms
        );
        Ok(())
    }

    pub(crate) fn check_interval(&self) -> Duration {
        Duration::from_millis(self.check_interval_ms)
    }
}

impl PartitionSettings {
    fn validate(&self) -> Result<()> {
        ensure!(
            (7..=50).contains(&self.days_ahead),
            "partitions.days_ahead is {} and must be between 7 and 50: events must find their day made",
            self.days_ahead
        );
        ensure!(
            (2..=3650).contains(&self.ledger_days),
            "partitions.ledger_days is {} and must be between 2 and 3650",
            self.ledger_days
        );
        ensure!(
            (1..=86_400).contains(&self.interval_s),
            "partitions.interval_s is {} and must be between 1 and 86400",
            self.interval_s
        );
        ensure!(
            (1..=1_000_000).contains(&self.forget_keys_max),
            "partitions.forget_keys_max is {} and must be between 1 and 1000000",
            self.forget_keys_max
        );
        Ok(())
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_s)
    }
}

impl ReconcileSettings {
    fn validate(self) -> Result<()> {
        ensure!(
            (1..=100_000).contains(&self.blogs_per_round),
            "reconcile.blogs_per_round is {} and must be between 1 and 100000",
            self.blogs_per_round
        );
        ensure!(
            (1..=86_400).contains(&self.interval_s),
            "reconcile.interval_s is {} and must be between 1 and 86400",
            self.interval_s
        );
        Ok(())
    }

    pub(crate) fn interval(self) -> Duration {
        Duration::from_secs(self.interval_s)
    }
}

#[cfg(test)]
mod tests {
    use runtime::settings::Loader;

    use super::*;

    fn settings(key: &'static str, value: u32) -> Settings {
        Loader::new(crate::DEFAULTS).environment([]).set(key, value).load().unwrap()
    }

    #[test]
    fn bounds_that_contradict_each_other_are_named() {
        settings("worker.prefetch", 128).validate().unwrap();
        for (key, value, names) in [
            (
                "worker.batch_interval_ms",
                60_001,
                "worker.batch_interval_ms is 60001 and must be at most 60000",
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
            let said = settings(key, value).validate().unwrap_err().to_string();
            assert!(said.contains(names), "{key} = {value}: {said}");
        }
    }
}
