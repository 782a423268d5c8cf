//! `account erase` deletes the account, waits for older transactions, and then rewrites the rows that still name it.
//!
//! Every transaction that writes the id of an account takes its own transaction id first and looks at the account after
//! that. So once the deletion has committed, this command takes a transaction id, too. A transaction with a higher id
//! finds the account deleted; one with a lower id may have seen it alive, so the command waits for it to end. The highest id
//! in a snapshot is not enough: `pg_snapshot_xmax` is one past the highest id that has *ended*, and a transaction that
//! is still open may have a higher one.
//!
//! A chunk of a fan-out sets its cursor to the last follower that it has found, whether or not that account is active.
//! Chunks find an erased account until the deletion of its follows commits. So the command waits a second time, for
//! the chunks that began before that commit, and then moves their cursors off the account.
//!
//! A dump from before the erasure brings the account back. So the command first appends the account to a record outside the database
//! (`--record`), from which `commonplace restore` erases it again, and writes the record to the disk before it changes a row.
//! If it is interrupted in between, the record names an account that is still there: the next run, or the next restore,
//! finishes what was ordered. In the other order an interruption would leave an erased account that no restore erases again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use database::{Statement, statement};
use deadpool_postgres::Object;
use serde::Serialize;
use tokio::time::Instant;

use super::{Name, Which, find, look_up};
use crate::erased::{self, RecordedAccount};
use crate::terminal::{self, Format, Progress};

const ACCOUNT_ID_GIVEN: Statement = statement!("account_id_given.sql");
const ACCOUNT_RETIRE: Statement = statement!("account_retire.sql");
const ACCOUNT_ERASE: Statement = statement!("account_erase.sql");
const ACCOUNT_ERASE_CURSORS: Statement = statement!("account_erase_cursors.sql");
const SAMPLE_AGAIN: Statement = statement!("sample_again.sql");
const FORGET_UNUSED_TAGS: Statement = statement!("forget_unused_tags.sql");
const TRANSACTION_HORIZON: Statement = statement!("transaction_horizon.sql");
const TRANSACTION_ID: Statement = statement!("transaction_id.sql");
/// How often the command checks whether older transactions have ended.
const POLL: Duration = Duration::from_millis(50);
/// SQLSTATE `object_in_use`: the owners' functions raise it while a queued envelope or a parked message names the account.
const OBJECT_IN_USE: &str = "55006";

const EXAMPLES: &str = "\
Examples:
  commonplace account erase ada --yes --record /srv/commonplace/erased-accounts
                                           for good: only the record of exports keeps the account's id
  commonplace account erase 17 --yes --record /srv/commonplace/erased-accounts
                                           again by id, for data that arrived after the first run

                                           If you stop the command because it was the wrong account, also remove the account's line from the record; otherwise the
                                           next restore erases the account.

                                           Exit codes: 0 done, even if the account was already erased; 1 there is no such handle, or it failed; 2 wrong usage.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Erase {
    #[command(flatten)]
    which: Which,
    /// Confirm the erasure, which cannot be undone
    #[arg(long)]
    yes: bool,
    /// How long to wait for older transactions: once after the account is deleted, and again after it is erased
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// Append the account to this file before anything is erased: `commonplace restore` reads it, because an older dump brings
    /// the account back. Keep it apart from the database, and use one file for each installation
    #[arg(long, value_name = "FILE")]
    record: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// The result of the command.
#[derive(Debug, Serialize)]
struct Erased {
    id: i64,
    /// False if the account was already erased, and only later data was left to erase.
    was_there: bool,
}

impl Erase {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.which.place.pool()?.get().await?;
        let (id, account) = match &self.which.account {
            // Erased before: data that names it may have arrived since.
            name @ Name::Id(id) => (*id, look_up(&client, name).await?),
            handle @ Name::Handle(_) => {
                let account = find(&client, handle).await?;
                (account.id, Some(account))
            }
        };
        let erased = Erased { id, was_there: account.is_some() };
        // In the record, an id that no account has had would name the account that gets it one day.
        let is_given: bool = ACCOUNT_ID_GIVEN.query_one(&client, &[&id]).await?.get("is_given");
        if !is_given {
            bail!("no account has had the id {id}: there is nothing to erase");
        }
        if !self.yes {
            bail!("erasing account {} cannot be undone: confirm it with --yes", erased.id);
        }
        let created_at = account.map(|account| account.created_at);
        erased::append(&self.record, RecordedAccount { id, created_at })?;
        rewrite(&client, erased.id, Duration::from_secs(self.wait)).await?;
        tidy(&client).await?;
        if self.format.json {
            return terminal::json(&erased);
        }
        if erased.was_there {
            terminal::line(format_args!("account {} is erased", erased.id));
        } else {
            terminal::line(format_args!(
                "there is no account {}; data that still named it is erased",
                erased.id
            ));
        }
        Ok(())
    }
}

