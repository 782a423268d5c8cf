//! Processes chunk after chunk while there is work.

use std::sync::Arc;
use std::time::Duration;

use database::Pool;
use runtime::health::Health;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::chunk::{self, Chunk, Turn};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::settings::{Settings, TRY_MAX};

/// What the task that processes chunks needs.
pub(crate) struct Work {
    pub(crate) settings: Settings,
    pub(crate) pool: Pool,
    /// Rings when a fan-out has begun in this process.
    pub(crate) bell: Arc<Notify>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

impl Work {
    /// Processes chunks until shutdown; a chunk in progress is finished.
    pub(crate) async fn run(self) {
        let mut pace = Pace::new(self.settings.fan_out);
        let mut failure_pause = self.settings.events.first_pause();
        while !self.shutdown.is_cancelled() {
            let chunk = chunk::take(&self.pool, pace.rows(), self.settings.partitions.days_kept);
            let turn = database::within(TRY_MAX, chunk).await;
            if turn.is_ok() {
                self.health.report("fan-outs", Ok(()));
                failure_pause = self.settings.events.first_pause();
            }
            match turn {
                Ok(Turn::Chunk(chunk)) => {
                    pace.learn(chunk.looked_at, chunk.took, chunk.commit);
                    self.tell_of(&chunk, &pace);
                    self.rest(pace.pause()).await;
                }
                Ok(Turn::Again) => {}
                Ok(Turn::Idle) => {
                    tokio::select! {
                        () = self.bell.notified() => {}
                        () = self.rest(Duration::from_millis(self.settings.fan_out.poll_ms)) => {}
                    }
                }
                Err(error) => {
                    self.metrics.failures.inc();
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "could not process a chunk; retrying"
                    );
                    self.health.report("fan-outs", Err(error.to_string()));
                    self.rest(failure_pause).await;
                    failure_pause = self.settings.events.next_pause(failure_pause);
                }
            }
        }
    }

    fn tell_of(&self, chunk: &Chunk, pace: &Pace) {
        self.metrics.taken(chunk);
        self.metrics.pace(pace.rows(), pace.pause());
        tracing::debug!(blog_id = chunk.blog_id, looked_at = chunk.looked_at, took = ?chunk.took, "committed a chunk");
        if chunk.is_last {
            tracing::info!(blog_id = chunk.blog_id, "all followers have been notified of the blog");
        }
    }

    async fn rest(&self, pause: Duration) {
        if !pause.is_zero() {
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
