//! Processes one chunk of one fan-out.
//!
//! A chunk is one transaction. It locks the row of the fan-out that has waited longest. A later statement checks
//! whether readers still see the blog. The chunk then finds the next followers along the key of `social.follow`,
//! inserts their notifications with one statement from that table, moves the cursor past them, and commits. The cursor
//! and the notifications are committed together or not at all, so a worker that dies leaves nothing half done, and the
//! next one continues at the cursor.
//!
//! So no follower is notified twice, and the primary key never has to reject a row. That matters for cost: an insert
//! prepared for conflicts writes one more WAL record per row. If the key rejects a row nevertheless (notifications were
//! restored from a backup and the fan-out was not), the chunk is repeated with a statement that skips followers who
//! already have the notification.

use std::time::{Duration, Instant};

use database::{Error, Fault, Pool, Statement, TransactionStep, statement};
use deadpool_postgres::Transaction;
use jiff::Timestamp;

use crate::settle;

const CREATE_DAYS_WANTED: Statement = statement!("create_days_wanted.sql");
const FAN_OUT_ADVANCE: Statement = statement!("fan_out_advance.sql");
const FAN_OUT_BOUND: Statement = statement!("fan_out_bound.sql");
const FAN_OUT_CLAIM: Statement = statement!("fan_out_claim.sql");
const FAN_OUT_EXPIRE: Statement = statement!("fan_out_expire.sql");
const FAN_OUT_POSTPONE: Statement = statement!("fan_out_postpone.sql");
const NOTIFICATION_COMPLETE: Statement = statement!("notification_complete.sql");
const NOTIFICATION_INSERT: Statement = statement!("notification_insert.sql");

/// SQLSTATE `unique_violation`.
const UNIQUE_VIOLATION: &str = "23505";

/// The result of a turn.
#[derive(Debug)]
pub(crate) enum Turn {
    /// There is no fan-out to work on, or other workers hold all of them.
    Idle,
    /// A fan-out was withdrawn or cancelled without a chunk.
    Again,
    /// A chunk was committed.
    Chunk(Chunk),
}

/// A committed chunk.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) blog_id: i64,
    /// Number of followers processed.
    pub(crate) looked_at: i64,
    /// Number of followers notified.
    pub(crate) notified: u64,
    /// Whether this chunk completed the fan-out.
    pub(crate) is_last: bool,
    /// Time from the claim to the end of the commit.
    pub(crate) took: Duration,
    /// Time of the commit alone.
    pub(crate) commit: Duration,
}

/// A chunk failed; with the blog of its fan-out, if that is known.
#[derive(Debug, thiserror::Error)]
#[error("could not process a chunk{}", of(*blog_id))]
pub(crate) struct Failed {
    blog_id: Option<i64>,
    #[source]
    error: Error,
}

fn of(blog_id: Option<i64>) -> String {
    blog_id.map_or_else(String::new, |id| format!(" of the fan-out of blog {id}"))
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { blog_id: None, error }
    }
}

/// The fan-out whose turn it is.
struct Claimed {
    blog_id: i64,
    published_at: Timestamp,
    after_id: i64,
    is_expired: bool,
}

/// Processes the next chunk, of at most `rows` followers.
///
/// # Errors
/// The database's error. If only this fan-out is at fault, it is moved to the end of the queue, so that the others have
/// their turn. One such fault is a day's partition that cannot be created now.
pub(crate) async fn take(pool: &Pool, rows: i64, days_kept: i32) -> Result<Turn, Failed> {
    let mut taken = attempt(pool, rows, days_kept, NOTIFICATION_INSERT).await;
    if let Err(failed) = &taken
        && failed.error.fault() == Fault::MissingPartition
    {
        CREATE_DAYS_WANTED.query(&pool.get().await?, &[]).await?;
        taken = attempt(pool, rows, days_kept, NOTIFICATION_INSERT).await;
    }
    if let Err(failed) = &taken
        && failed.error.sqlstate() == Some(UNIQUE_VIOLATION)
    {
        tracing::warn!(
            blog_id = failed.blog_id,
            "a follower already had the notification; repeating the chunk without such followers"
        );
        taken = attempt(pool, rows, days_kept, NOTIFICATION_COMPLETE).await;
    }
    if let Err(failed) = &taken
        && let Some(blog_id) = failed.blog_id
        && failed.error.fault() != Fault::Unavailable
    {
        FAN_OUT_POSTPONE.execute(&pool.get().await?, &[&blog_id]).await?;
    }
    taken
}

