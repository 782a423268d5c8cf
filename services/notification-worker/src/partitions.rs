//! The days of notifications: made ahead, and dropped when they are old.
//!
//! Every worker tries; the owner's functions let one at a time through and refuse what must not be. Nothing that is
//! dropped can come back: a fan-out whose day is older than what is kept is cancelled, and the row of one that is done
//! stays for ever.

use std::time::Duration;

use database::{Error, Pool, Statement, statement};
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::settings::PartitionSettings;

const CREATE_DAY_AHEAD: Statement = statement!("create_day_ahead.sql");
const DROP_OLDEST_DAY: Statement = statement!("drop_oldest_day.sql");

/// The name of the lock under which the owner makes and drops days.
const LOCK: &str = "notify.days.notification";
/// The pause after somebody else was at the days, or the database did not answer.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Most days dropped in one round.
const DROPS_MAX: usize = 32;

/// A round of maintenance every so often, until shutdown.
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
                    "a round of partition maintenance failed, the next one goes on"
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

/// Whether all days are there.
async fn round(settings: PartitionSettings, pool: &Pool, metrics: &Metrics) -> Result<bool, Error> {
    let client = pool.get().await?;
    // From yesterday: a blog published just before midnight is told of just after it.
    for ahead in -1..=settings.days_ahead {
        let made: String = CREATE_DAY_AHEAD.query_one(&client, &[&ahead]).await?.get(0);
        if made != "there" {
            if let Some(holder) = database::lock::holder(&client, LOCK).await? {
                tracing::info!(holder, "another session holds the lock of the days");
            }
            return Ok(false);
        }
        metrics.days_ahead.set(ahead.into());
    }
    for _ in 0..DROPS_MAX {
        let dropped = DROP_OLDEST_DAY.query_one(&client, &[&settings.days_kept]).await?;
        let Some(day) = dropped.get::<_, Option<Date>>(0) else { break };
        tracing::info!(%day, "a day of notifications is dropped");
    }
    Ok(true)
}
