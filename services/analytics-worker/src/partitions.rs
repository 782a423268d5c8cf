//! The daily partitions of the ledger and of the views: created in advance, and dropped when they are old.
//!
//! Every worker runs this task. The owner's functions admit one session at a time and reject unsafe changes. They use
//! the database's clock, so a worker whose clock is wrong does no harm. A day is dropped when it is older than the
//! ledger's retention and no envelope of that day has been waiting for a whole day: not in the outbox and not parked
//! (the function checks), and not in a queue (this module checks, and drops only while both queues are empty). Only a
//! dropped day rejects later envelopes; a day that no worker created in time can still be created, however old it is.
//!
//! If another worker holds an old delivery unacked while its day is dropped, the delivery is not counted twice: the day
//! is not created again, so the delivery is parked as late.

use broker::{Probe, Queue};
use database::{Pool, Statement, statement};
use engagement::Engagement;
use jiff::ToSpan;
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::settings::Settings;

const TODAY: Statement = statement!("today.sql");
const OLD_DAYS: Statement = statement!("old_days.sql");
const DROP_DAY: Statement = statement!("drop_day.sql");
const FORGET_EVENT_KEYS: Statement = statement!("forget_event_keys.sql");

/// Tables with daily partitions. The ledger's day is dropped first: while an envelope can still be applied, its views'
/// day must exist.
const TABLES: [&str; 2] = ["envelope_ledger", "blog_view"];
/// Maximum number of days dropped per table and round.
const DROPS_MAX: usize = 32;
/// SQLSTATEs `lock_not_available` and `query_canceled`: the day is in use, or summing it takes too long.
const NOT_NOW: [&str; 2] = ["55P03", "57014"];

/// Runs a round of maintenance periodically until shutdown.
pub(crate) async fn run(
    settings: Settings,
    pool: Pool,
    engagement: Engagement,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    loop {
        if let Err(error) = round(&settings, &pool, &engagement, &metrics, &shutdown).await {
            tracing::warn!(error = &*error, "partition maintenance failed; the next round retries");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(settings.partitions.interval()) => {}
        }
    }
}

async fn round(
    settings: &Settings,
    pool: &Pool,
    engagement: &Engagement,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let client = pool.get().await?;
    let today: Date = TODAY.query_one(&client, &[]).await?.get("today");
    drop(client);
    // Beginning yesterday: an envelope created just before midnight is applied just after it.
    for day in today.yesterday()?.series(1.day()).take(usize::from(settings.partitions.days_ahead) + 2) {
        engagement.ensure_day(day).await?;
        metrics.days_ahead.set((day - today).get_days().into());
    }

    let client = pool.get().await?;
    forget_event_keys(&client, settings.partitions.forget_keys_max, shutdown).await?;

    let probe = Probe::open(&settings.broker).await?;
    let waiting = probe.depth(Queue::Engagement).await?.max(probe.depth(Queue::EngagementDead).await?);
    probe.close().await?;
    if waiting == 0 {
        for table in TABLES {
            drop_old(&client, table, settings.partitions.ledger_days.into()).await?;
        }
    }
    Ok(())
}

/// Deletes keys in short transactions of limited size until none has expired, so they do not pile up however many arrive.
async fn forget_event_keys(
    client: &deadpool_postgres::Object,
    most: i32,
    shutdown: &CancellationToken,
) -> Result<(), database::Error> {
    let mut forgotten = 0;
    while !shutdown.is_cancelled() {
        let now: i64 = FORGET_EVENT_KEYS.query_one(client, &[&most]).await?.get(0);
        forgotten += now;
        if now < i64::from(most) {
            break;
        }
    }
    if forgotten > 0 {
        tracing::info!(forgotten, "deleted expired event keys");
    }
    Ok(())
}

/// Drops the days of a table that may be dropped. A day that may not be dropped, now or ever, does not block the days
/// after it.
async fn drop_old(client: &deadpool_postgres::Object, table: &str, kept: i32) -> Result<(), database::Error> {
    let days = OLD_DAYS.query(client, &[&table, &kept]).await?;
    let mut dropped = 0;
    for day in days.iter().map(|row| row.get::<_, Date>(0)) {
        match DROP_DAY.query_one(client, &[&table, &day, &kept]).await {
            Ok(row) if row.get(0) => {
                tracing::info!(table, %day, "dropped a day's partition");
                dropped += 1;
            }
            Ok(_) => {}
            Err(error) if error.sqlstate().is_some_and(|code| NOT_NOW.contains(&code)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    table,
                    %day,
                    "could not drop a day's partition; the next round retries"
                );
            }
            Err(error) => return Err(error),
        }
        if dropped == DROPS_MAX {
            break;
        }
    }
    Ok(())
}