async fn attempt(pool: &Pool, rows: i64, days_kept: i32, insert: Statement) -> Result<Turn, Failed> {
    let mut client = pool.get().await?;
    let began = Instant::now();
    let begun = client.transaction().await;
    let transaction = begun.map_err(Error::transaction(TransactionStep::Begin))?;
    let Some(claimed) = claim(&transaction, days_kept).await? else { return Ok(Turn::Idle) };
    let chunk = work_off(&transaction, &claimed, rows, insert).await;
    let chunk = chunk.map_err(|error| Failed { blog_id: Some(claimed.blog_id), error })?;
    let committing = Instant::now();
    database::commit(transaction).await?;
    let (took, commit) = (began.elapsed(), committing.elapsed());
    Ok(chunk.map_or(Turn::Again, |chunk| Turn::Chunk(Chunk { took, commit, ..chunk })))
}

/// Notifies the next followers, or ends the fan-out if no more may be notified.
async fn work_off(
    transaction: &Transaction<'_>,
    claimed: &Claimed,
    rows: i64,
    insert: Statement,
) -> Result<Option<Chunk>, Error> {
    let author = settle::author(transaction, claimed.blog_id).await?;
    Ok(match author {
        Some(author_id) if !claimed.is_expired => {
            Some(tell(transaction, claimed, author_id, rows, insert).await?)
        }
        Some(_of_an_old_blog) => {
            FAN_OUT_EXPIRE.execute(transaction, &[&claimed.blog_id]).await?;
            tracing::warn!(
                blog_id = claimed.blog_id,
                "cancelled a fan-out: its notifications would be older than the retention period"
            );
            None
        }
        None => {
            settle::withdraw(transaction, claimed.blog_id).await?;
            tracing::info!(
                blog_id = claimed.blog_id,
                "fan-out withdrawn: readers do not see the blog, or its publishing time is more than 60 days ahead"
            );
            None
        }
    })
}

async fn claim(transaction: &Transaction<'_>, days_kept: i32) -> Result<Option<Claimed>, Error> {
    let row = FAN_OUT_CLAIM.query_opt(transaction, &[&days_kept]).await?;
    Ok(row.map(|row| Claimed {
        blog_id: row.get("blog_id"),
        published_at: row.get("published_at"),
        after_id: row.get("after_id"),
        is_expired: row.get("is_expired"),
    }))
}

/// Inserts the notifications of the next followers and moves the cursor past them. The caller fills in the times.
async fn tell(
    transaction: &Transaction<'_>,
    claimed: &Claimed,
    author_id: i64,
    rows: i64,
    insert: Statement,
) -> Result<Chunk, Error> {
    let Claimed { blog_id, published_at, after_id, .. } = claimed;
    let bound = FAN_OUT_BOUND.query_one(transaction, &[&author_id, after_id, &rows]).await?;
    let (looked_at, last_id): (i64, Option<i64>) = (bound.get("followers"), bound.get("last_id"));
    let mut notified = 0;
    if let Some(last_id) = last_id {
        notified =
            insert.execute(transaction, &[&author_id, after_id, &last_id, published_at, blog_id]).await?;
    }
    let is_last = looked_at < rows;
    let (last_id, told) = (last_id.unwrap_or(*after_id), i64::try_from(notified).unwrap_or(i64::MAX));
    FAN_OUT_ADVANCE.execute(transaction, &[blog_id, &last_id, &looked_at, &told, &is_last]).await?;
    let (took, commit) = (Duration::ZERO, Duration::ZERO);
    Ok(Chunk { blog_id: *blog_id, looked_at, notified, is_last, took, commit })
}
