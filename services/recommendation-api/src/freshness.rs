//! The age of answers. Learnt data records the time up to which it is complete. A task reads this time every second
//! from the database that answers come from, so the age also shows a replica that lags or a learner that has stopped.
//! Between two reads the age grows with the clock.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use database::{Error, Pool};
use jiff::{SignedDuration, Timestamp};
use runtime::health::Health;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::rows::{self, Progress};

const EVERY: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// The age of the data, as last read. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Freshness {
    seen: Arc<RwLock<Option<Seen>>>,
    staleness_max: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    progress: Progress,
    at: Instant,
}

/// The age of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsOf {
    /// The answer includes all changes up to this time; `None` before the first computation.
    pub(crate) as_of: Option<Timestamp>,
    /// The data is older than the limit.
    pub(crate) stale: bool,
}

impl Freshness {
    pub(crate) fn new(staleness_max_s: u64) -> Self {
        Self { seen: Arc::default(), staleness_max: Duration::from_secs(staleness_max_s) }
    }

    /// For answers from learnt data. Before the first computation, they contain only popular blogs.
    pub(crate) fn of_learnt(&self) -> AsOf {
        let as_of = self.seen().and_then(|seen| seen.progress.learnt_as_of.or(seen.progress.popular_as_of));
        AsOf { as_of, stale: self.is_stale() }
    }

    /// For answers from the hourly lists of popular blogs. They are stale only if the database they are read from is.
    pub(crate) fn of_popular(&self) -> AsOf {
        AsOf { as_of: self.seen().and_then(|seen| seen.progress.popular_as_of), stale: self.is_stale() }
    }

    /// The age of the learnt data: by the database's clock when last read, and by this process's clock since.
    pub(crate) fn age(&self) -> Option<Duration> {
        let seen = self.seen()?;
        let age = seen.progress.now.duration_since(seen.progress.learnt_as_of?);
        Some(age.max(SignedDuration::ZERO).unsigned_abs() + seen.at.elapsed())
    }

    fn is_stale(&self) -> bool {
        self.age().is_none_or(|age| age > self.staleness_max)
    }

    fn seen(&self) -> Option<Seen> {
        *self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the age every second until shutdown, and reports to `health` whether requests can be answered.
    pub(crate) async fn watch(
        self,
        part: &'static str,
        pool: Pool,
        health: Health,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) {
        loop {
            let looked = match tokio::time::timeout(ANSWER_MAX, look(&pool)).await {
                Ok(Ok(progress)) => {
                    let seen = Seen { progress, at: Instant::now() };
                    *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Some(seen);
                    Ok(())
                }
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            health.report(part, looked);
            if let Some(age) = self.age() {
                metrics.age_seconds.set(age.as_secs_f64());
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

async fn look(pool: &Pool) -> Result<Progress, Error> {
    rows::progress(&pool.get().await?).await
}
