//! The days of the ledger and of the views: made ahead, and dropped when they are old.
//!
//! Every worker tries; the owner's functions let one at a time through and refuse what must not be. A day is
//! dropped only when it has lain below the floor for a day already, and while no envelope of it waits: none in the
//! outbox, none parked (the function looks), none in the queue (this looks, and drops only while the queue is empty).
//! An envelope that old which somebody holds unacked at that moment is not counted twice: its day cannot be made
//! again, so it is parked as late.

use database::{Pool, Statement, statement};
use engagement::Engagement;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::settings::Settings;

const RAISE_FLOOR: Statement = statement!("raise_floor.sql");
const OLDEST_DAY: Statement = statement!("oldest_day.sql");
const DROP_DAY: Statement = statement!("drop_day.sql");
const FORGET_EVENT_KEYS: Statement = statement!("forget_event_keys.sql");

/// Tables of days. A ledger day goes first: a view that an envelope could still bring must find its day.
const TABLES: [&str; 2] = ["envelope_ledger", "blog_view"];
/// Most days dropped in one round.
const DROPS_MAX: usize = 32;

/// A round of maintenance every so often, until shutdown.
pub(crate) async fn run(
    settings: Settings,
    pool: Pool,
    engagement: Engagement,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    loop {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        if let Err(error) = round(&settings, &pool, &engagement, &metrics, today, &shutdown).await {
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
    today: Date,
    shutdown: &CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // From yesterday: an envelope made just before midnight is applied just after it.
    for day in today.yesterday()?.series(1.day()).take(usize::from(settings.partitions.days_ahead) + 2) {
        engagement.ensure_day(day).await?;
        metrics.days_ahead.set((day - today).get_days().into());
    }

    let client = pool.get().await?;
    forget_event_keys(&client, settings.partitions.forget_keys_max, shutdown).await?;

    let floor = today.checked_sub(i32::from(settings.partitions.ledger_days).days())?;
    let floor: Date = RAISE_FLOOR.query_one(&client, &[&floor]).await?.get(0);
    let waiting = broker::queue_depth(&settings.broker, broker::Queue::Engagement).await?;
    if waiting == 0 {
        for table in TABLES {
            drop_below(&client, table, floor).await?;
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

async fn drop_below(
    client: &deadpool_postgres::Object,
    table: &str,
    floor: Date,
) -> Result<(), database::Error> {
    for _ in 0..DROPS_MAX {
        let oldest: Option<Date> = OLDEST_DAY.query_one(client, &[&table]).await?.get(0);
        let Some(oldest) = oldest.filter(|oldest| *oldest < floor) else { return Ok(()) };
        let dropped: bool = DROP_DAY.query_one(client, &[&table, &oldest]).await?.get(0);
        if !dropped {
            return Ok(());
        }
        tracing::info!(table, day = %oldest, "a day is dropped");
    }
    Ok(())
}
