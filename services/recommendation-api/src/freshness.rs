//! How old answers are. What was learnt carries the moment up to which it is everything; this is read every second from
//! wherever answers are read from, so a replica that lags, or a learner that has stopped, shows in its age, and in between
//! the age grows by itself.

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

/// What was last seen of how old the data is. Clones are the same.
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

/// How old one answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsOf {
    /// Everything up to this moment is in it; `None` where nothing has been made yet.
    pub(crate) as_of: Option<Timestamp>,
    /// It is older than it may be.
    pub(crate) stale: bool,
}

impl Freshness {
    pub(crate) fn new(staleness_max_s: u64) -> Self {
        Self { seen: Arc::default(), staleness_max: Duration::from_secs(staleness_max_s) }
    }

    /// Of answers from what was learnt; before anything was, they are made of what is popular alone.
    pub(crate) fn of_learnt(&self) -> AsOf {
        let as_of = self.seen().and_then(|seen| seen.progress.learnt_as_of.or(seen.progress.popular_as_of));
        AsOf { as_of, stale: self.is_stale() }
    }

    /// Of the lists of what is popular, which are made every hour; stale is where they are read from.
    pub(crate) fn of_popular(&self) -> AsOf {
        AsOf { as_of: self.seen().and_then(|seen| seen.progress.popular_as_of), stale: self.is_stale() }
    }

    /// The age of what was learnt, by the database's clock when it was last seen and ours since.
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

    /// Looks every second until shutdown, and says to `health` whether answers can be had.
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
