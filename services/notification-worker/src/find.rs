//! Finds fan-outs that no event has begun.
//!
//! Events make notifications prompt, but must not be the only trigger. The queue may be lost; the database may be
//! restored to a time before an event was handled; or an event may be handled while an operator hides the blog, and
//! restoring the blog sends no event. Each worker therefore walks through the blogs of the retention period, newest
//! first, and settles those that readers see but that have no fan-out or a withdrawn one. The walk reads one index, a
//! thousand blogs per round, and rests after each round, so that its share of the database's time is bounded however
//! many blogs there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use database::{Error, Pool, Statement, statement};
use jiff::Timestamp;
use runtime::health::Health;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::settings::TRY_MAX;
use crate::settle::settle;

const FAN_OUTS_FIND: Statement = statement!("fan_outs_find.sql");

/// The rest after a round, as a multiple of the round's duration: a walk uses a tenth of one connection's time.
const REST: u32 = 9;

/// What the task that finds fan-outs needs.
pub(crate) struct Finding {
    /// The pause between two walks.
    pub(crate) interval: Duration,
    pub(crate) days_kept: i32,
    pub(crate) pool: Pool,
    /// Rung when a fan-out has begun.
    pub(crate) bell: Arc<Notify>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

/// The progress of a walk: the last blog of the last round.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// `None` before the first round.
    first_published_at: Option<Timestamp>,
    id: i64,
}

impl Cursor {
    const START: Self = Self { first_published_at: None, id: i64::MAX };
}

/// One round of a walk.
struct Round {
    /// `None` when no blogs are left.
    next: Option<Cursor>,
    due: Vec<i64>,
}

impl Finding {
    /// Walks repeatedly until shutdown.
    pub(crate) async fn run(self) {
        let mut cursor = Cursor::START;
        while !self.shutdown.is_cancelled() {
            let began = Instant::now();
            let round = database::within(TRY_MAX, self.round(cursor)).await;
            let rest = began.elapsed() * REST;
            let next = match round {
                Ok(Round { next, due }) => {
                    self.settle_all(&due).await;
                    next
                }
                Err(error) => {
                    self.failed(&error);
                    None
                }
            };
            cursor = next.unwrap_or(Cursor::START);
            let pause = if next.is_some() { rest } else { self.interval };
            tokio::select! {
                () = self.shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn round(&self, after: Cursor) -> Result<Round, Error> {
        let client = self.pool.get().await?;
        let Cursor { first_published_at, id } = after;
        let rows = FAN_OUTS_FIND.query(&client, &[&first_published_at, &id, &self.days_kept]).await?;
        let next = rows
            .last()
            .map(|row| Cursor { first_published_at: Some(row.get("first_published_at")), id: row.get("id") });
        let due = rows.iter().filter(|row| row.get("is_due")).map(|row| row.get("id")).collect();
        Ok(Round { next, due })
    }

    /// Settles the blogs. One that cannot be settled now delays no other; the next walk finds it again.
    async fn settle_all(&self, due: &[i64]) {
        let mut outcome = Ok(());
        for &blog_id in due {
            if self.shutdown.is_cancelled() {
                return;
            }
            match database::within(TRY_MAX, settle(&self.pool, blog_id)).await {
                Ok(true) => {
                    tracing::info!(blog_id, "began or resumed a fan-out for which no event had arrived");
                    self.metrics.found.inc();
                    self.bell.notify_one();
                }
                Ok(false) => {}
                Err(error) => {
                    self.failed(&error);
                    if error.is_unavailable() {
                        return;
                    }
                    outcome = Err(());
                }
            }
        }
        if outcome.is_ok() {
            self.health.report("search", Ok(()));
        }
    }

    fn failed(&self, error: &Error) {
        self.metrics.failures.inc();
        tracing::debug!(error = error as &dyn std::error::Error, "the search for fan-outs failed");
        self.health.report("search", Err(format!("the search for fan-outs failed: {error}")));
    }
}
