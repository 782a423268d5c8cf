//! The days of the ledger and of the views: made ahead, and dropped when they are old.
//!
//! Every worker tries; the owner's functions let one session through at a time and refuse what is not safe. They go by the
//! database's clock, so a worker whose clock is wrong does no harm. A day is dropped when it is older than the ledger
//! remembers and no envelope of it has waited for a day: not in the outbox, not parked (the function looks), and not in a
//! queue (this module looks, and asks only while both are empty). Only a day that was dropped is refused to envelopes that
//! come later; a day that no worker was there to make can still be made, however long ago it was.
//!
//! An old delivery that another worker holds unacked while its day is dropped is not counted twice: the day is not made
//! again, so the delivery is parked as late.

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

/// Tables of days. A ledger day goes first: a view that an envelope could still bring must find its day.
const TABLES: [&str; 2] = ["envelope_ledger", "blog_view"];
/// Most days of a table dropped in one round.
const DROPS_MAX: usize = 32;
/// SQLSTATEs `lock_not_available` and `query_canceled`: the day is in use, or too large to be summed in time.
const NOT_NOW: [&str; 2] = ["55P03", "57014"];

/// A round of maintenance every so often, until shutdown.
pub(crate) async fn run(
    settings: Settings,
    pool: Pool,
    engagement: Engagement,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    loop {
        if let Err(error) = round(&settings, &pool, &engagement, &metrics, &shutdown).await {
            tracing::warn!(error = &*error, "a round of partition maintenance failed, the next one goes on");
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
    // From yesterday: an envelope made just before midnight is applied just after it.
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

/// So many at a time, each its own short transaction, until none is left: however many come in, they do not pile up.
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
        tracing::info!(forgotten, "expired event keys are forgotten");
    }
    Ok(())
}

/// Drops the days of a table that may go. A day that may not, yet or now, does not hold up the days after it.
async fn drop_old(client: &deadpool_postgres::Object, table: &str, kept: i32) -> Result<(), database::Error> {
    let days = OLD_DAYS.query(client, &[&table, &kept]).await?;
    let mut dropped = 0;
    for day in days.iter().map(|row| row.get::<_, Date>(0)) {
        match DROP_DAY.query_one(client, &[&table, &day, &kept]).await {
            Ok(row) if row.get(0) => {
                tracing::info!(table, %day, "a day is dropped");
                dropped += 1;
            }
            Ok(_) => {}
            Err(error) if error.sqlstate().is_some_and(|code| NOT_NOW.contains(&code)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    table,
                    %day,
                    "a day could not be dropped, the next round tries it again"
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
