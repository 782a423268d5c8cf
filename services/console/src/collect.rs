//! Looking, again and again, until the end: every second at what is cheap; at who is busy four times a second; and at what
//! is costly so seldom that it takes a twentieth of one connection's time at most.

use std::sync::Arc;
use std::time::Duration;

use database::Pool;
use runtime::health::Health;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::findings::Findings;
use crate::load::Load;
use crate::picture::{History, Picture};
use crate::sample::Sampler;
use crate::statistics;

const ACTIVITY_EVERY: Duration = Duration::from_millis(250);
/// What is costly is asked for again after this many times what it took, and not before this time.
const COSTLY_PAUSE: u32 = 20;
const COSTLY_PAUSE_MIN: Duration = Duration::from_millis(1000);
/// The role's own limit of a statement, and something on top.
const ANSWER_WITHIN: Duration = Duration::from_millis(7000);

/// Looks at what is cheap, and makes a picture of each look.
pub(crate) async fn pictures(
    every: Duration,
    sampler: Sampler,
    findings: Findings,
    load: Load,
    health: Health,
    pictures: watch::Sender<Arc<Picture>>,
    shutdown: CancellationToken,
) {
    let mut history = History::default();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(sample) = shutdown.run_until_cancelled(sampler.take()).await else { return };
        health.report("looking", Ok(()));
        history.push(sample);
        pictures.send_replace(Arc::new(Picture::of(&history, &findings.get(), load.status())));
    }
}

/// Looks at who is busy, and now and then at what is costly.
pub(crate) async fn findings(pool: Pool, findings: Findings, shutdown: CancellationToken) {
    let mut ticks = interval(ACTIVITY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_costly = Instant::now();
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        // Away, the database has nobody who is busy.
        let busy = bounded(&shutdown, statistics::activity(&pool)).await.unwrap_or_default();
        findings.put_busy(busy);
        if Instant::now() < next_costly {
            continue;
        }
        let begun = Instant::now();
        let costly = bounded(&shutdown, statistics::costly(&pool)).await;
        next_costly = Instant::now() + COSTLY_PAUSE_MIN.max(begun.elapsed() * COSTLY_PAUSE);
        if let Some(costly) = costly {
            findings.put_costly(costly);
        }
    }
}

/// What was asked, or nothing when it did not come. That the database is away is said by whoever looks every second.
async fn bounded<T>(
    shutdown: &CancellationToken,
    asked: impl Future<Output = Result<T, database::Error>>,
) -> Option<T> {
    match shutdown.run_until_cancelled(timeout(ANSWER_WITHIN, asked)).await? {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the database was not looked at");
            None
        }
        Err(_) => None,
    }
}
