//! Collects the console's data until shutdown: cheap statistics every second, busy sessions four times a second, and
//! expensive statistics less often the longer they take, using at most 5 % of one connection's time.

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
/// The pause after an expensive query is this many times its duration, and never shorter than the minimum.
const COSTLY_PAUSE: u32 = 20;
const COSTLY_PAUSE_MIN: Duration = Duration::from_millis(1000);
/// The role's statement timeout, plus a margin.
const ANSWER_WITHIN: Duration = Duration::from_millis(7000);

/// Takes the cheap statistics, and publishes a picture after each sample.
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

/// Samples the busy sessions, and takes the expensive statistics when they are due.
pub(crate) async fn findings(pool: Pool, findings: Findings, shutdown: CancellationToken) {
    let mut ticks = interval(ACTIVITY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_costly = Instant::now();
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        // While the database is down, no session is busy.
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

/// The result of a query, or `None` if it failed or timed out. The sample taken every second reports that the database
/// is down.
async fn bounded<T>(
    shutdown: &CancellationToken,
    asked: impl Future<Output = Result<T, database::Error>>,
) -> Option<T> {
    match shutdown.run_until_cancelled(timeout(ANSWER_WITHIN, asked)).await? {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "could not query the database");
            None
        }
        Err(_) => None,
    }
}
