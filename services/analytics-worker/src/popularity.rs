//! Rebuilds the lists of popular blogs every hour. The owner's functions define popularity (`analytics.popularity`) and
//! rebuild the lists; this task only triggers them. All workers ask, and one of them does the work.

use std::time::Duration;

use database::{Error, Pool, Statement, statement};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::settings::PopularitySettings;

const REFRESH_POPULARITY: Statement = statement!("refresh_popularity.sql");
/// Asking reads one row, so the lists are at most one minute late.
const ASK_EVERY_MAX: Duration = Duration::from_secs(60);

/// Triggers the rebuild periodically until shutdown.
pub(crate) async fn run(
    settings: PopularitySettings,
    pool: Pool,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let interval = Duration::from_secs(settings.interval_s);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            refreshed = refresh(&pool, interval) => match refreshed {
                Ok(Some(changed)) => {
                    metrics.popularity_runs.inc();
                    tracing::debug!(changed, "rebuilt the lists of popular blogs");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not rebuild the lists of popular blogs; the old ones stay in use"
                ),
            },
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(interval.min(ASK_EVERY_MAX)) => {}
        }
    }
}

async fn refresh(pool: &Pool, interval: Duration) -> Result<Option<i64>, Error> {
    let client = pool.get().await?;
    Ok(REFRESH_POPULARITY.query_one(&client, &[&interval.as_secs_f64()]).await?.get("changed"))
}
