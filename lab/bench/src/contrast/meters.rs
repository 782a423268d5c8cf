//! Meters of a measurement's cost: WAL and transactions of the cluster, processor time and memory of every process, and
//! the number of sessions that wait for locks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use database::{Statement, statement};
use tokio_util::sync::CancellationToken;

use super::setting::Place;
use crate::processes::{Usage, Usages};
use crate::tables::Tables;

const FLUSH_STATISTICS: Statement = statement!("flush_statistics.sql");
const LOCK_WAITS: Statement = statement!("lock_waits.sql");
const ROW_VERSIONS: Statement = statement!("row_versions.sql");
const WAL_POSITION: Statement = statement!("wal_position.sql");
const WRITING_TRANSACTIONS: Statement = statement!("writing_transactions.sql");

const LOCKS_EVERY: Duration = Duration::from_millis(50);
/// Interval of samples; reading all processes of the machine takes some milliseconds.
const PROCESSES_EVERY: Duration = Duration::from_millis(250);

/// The cluster's meters at one point in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meters {
    pub(super) wal_bytes: i64,
    pub(super) transactions: i64,
}

impl Meters {
    pub(super) async fn read(tables: &Tables) -> Result<Self, database::Error> {
        Ok(Self {
            wal_bytes: tables.query_one(WAL_POSITION, &[]).await?.get("bytes"),
            transactions: tables.query_one(WRITING_TRANSACTIONS, &[]).await?.get("transactions"),
        })
    }
}

/// Statistics of updated rows, as far as sessions have reported them; a session reports when it ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowVersions {
    pub(super) counter_updates: i64,
    pub(super) counter_hot_updates: i64,
    pub(super) dead: i64,
}

impl RowVersions {
    pub(super) async fn read(tables: &Tables) -> Result<Self, database::Error> {
        tables.query_one(FLUSH_STATISTICS, &[]).await?;
        let row = tables.query_one(ROW_VERSIONS, &[]).await?;
        Ok(Self {
            counter_updates: row.get("counter_updates"),
            counter_hot_updates: row.get("counter_hot_updates"),
            dead: row.get("dead"),
        })
    }
}

/// The watched processes, shared with the task that restarts some of them.
#[derive(Debug, Clone)]
pub(super) struct Watched(Arc<Mutex<Usages>>);

impl Watched {
    pub(super) fn begin(roots: &[(&'static str, u32)]) -> Self {
        Self(Arc::new(Mutex::new(Usages::watch(roots))))
    }

    /// A server was started again.
    pub(super) fn also(&self, name: &'static str, roots: Vec<u32>) {
        let mut usages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        roots.into_iter().for_each(|root| usages.also(name, root));
    }

    /// Takes the last sample.
    pub(super) fn all(&self) -> Vec<Usage> {
        let mut usages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        usages.look(false);
        usages.all()
    }

    fn look(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).look(false);
    }
}

/// Watches processes and locks until `enough`, and returns how many sessions waited for a lock on average.
pub(super) async fn watch(place: Place, watched: Watched, enough: CancellationToken) -> f64 {
    let (mut waiting, mut looks) = (0_i64, 0_u32);
    let looking = async {
        let mut asking = place.asking(LOCK_WAITS).await;
        let mut next = Instant::now() + PROCESSES_EVERY;
        loop {
            match asking.one(&[]).await {
                Ok(row) => (waiting, looks) = (waiting + row.get::<_, i64>("waiting"), looks + 1),
                Err(_away) => asking = place.asking(LOCK_WAITS).await,
            }
            if Instant::now() >= next {
                watched.look();
                next = Instant::now() + PROCESSES_EVERY;
            }
            tokio::time::sleep(LOCKS_EVERY).await;
        }
    };
    enough.run_until_cancelled(looking).await;
    waiting as f64 / f64::from(looks.max(1))
}
