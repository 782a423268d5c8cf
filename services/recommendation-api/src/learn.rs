//! Learning in turns: first what has changed, then the next chunk of a rebuild, if one is running.
//!
//! A turn is one transaction that locks the progress row. So only one process learns at a time, and the result is
//! committed together with the progress. If the process is killed, the turn is rolled back. Repeating a turn gives the
//! same result, because neighbours depend only on the current rows, not on how often they were computed.

use std::time::Duration;

use database::{Error, Pool, TransactionStep};
use runtime::health::Health;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::rebuild::Rebuild;
use crate::rows;
use crate::settings::LearningSettings;

const PART: &str = "learning";
/// The pause after a failed turn; Postgres restarts within 2 s.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What the task needs.
pub(crate) struct Learn {
    pub(crate) settings: LearningSettings,
    pub(crate) pool: Pool,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
}

/// When the next turn begins.
enum Next {
    /// At once: there is more to do.
    AtOnce,
    /// After this pause.
    After(Duration),
}

impl Learn {
    /// Learns until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut rebuild = Rebuild::new(self.settings);
        loop {
            let pause = tokio::select! {
                () = shutdown.cancelled() => return,
                turn = self.turn(&mut rebuild) => match turn {
                    Ok(next) => {
                        self.health.report(PART, Ok(()));
                        match next {
                            Next::AtOnce => Duration::ZERO,
                            Next::After(pause) => pause,
                        }
                    }
                    Err(error) => {
                        self.metrics.failures.inc();
                        self.health.report(PART, Err(error.to_string()));
                        rebuild.failed();
                        RETRY_PAUSE
                    }
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn turn(&self, rebuild: &mut Rebuild) -> Result<Next, Error> {
        let is_all = self.changes().await?;
        let pause = rebuild.turn(&self.pool, &self.metrics).await?;
        Ok(match pause {
            Some(pause) => Next::After(pause),
            None if is_all => Next::After(self.settings.poll()),
            None => Next::AtOnce,
        })
    }

    /// Learns the next changed likes. Returns true if there are no more.
    async fn changes(&self) -> Result<bool, Error> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await.map_err(Error::transaction(TransactionStep::Begin))?;
        let Some(standing) = rows::begin(&transaction, self.settings.rebuild_interval_s).await? else {
            return Ok(true);
        };
        if standing.generation == 0 || standing.applied_xid > standing.horizon_xid {
            // There is no generation yet, or the tables were copied to another cluster. A rebuild must come first.
            return Ok(true);
        }
        let (from, to) = (standing.applied_xid, standing.horizon_xid);
        let changes = rows::changes(&transaction, from, to, self.settings.changes_max).await?;
        for blogs in changes.blogs.chunks(self.settings.blogs_max) {
            rows::learn(&transaction, standing.generation, blogs, &self.settings).await?;
        }
        let is_all = changes.next_xid >= to;
        rows::learnt(&transaction, changes.next_xid, is_all).await?;
        database::commit(transaction).await?;
        self.metrics.learnt_blogs.inc_by(u64::try_from(changes.blogs.len()).unwrap_or_default());
        Ok(is_all)
    }
}
