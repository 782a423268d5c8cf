//! A new generation of neighbours, chunk by chunk, beside the one that readers are shown.
//!
//! A chunk is a transaction: the neighbours of the next blogs, and how far that goes. When there are no more blogs, the
//! generation is shown as a whole, and the old one is forgotten in small parts. A chunk should take as long as the settings
//! say; after each there is a pause, so that whoever else needs the database's processors has them in between.

use std::time::{Duration, Instant};

use database::{Error, Pool, TransactionStep};

use crate::metrics::Metrics;
use crate::rows;
use crate::settings::LearningSettings;

/// How large the next chunk is.
pub(crate) struct Rebuild {
    settings: LearningSettings,
    blogs: i64,
}

impl Rebuild {
    pub(crate) fn new(settings: LearningSettings) -> Self {
        Self { settings, blogs: settings.chunk_blogs_min }
    }

    /// The next chunk, if a generation is being made or it is time for one; and how long to pause after it.
    pub(crate) async fn turn(&mut self, pool: &Pool, metrics: &Metrics) -> Result<Option<Duration>, Error> {
        let mut client = pool.get().await?;
        let transaction = client.transaction().await.map_err(Error::transaction(TransactionStep::Begin))?;
        let Some(standing) = rows::begin(&transaction, self.settings.rebuild_interval_s).await? else {
            return Ok(None);
        };
        let is_foreign = standing.applied_xid > standing.horizon_xid;
        let Some(after_id) = standing.next_after_id else {
            if !(standing.is_wanted || is_foreign) {
                return Ok(None);
            }
            // Whatever is there of a generation to come is no part of this one.
            if rows::forget(&transaction, &[standing.generation]).await? == 0 {
                rows::rebuild_begin(&transaction, standing.horizon_xid).await?;
            }
            database::commit(transaction).await?;
            return Ok(Some(Duration::ZERO));
        };
        let began = Instant::now();
        let generation = standing.generation + 1;
        let chunk =
            rows::rebuild_chunk(&transaction, generation, after_id, self.blogs, &self.settings).await?;
        match chunk.last_id {
            Some(last_id) => {
                rows::rebuild_advance(&transaction, last_id).await?;
                database::commit(transaction).await?;
            }
            None => {
                rows::rebuild_show(&transaction).await?;
                database::commit(transaction).await?;
                metrics.rebuilds.inc();
                tracing::info!(generation, "a new generation of neighbours is shown");
                while rows::forget(&client, &[generation]).await? > 0 {}
            }
        }
        let elapsed = began.elapsed();
        metrics.chunk_seconds.observe(elapsed.as_secs_f64());
        metrics.rebuilt_blogs.inc_by(u64::try_from(chunk.blogs).unwrap_or_default());
        self.resize(elapsed);
        Ok(Some(elapsed * self.settings.rest_percent / 100))
    }

    /// A chunk failed: should it have been too large, the next is the smallest.
    pub(crate) fn failed(&mut self) {
        self.blogs = self.settings.chunk_blogs_min;
    }

    /// Towards the time that a chunk should take; at most twice as many at a time.
    fn resize(&mut self, elapsed: Duration) {
        let target = Duration::from_millis(self.settings.chunk_target_ms);
        let next = if elapsed > target * 2 {
            self.blogs / 2
        } else if elapsed > target {
            self.blogs * 3 / 4
        } else if elapsed < target / 2 {
            self.blogs * 2
        } else {
            self.blogs
        };
        self.blogs = next.clamp(self.settings.chunk_blogs_min, self.settings.chunk_blogs_max);
    }
}
