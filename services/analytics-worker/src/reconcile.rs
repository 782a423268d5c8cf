//! Compares counters with what they count, a few blogs at a time, in endless rounds.
//!
//! If a comparison exceeds the role's statement timeout, the next one covers half as many blogs, down to one; a single
//! blog that takes too long is skipped. Each comparison that succeeds doubles the number again, up to the setting.
//!
//! A batch writes the events and the counter in one transaction, so they agree in every snapshot; a difference was
//! caused by something else. An operator must investigate it, so it is reported and not repaired here.

use std::collections::BTreeMap;

use database::{Error, Pool, Statement, statement};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use crate::metrics::{KINDS, KindLabel, Metrics};
use crate::settings::ReconcileSettings;

const COUNTER_DRIFT: Statement = statement!("counter_drift.sql");
const COUNTER_NEXT: Statement = statement!("counter_next.sql");
/// SQLSTATE `query_canceled`: the statement timeout.
const QUERY_CANCELED: &str = "57014";
/// Maximum number of blogs that one warning names.
const NAMED_MAX: usize = 20;

/// The differences of the counters, by kind.
type Sums = [i64; KINDS.len()];

/// The state of the current round.
struct Round {
    /// Number of blogs in the next comparison.
    most: i32,
    /// The last blog that was compared.
    after: i64,
    /// The differences that each comparison found, by the last blog that it covered; comparisons without differences
    /// are left out. After the size has shrunk, two comparisons may cover the same blog until the round ends.
    found: BTreeMap<i64, Sums>,
}

/// Compares periodically until shutdown.
pub(crate) async fn run(
    settings: ReconcileSettings,
    pool: Pool,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let mut round = Round { most: settings.blogs_per_round, after: 0, found: BTreeMap::new() };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            looked = round.look(&pool, &metrics) => match looked {
                Ok(()) => round.most = round.most.saturating_mul(2).min(settings.blogs_per_round),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    most = round.most,
                    after = round.after,
                    "could not compare counters; retrying"
                ),
            },
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(settings.interval()) => {}
        }
    }
}

impl Round {
    /// Compares the next blogs. After a timeout, the following comparisons are smaller.
    async fn look(&mut self, pool: &Pool, metrics: &Metrics) -> Result<(), Error> {
        let client = pool.get().await?;
        match COUNTER_DRIFT.query(&client, &[&self.after, &self.most]).await {
            Ok(rows) => self.take(&rows, metrics),
            Err(error) if error.sqlstate() == Some(QUERY_CANCELED) && self.most > 1 => {
                self.most /= 2;
                return Err(error);
            }
            Err(error) if error.sqlstate() == Some(QUERY_CANCELED) => {
                let next: Option<i64> = COUNTER_NEXT.query_one(&client, &[&self.after]).await?.get("blog_id");
                tracing::warn!(
                    blog = next,
                    "comparing this blog's counters takes too long; skipping it in this round"
                );
                self.after = next.unwrap_or(0);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Records and reports the result of a comparison, and moves on, or back to the start after the last blog.
    fn take(&mut self, rows: &[Row], metrics: &Metrics) {
        let (looked_at, last_id): (i64, i64) =
            rows.first().map_or((0, self.after), |row| (row.get("looked_at"), row.get("last_id")));
        let mut sums = Sums::default();
        let mut blogs = Vec::new();
        for row in rows {
            let Some(blog_id) = row.get::<_, Option<i64>>("blog_id") else { continue };
            let (kind, counter, counted): (&str, i64, i64) =
                (row.get("kind"), row.get("counter"), row.get("counted"));
            let off = i64::try_from(counter.abs_diff(counted)).unwrap_or(i64::MAX);
            if let Some(sum) = KINDS.iter().position(|name| *name == kind).and_then(|at| sums.get_mut(at)) {
                *sum = sum.saturating_add(off);
            }
            blogs.push(blog_id);
        }
        blogs.dedup();
        if !blogs.is_empty() {
            let (count, named) = (blogs.len(), blogs.get(..NAMED_MAX).unwrap_or(&blogs));
            tracing::warn!(
                count,
                blogs = ?named,
                "counters differ from the counted events; `commonplace reconcile` shows where and can repair them"
            );
        }

        // Earlier results for these blogs are out of date, and so are results beyond the last blog.
        let is_end = looked_at < i64::from(self.most);
        self.found.retain(|of, _| *of <= self.after || (*of > last_id && !is_end));
        if !blogs.is_empty() {
            self.found.insert(last_id, sums);
        }
        self.after = if is_end { 0 } else { last_id };
        metrics.reconciled_blogs.inc_by(u64::try_from(looked_at).unwrap_or_default());
        for (index, kind) in KINDS.into_iter().enumerate() {
            let sum = self
                .found
                .values()
                .filter_map(|sums| sums.get(index))
                .fold(0, |a: i64, b| a.saturating_add(*b));
            metrics.counter_drift.get_or_create(&KindLabel { kind }).set(sum);
        }
    }
}
