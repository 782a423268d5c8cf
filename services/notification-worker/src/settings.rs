//! The settings of a worker and the bounds between them.

use std::time::Duration;

use anyhow::{Result, ensure};
use runtime::settings::{Bound, bound};
use serde::Deserialize;

/// The bounds of this service's settings.
pub(crate) const BOUNDS: &[Bound] = &[
    bound("database.pool_max", 2..=500)
        .because("a chunk holds one connection while events are settled on another"),
    bound("events.prefetch", 1..=10_000),
    bound("events.retry_pause_min_ms", 1..=60_000),
    bound("events.retry_pause_max_ms", 1..=60_000),
    bound("events.give_up_after_s", 1..=1200)
        .because("RabbitMQ takes an unacked delivery back after 30 minutes"),
    bound("fan_out.chunk_rows_min", 1..=1_000_000),
    bound("fan_out.chunk_rows_max", 1..=1_000_000),
    // The role's statement_timeout is 30 s; a chunk stays below it even if it suddenly takes ten times as long.
    bound("fan_out.chunk_target_ms", 1..=2000),
    bound("fan_out.commit_slow_ms", 1..=10_000),
    bound("fan_out.pause_max_ms", 1..=60_000),
    bound("fan_out.poll_ms", 1..=60_000),
    bound("fan_out.find_interval_ms", 1..=60_000),
    bound("partitions.days_ahead", 7..=50),
    bound("partitions.days_kept", 7..=3650),
    bound("partitions.interval_s", 1..=86_400),
];

/// Timeout of an attempt to settle an event or to process a chunk. Postgres ends each of its statements after less than
/// half of that. A server that hangs keeps connections open and never ends anything by itself. An attempt that timed
/// out may have been committed; the next attempt finds that in the tables.
pub(crate) const TRY_MAX: Duration = Duration::from_secs(60);

/// The settings. `config/notification-worker.toml` has the defaults and their reasons. Sections that services share may
/// also be present if this service does not use them (how views are counted).
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
    /// The consumption of blog events.
    pub events: EventSettings,
    /// Chunks and their pace.
    pub fan_out: FanOutSettings,
    /// The daily partitions of notifications.
    pub partitions: PartitionSettings,
}

/// The `[events]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSettings {
    /// Maximum number of unacked messages that RabbitMQ delivers to this worker.
    pub prefetch: u16,
    /// First pause after a failure, in milliseconds; it doubles from there.
    pub retry_pause_min_ms: u64,
    /// Maximum pause between attempts, in milliseconds.
    pub retry_pause_max_ms: u64,
    /// Time after which the channel is given up and its deliveries return to the queue, in seconds.
    pub give_up_after_s: u64,
}

/// The `[fan_out]` section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanOutSettings {
    /// Minimum number of followers in a chunk.
    pub chunk_rows_min: i64,
    /// Maximum number of followers in a chunk.
    pub chunk_rows_max: i64,
    /// Target duration of a chunk, in milliseconds.
    pub chunk_target_ms: u64,
    /// A commit that takes longer than this is a sign of pressure, in milliseconds.
    pub commit_slow_ms: u64,
    /// Maximum pause between chunks under pressure, in milliseconds.
    pub pause_max_ms: u64,
    /// Maximum interval between two checks for work, in milliseconds.
    pub poll_ms: u64,
    /// Pause between two walks that search for fan-outs that no event began, in milliseconds.
    pub find_interval_ms: u64,
}

/// The `[partitions]` section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionSettings {
    /// Days for which partitions are created in advance.
    pub days_ahead: i32,
    /// Days for which notifications are kept.
    pub days_kept: i32,
    /// Interval between rounds of maintenance, in seconds.
    pub interval_s: u64,
}

impl Settings {
    /// Checks the rules between settings; bounds are checked when settings are loaded.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn validate(&self) -> Result<()> {
        self.broker.validate()?;
        let EventSettings { retry_pause_min_ms, retry_pause_max_ms, .. } = self.events;
        ensure!(
            retry_pause_min_ms <= retry_pause_max_ms,
            "events.retry_pause_min_ms is {retry_pause_min_ms} and must be at most events.retry_pause_max_ms, \
             {retry_pause_max_ms}"
        );
        let FanOutSettings { chunk_rows_min, chunk_rows_max, .. } = self.fan_out;
        ensure!(
            chunk_rows_min <= chunk_rows_max,
            "fan_out.chunk_rows_min is {chunk_rows_min} and must be at most fan_out.chunk_rows_max, {chunk_rows_max}"
        );
        Ok(())
    }
}

impl EventSettings {
    /// The pause after the first failure.
    pub(crate) fn first_pause(&self) -> Duration {
        Duration::from_millis(self.retry_pause_min_ms)
    }

    /// The pause after the next failure.
    pub(crate) fn next_pause(&self, pause: Duration) -> Duration {
        (pause * 2).min(Duration::from_millis(self.retry_pause_max_ms))
    }
}
