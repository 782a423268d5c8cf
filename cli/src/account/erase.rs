//! `account erase`, in two steps. First the account is deleted: from that commit on, whoever begins to count its likes
//! finds it gone. Then everything older is waited for, and what is left is rewritten, so that no transaction which had
//! seen the account alive can write its id after it has been erased.

use std::time::Duration;

use anyhow::{Context, bail};
use database::{Statement, statement};
use deadpool_postgres::Object;
use serde::Serialize;
use tokio::time::Instant;

use super::{Name, Which, find, look_up};
use crate::terminal::{self, Format, Progress};

const ACCOUNT_RETIRE: Statement = statement!("account_retire.sql");
const ACCOUNT_ERASE: Statement = statement!("account_erase.sql");
const SAMPLE_AGAIN: Statement = statement!("sample_again.sql");
const FORGET_UNUSED_TAGS: Statement = statement!("forget_unused_tags.sql");
const TRANSACTION_HORIZON: Statement = statement!("transaction_horizon.sql");
/// How often the end of older transactions is asked for.
const POLL: Duration = Duration::from_millis(50);
/// SQLSTATE `object_in_use`: what the owners' functions say while something that waits names the account.
const OBJECT_IN_USE: &str = "55006";

const EXAMPLES: &str = "\
Examples:
  commonplace account erase ada --yes      for good: handle, e-mail and id are gone from every table
  commonplace account erase 17 --yes       once more by the id, for what was still on its way in its name

Exit codes: 0 done, also when the account was gone before; 1 there is no such handle, or it failed; 2 wrong usage.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Erase {
    #[command(flatten)]
    which: Which,
    /// Really: it cannot be undone
    #[arg(long)]
    yes: bool,
    /// How long transactions that began before may take to end
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    #[command(flatten)]
    format: Format,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Erased {
    id: i64,
    /// False when only what had come in its name since was left.
    was_there: bool,
}

impl Erase {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.which.place.pool()?.get().await?;
        let erased = match &self.which.account {
            // Erased before: something in its name may have arrived since.
            Name::Id(id) => {
                Erased { id: *id, was_there: look_up(&client, &self.which.account).await?.is_some() }
            }
            handle @ Name::Handle(_) => Erased { id: find(&client, handle).await?.id, was_there: true },
        };
        if !self.yes {
            bail!("erasing account {} cannot be undone: say --yes", erased.id);
        }
        erase(&client, erased.id, Duration::from_secs(self.wait)).await?;
        if self.format.json {
            return terminal::json(&erased);
        }
        if erased.was_there {
            terminal::line(format_args!("account {} is erased", erased.id));
        } else {
            terminal::line(format_args!("there is no account {}; what still named it is erased", erased.id));
        }
        Ok(())
    }
}

async fn erase(client: &Object, account_id: i64, wait_max: Duration) -> anyhow::Result<()> {
    let progress = Progress::new();
    ACCOUNT_RETIRE.query_one(client, &[&account_id]).await?;
    progress.now("waiting for transactions that began before");
    let waited = until_older_have_ended(client, wait_max).await;
    progress.rest();
    waited?;
    ACCOUNT_ERASE.query_one(client, &[&account_id]).await.map_err(|error| {
        let waits = error.sqlstate() == Some(OBJECT_IN_USE);
        let error = anyhow::Error::from(error);
        if waits {
            error.context(
                "something that names it still waits. An envelope in the outbox is sent within moments where an API of \
                 the release that wrote it runs and RabbitMQ is there; a parked message is for you to redrive or drop \
                 (`commonplace parked list`). Then erase again",
            )
        } else {
            error
        }
    })?;
    let tidying = "the account is erased; what the planner sampled of it, or tags that only it used, may still be there: \
                   erase it once more by its id";
    SAMPLE_AGAIN.query_one(client, &[]).await.context(tidying)?;
    FORGET_UNUSED_TAGS.query_one(client, &[]).await.context(tidying)?;
    Ok(())
}

/// Every transaction that had begun when this was called, and so might have seen the account alive.
async fn until_older_have_ended(client: &Object, wait_max: Duration) -> anyhow::Result<()> {
    let next: i64 = TRANSACTION_HORIZON.query_one(client, &[]).await?.get("next");
    let deadline = Instant::now() + wait_max;
    loop {
        let oldest: i64 = TRANSACTION_HORIZON.query_one(client, &[]).await?.get("oldest");
        if oldest >= next {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "a transaction that began before the account was deleted is still open after {} s. The account is \
                 deleted, but not yet erased: look for it in pg_stat_activity, and erase again",
                wait_max.as_secs()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}
