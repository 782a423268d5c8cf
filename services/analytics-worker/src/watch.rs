//! Checks this process's clock against the database's. Days, windows and versions come from the clocks of several
//! machines; a machine whose clock is wrong must not take part.

use std::time::Duration;

use database::Pool;
use jiff::Timestamp;
use runtime::health::Health;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const INTERVAL: Duration = Duration::from_secs(10);

/// Compares clocks until shutdown.
pub(crate) async fn run(
    pool: Pool,
    skew_max_s: u64,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    loop {
        match database::clock_skew(&pool, Timestamp::now).await {
            Ok(skew) => {
                metrics.clock_skew_seconds.set(skew.ahead.as_secs_f64());
                health.report("clock", database::in_step(skew.ahead, Duration::from_secs(skew_max_s)));
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