/// Deletes the account and rewrites the rows that still name it. Call [`tidy`] after the last account.
///
/// # Errors
/// If a transaction that may have seen the account alive does not end, or a queued envelope or parked message names the
/// account.
pub(crate) async fn rewrite(client: &Object, account_id: i64, wait_max: Duration) -> anyhow::Result<()> {
    ACCOUNT_RETIRE.query_one(client, &[&account_id]).await?;
    until_older_have_ended(client, wait_max)
        .await
        .context("the account is deleted, but not erased yet: run the command again")?;
    ACCOUNT_ERASE.query_one(client, &[&account_id]).await.map_err(|error| {
        let waits = error.sqlstate() == Some(OBJECT_IN_USE);
        let error = anyhow::Error::from(error);
        if waits {
            error.context(
                "an envelope in the outbox or a parked message still names the account. The outbox sends its envelopes within \
                moments while RabbitMQ and an API of the release that wrote them run. Redrive or drop parked messages \
                (`commonplace parked list`). Then run the command again",
            )
        } else {
            error
        }
    })?;
    let tidying =
        "the account is erased, but cursors of fan-outs may still name it: run the command again with its id";
    until_older_have_ended(client, wait_max).await.context(tidying)?;
    ACCOUNT_ERASE_CURSORS.query_one(client, &[&account_id]).await.context(tidying)?;
    Ok(())
}

/// True if an account is deleted but could not be erased, because a queued envelope or a parked message names it.
pub(crate) fn still_waits(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<database::Error>();
    refusal.is_some_and(|refusal| refusal.sqlstate() == Some(OBJECT_IN_USE))
}

/// Deletes the planner's samples of erased accounts, and the tags that only they used.
///
/// # Errors
/// The error of Postgres, with what remains to be done.
pub(crate) async fn tidy(client: &Object) -> anyhow::Result<()> {
    let tidying = "the account is erased, but the planner's samples of it, or tags that only it used, may remain: \
    run the command again with its id";
    SAMPLE_AGAIN.query_one(client, &[]).await.context(tidying)?;
    FORGET_UNUSED_TAGS.query_one(client, &[]).await.context(tidying)?;
    Ok(())
}

/// Waits until every transaction that had an id at the time of the call has ended.
async fn until_older_have_ended(client: &Object, wait_max: Duration) -> anyhow::Result<()> {
    let progress = Progress::new();
    progress.now("waiting for older transactions to end");
    let waited = poll_older(client, wait_max).await;
    progress.rest();
    waited
}

async fn poll_older(client: &Object, wait_max: Duration) -> anyhow::Result<()> {
    let id: i64 = TRANSACTION_ID.query_one(client, &[]).await?.get("id");
    let deadline = Instant::now() + wait_max;
    loop {
        let oldest: i64 = TRANSACTION_HORIZON.query_one(client, &[]).await?.get("oldest");
        if oldest > id {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "an older transaction is still open after {} s. It may be in any database of the cluster: \
                pg_stat_activity shows it, with a backend_xid below {id}; wait for it or end it",
                wait_max.as_secs()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}
