//! `commonplace account`: what operators do with accounts, each through one function of the schema's owner.
//!
//! Suspending takes an account's blogs from sight and its tokens back; every service asks the same views, so that one
//! change is enough. Erasing has two steps. First the account is deleted: from that commit on, whoever begins to count
//! its likes finds it gone. Then everything older is waited for, and what is left is rewritten, so that no transaction
//! which had seen the account alive can write its id after it has been erased.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use database::{Statement, statement};
use deadpool_postgres::Object;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::operator::Place;
use crate::terminal::{self, Progress};

const ACCOUNT_FIND: Statement = statement!("account_find.sql");
const ACCOUNT_SUSPEND: Statement = statement!("account_suspend.sql");
const ACCOUNT_RESTORE: Statement = statement!("account_restore.sql");
const ACCOUNT_EXPORT: Statement = statement!("account_export.sql");
const ACCOUNT_RETIRE: Statement = statement!("account_retire.sql");
const ACCOUNT_ERASE: Statement = statement!("account_erase.sql");
const FORGET_UNUSED_TAGS: Statement = statement!("forget_unused_tags.sql");
const TRANSACTION_HORIZON: Statement = statement!("transaction_horizon.sql");
/// How often the end of older transactions is asked for.
const POLL: Duration = Duration::from_millis(50);

const EXAMPLES: &str = "\
Examples:
  commonplace account suspend ada          her blogs are no longer shown, her tokens no longer good
  commonplace account restore ada
  commonplace account export ada --output ada.json
  commonplace account erase ada --yes      for good: handle, e-mail and id are gone from every table
  commonplace account erase 17 --yes       once more by the id, for what was still on its way in its name

Exit codes: 0 done, or it was so already; 1 there is no such account, or it failed; 2 wrong usage.";

/// Suspend, restore, export or erase an account
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Take an account's blogs from sight and its tokens back (within a minute in every process)
    Suspend(Which),
    /// Take a suspension back; tokens from a new sign-in are good within a minute in every process
    Restore(Which),
    /// Everything that is kept of a person, as JSON
    Export(Export),
    /// Erase a person from every table; totals stay what they are. This cannot be undone
    Erase(Erase),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The account's handle or id
    account: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    which: Which,
    /// A new file, which only its owner can read, instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Erase {
    #[command(flatten)]
    which: Which,
    /// Really: it cannot be undone
    #[arg(long)]
    yes: bool,
    /// How long transactions that began before may take to end
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

/// An account as an operator sees it.
pub(crate) struct Account {
    pub(crate) id: i64,
    pub(crate) handle: String,
    pub(crate) token_epoch: i32,
    suspended_at: Option<Timestamp>,
    deleted_at: Option<Timestamp>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Suspend(which) => {
            let (client, account) = which.find().await?;
            change(&client, ACCOUNT_SUSPEND, &account, "is suspended").await
        }
        Command::Restore(which) => {
            let (client, account) = which.find().await?;
            change(&client, ACCOUNT_RESTORE, &account, "is no longer suspended").await
        }
        Command::Export(Export { which, output }) => {
            let (client, account) = which.find().await?;
            export(&client, &account, output.as_deref()).await
        }
        Command::Erase(Erase { which, yes, wait }) => {
            let client = which.place.pool()?.get().await?;
            let account_id = match (find(&client, &which.account).await, which.account.parse()) {
                (Ok(account), _) => account.id,
                // Erased before: something in its name may have arrived since.
                (Err(_), Ok(id)) => id,
                (Err(error), Err(_)) => return Err(error),
            };
            if !yes {
                bail!("erasing account {account_id} cannot be undone: say --yes");
            }
            erase(&client, account_id, Duration::from_secs(wait)).await
        }
    }
}

impl Which {
    async fn find(&self) -> anyhow::Result<(Object, Account)> {
        let client = self.place.pool()?.get().await?;
        let account = find(&client, &self.account).await?;
        Ok((client, account))
    }
}

impl Account {
    /// Why nothing can be done in its name, if so.
    pub(crate) fn is_active(&self) -> anyhow::Result<()> {
        match (self.deleted_at, self.suspended_at) {
            (Some(at), _) => bail!("{} was deleted at {at}", self.handle),
            (None, Some(at)) => bail!("{} is suspended since {at}: `account restore` first", self.handle),
            (None, None) => Ok(()),
        }
    }
}

/// The account of this handle or id.
///
/// # Errors
/// When there is none.
pub(crate) async fn find(client: &Object, text: &str) -> anyhow::Result<Account> {
    let row = ACCOUNT_FIND.query_opt(client, &[&text.parse::<i64>().ok(), &text]).await?;
    let row = row.with_context(|| format!("there is no account {text:?}: give its handle or its id"))?;
    Ok(Account {
        id: row.get("id"),
        handle: row.get("handle"),
        token_epoch: row.get("token_epoch"),
        suspended_at: row.get("suspended_at"),
        deleted_at: row.get("deleted_at"),
    })
}

async fn change(client: &Object, statement: Statement, account: &Account, now: &str) -> anyhow::Result<()> {
    if let Some(at) = account.deleted_at {
        bail!("{} was deleted at {at}: there is nothing to change", account.handle);
    }
    let has_changed: bool = statement.query_one(client, &[&account.id]).await?.get("has_changed");
    let already = if has_changed { "" } else { " (it was so already)" };
    terminal::line(format_args!("{} (id {}) {now}{already}", account.handle, account.id));
    Ok(())
}

async fn export(client: &Object, account: &Account, output: Option<&Path>) -> anyhow::Result<()> {
    let export: serde_json::Value = ACCOUNT_EXPORT.query_one(client, &[&account.id]).await?.get("export");
    let Some(path) = output else { return terminal::json(&export) };
    let doing = || format!("writing {}", path.display());
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(doing)?;
    file.write_all(&serde_json::to_vec_pretty(&export)?).with_context(doing)?;
    terminal::line(format_args!("{} (id {}) is in {}", account.handle, account.id, path.display()));
    Ok(())
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
                "something that names it still waits. An envelope in the outbox is sent in a moment; a parked message is \
                 for you to redrive or drop (`commonplace parked list`). Then erase again",
            )
        } else {
            error
        }
    })?;
    FORGET_UNUSED_TAGS.query_one(client, &[]).await?;
    terminal::line(format_args!("account {account_id} is erased"));
    Ok(())
}

/// SQLSTATE `object_in_use`: what the owner's function says while the outbox names the account.
const OBJECT_IN_USE: &str = "55006";

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
