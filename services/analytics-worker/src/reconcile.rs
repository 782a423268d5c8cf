//! Counters against what they count: some blogs at a time, round and round.
//!
//! A look that takes longer than the role's statement timeout is not repeated as it was: half as many blogs are looked
//! at, down to one, and a single blog that takes so long is left out. After each look that succeeds they are twice as
//! many again, up to the setting.
//!
//! A batch writes what it counts and the counter in one transaction, so they agree in every snapshot; what differs was
//! changed by something else. That is for a person to look into, so it is said and not mended here.

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
/// Most blogs that one warning names.
const NAMED_MAX: usize = 20;

/// How far counters are off, by kind.
type Sums = [i64; KINDS.len()];

/// Where the going round has got to.
struct Round {
    /// Blogs that the next look takes in.
    most: i32,
    /// The last blog that was looked at.
    after: i64,
    /// What each look found, by the last blog that it took in; looks that found nothing are left out. Where looks have
    /// become smaller, a blog may stand in two of them until the round is over.
    found: BTreeMap<i64, Sums>,
}

/// Looks every so often, until shutdown.
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
                    "counters could not be compared, the next look goes on"
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
    /// Looks at the next blogs. What took too long is tried in smaller parts from the next look on.
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
                    "its counters take too long to compare, and are left out of this round"
                );
                self.after = next.unwrap_or(0);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes in what a look found, says it, and goes on behind it, or from the start when there was no more.
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
                "counters differ from what they count: `commonplace reconcile` shows where, and mends them"
            );
        }

        // What was found here before is out of date, and so is what was found behind the end.
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
