//! One chunk of one fan-out: the heart of the matter.
//!
//! A chunk is one transaction. It locks the row of the fan-out that has waited longest, asks in a later statement whether
//! readers still see the blog, finds the next followers along the key of `social.follow`, inserts their notifications by
//! one statement from that table, moves the cursor behind them, and commits. The cursor and the rows are committed
//! together or not at all, so a worker that dies leaves nothing half done, and the next one goes on at the cursor.
//!
//! So nobody is told twice, and the primary key has nothing to refuse. That is worth relying on: an insert that is ready
//! for a conflict writes a record more of WAL for every row. Should the key refuse a row all the same (notifications were
//! brought back from a backup that the fan-out was not), the chunk is done again by a statement that passes over those
//! who were told.

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

/// What a turn came to.
#[derive(Debug)]
pub(crate) enum Turn {
    /// There is no fan-out to work on, or others are at all of them.
    Idle,
    /// A fan-out was withdrawn or cancelled without a chunk.
    Again,
    /// A chunk is committed.
    Chunk(Chunk),
}

/// A chunk that is committed.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) blog_id: i64,
    /// Followers that it looked at.
    pub(crate) looked_at: i64,
    /// Those of them who were told.
    pub(crate) notified: u64,
    /// The fan-out is done with it.
    pub(crate) is_last: bool,
    /// From the claim to the end of the commit.
    pub(crate) took: Duration,
    /// The commit alone.
    pub(crate) commit: Duration,
}

/// A chunk that could not be taken, and whose it was if that is known.
#[derive(Debug, thiserror::Error)]
#[error("a chunk{} could not be taken", of(*blog_id))]
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

/// Whose turn it is.
struct Claimed {
    blog_id: i64,
    published_at: Timestamp,
    after_id: i64,
    is_expired: bool,
}

/// Takes the next chunk, of `rows` followers at most.
///
/// # Errors
/// What the database said. If only this fan-out is at fault, it is put at the end of the line, so that the others have their
/// turn. One of these faults is a day that cannot be made now.
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
            "somebody had been told already; the chunk is done again without them"
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

/// Tells the next followers, or ends the fan-out if there is nothing to tell any more.
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
                "a fan-out is older than what is kept; it is cancelled"
            );
            None
        }
        None => {
            settle::withdraw(transaction, claimed.blog_id).await?;
            tracing::info!(
                blog_id = claimed.blog_id,
                "readers do not see the blog, or it is dated more than 60 days ahead; its fan-out is withdrawn until then"
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

/// Inserts the notifications of the next followers and moves the cursor behind them. The times are for the caller to say.
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
