//! Reads the remaining work every few seconds, for the metrics.

use std::time::Duration;

use database::{Error, Pool, Statement, statement};
use runtime::health::Health;
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const FAN_OUTS_WAITING: Statement = statement!("fan_outs_waiting.sql");
const INTERVAL: Duration = Duration::from_secs(10);

/// Reads periodically until shutdown.
pub(crate) async fn run(pool: Pool, health: Health, metrics: Metrics, shutdown: CancellationToken) {
    loop {
        match database::within(INTERVAL, look(&pool)).await {
            Ok(waiting) => {
                metrics.fan_outs.set(waiting.get("fan_outs"));
                metrics.followers.set(waiting.get("followers"));
                metrics.wait_seconds.set(waiting.get("wait_s"));
                health.report("database", Ok(()));
            }
            Err(error) => health.report("database", Err(error.to_string())),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn look(pool: &Pool) -> Result<Row, Error> {
    FAN_OUTS_WAITING.query_one(&pool.get().await?, &[]).await
}
