//! The daily partitions of notifications: created in advance, and dropped when they are old.
//!
//! Every worker runs this task. The owner's functions admit one session at a time and reject unsafe changes. Nothing
//! that was dropped can come back: a fan-out whose day is older than the retention period is cancelled, and the row of
//! a completed fan-out is kept for ever.

use std::time::Duration;

use database::{Error, Pool, Statement, statement};
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::settings::PartitionSettings;

const CREATE_DAY_AHEAD: Statement = statement!("create_day_ahead.sql");
const DROP_OLDEST_DAY: Statement = statement!("drop_oldest_day.sql");

/// The name of the lock under which the owner creates and drops days.
const LOCK: &str = "notify.days.notification";
/// The pause after another session held the lock, or the database did not respond.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of days dropped per round.
const DROPS_MAX: usize = 32;

/// Runs a round of maintenance periodically until shutdown.
pub(crate) async fn run(
    settings: PartitionSettings,
    pool: Pool,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    loop {
        let pause = match round(settings, &pool, &metrics).await {
            Ok(true) => Duration::from_secs(settings.interval_s),
            Ok(false) => BUSY_PAUSE,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "partition maintenance failed; the next round retries"
                );
                BUSY_PAUSE
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Runs a round. Returns whether all days exist.
async fn round(settings: PartitionSettings, pool: &Pool, metrics: &Metrics) -> Result<bool, Error> {
    let client = pool.get().await?;
    // Beginning yesterday: a blog published just before midnight is announced just after it.
    for ahead in -1..=settings.days_ahead {
        let made: String = CREATE_DAY_AHEAD.query_one(&client, &[&ahead]).await?.get(0);
        if made != "there" {
            if let Some(holder) = database::lock::holder(&client, LOCK).await? {
                tracing::info!(holder, "another session holds the lock on the partitions");
            }
            return Ok(false);
        }
        metrics.days_ahead.set(ahead.into());
    }
    for _ in 0..DROPS_MAX {
        let dropped = DROP_OLDEST_DAY.query_one(&client, &[&settings.days_kept]).await?;
        let Some(day) = dropped.get::<_, Option<Date>>(0) else { break };
        tracing::info!(%day, "dropped a day of notifications");
    }
    Ok(true)
}
