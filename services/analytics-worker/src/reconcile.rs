//! Counters against what they count: some blogs at a time, round and round.
//!
//! A batch writes what it counts and the counter in one transaction, so they agree in every snapshot; what differs was
//! changed by something else. That is for a person to look into, so it is said and not mended here.

use std::collections::BTreeMap;

use database::{Error, Pool, Statement, statement};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use crate::metrics::{KindLabel, Metrics};
use crate::settings::ReconcileSettings;

const COUNTER_DRIFT: Statement = statement!("counter_drift.sql");
const KINDS: [&str; 3] = ["views", "likes", "shares"];
/// Most blogs that one warning names.
const NAMED_MAX: usize = 20;

/// How far counters are off, by kind.
type Sums = [i64; KINDS.len()];

/// Where the going round has got to.
#[derive(Default)]
struct Round {
    /// The last blog that was looked at.
    after: i64,
    /// What each look found, by the last blog that it took in; looks that found nothing are left out.
    found: BTreeMap<i64, Sums>,
}

/// Looks every so often, until shutdown.
pub(crate) async fn run(
    settings: ReconcileSettings,
    pool: Pool,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let mut round = Round::default();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            looked = look(&pool, round.after, settings.blogs_per_round) => match looked {
                Ok(rows) => round.take(&rows, settings.blogs_per_round, &metrics),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
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

async fn look(pool: &Pool, after: i64, most: i32) -> Result<Vec<Row>, Error> {
    let client = pool.get().await?;
    COUNTER_DRIFT.query(&client, &[&after, &most]).await
}

impl Round {
    /// Takes in what a look found, says it, and goes on behind it, or from the start when there was no more.
    fn take(&mut self, rows: &[Row], most: i32, metrics: &Metrics) {
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
        let is_end = looked_at < i64::from(most);
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
