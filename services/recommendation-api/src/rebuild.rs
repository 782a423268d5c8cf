//! Builds a new generation of neighbours, chunk by chunk, while readers are shown the current one.
//!
//! A chunk is one transaction: it computes the neighbours of the next blogs and records the progress. After the last
//! blog, readers are switched to the new generation at once, and the old one is deleted in small parts. The size of a
//! chunk follows its target duration in the settings. A pause follows each chunk so that other users of the database
//! get its CPU.

use std::time::{Duration, Instant};

use database::{Error, Pool, TransactionStep};

use crate::metrics::Metrics;
use crate::rows;
use crate::settings::LearningSettings;

/// The size of the next chunk.
pub(crate) struct Rebuild {
    settings: LearningSettings,
    blogs: i64,
}

impl Rebuild {
    pub(crate) fn new(settings: LearningSettings) -> Self {
        Self { settings, blogs: settings.chunk_blogs_min }
    }

    /// Processes the next chunk if a rebuild is running or due; returns the pause that must follow.
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
            // Rows left behind by an earlier, unfinished build of this generation are not part of it.
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
                tracing::info!(
                    generation,
                    "rebuild completed; readers are shown the new generation of neighbours"
                );
                while rows::forget(&client, &[generation]).await? > 0 {}
            }
        }
        let elapsed = began.elapsed();
        metrics.chunk_seconds.observe(elapsed.as_secs_f64());
        metrics.rebuilt_blogs.inc_by(u64::try_from(chunk.blogs).unwrap_or_default());
        self.resize(elapsed);
        Ok(Some(elapsed * self.settings.rest_percent / 100))
    }

    /// Called when a chunk fails: the next one has the minimum size, in case this one was too large.
    pub(crate) fn failed(&mut self) {
        self.blogs = self.settings.chunk_blogs_min;
    }

    /// Moves the size towards the target duration of a chunk, at most doubling it.
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
