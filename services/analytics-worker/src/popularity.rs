//! The lists of popular blogs, made anew every hour. What popular means is the owner's function
//! (`analytics.popularity`), and so is the making: this only says when. All workers ask, and one of them does it.

use std::time::Duration;

use database::{Error, Pool, Statement, statement};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::settings::PopularitySettings;

const REFRESH_POPULARITY: Statement = statement!("refresh_popularity.sql");
/// Asking costs a row; so a list is late by a minute at most.
const ASK_EVERY_MAX: Duration = Duration::from_secs(60);

/// Asks every so often, until shutdown.
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
                    tracing::debug!(changed, "the lists of popular blogs are made");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the lists of popular blogs could not be made, the old ones stay"
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
