//! `commonplace account`: the operator's actions on accounts. Each calls one function of the schema's owner.
//!
//! Suspending an account hides its blogs and revokes its tokens; every service reads the same views, so one change is
//! enough. Restoring undoes the account's deletion, or else its suspension.

pub(crate) mod erase;
mod export;
mod exports;

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use database::{Statement, statement};
use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::Serialize;

use crate::operator::Place;
use crate::terminal::{self, Format};

const ACCOUNT_FIND: Statement = statement!("account_find.sql");
const ACCOUNT_SUSPEND: Statement = statement!("account_suspend.sql");
const ACCOUNT_RESTORE: Statement = statement!("account_restore.sql");
const ACCOUNT_UNDELETE: Statement = statement!("account_undelete.sql");

const EXAMPLES: &str = "\
Examples:
  commonplace account suspend ada          hides her blogs and revokes her tokens
  commonplace account restore ada
  commonplace account exports              lists open requests and past exports
  commonplace account export ada --output ada.json
  commonplace account erase ada --yes --record /srv/commonplace/erased-accounts
                                           for good: only the record of exports keeps the account's id
  commonplace account erase 17 --yes --record /srv/commonplace/erased-accounts
                                           again by id, for data that arrived after the first run

                                           Exit codes: 0 done, or there was nothing to change; 1 there is no such account, or it failed; 2 wrong usage.";
const SUSPEND_EXAMPLES: &str = "\
Examples:
  commonplace account suspend ada
  commonplace account suspend 17 --json

Exit codes: 0 it is suspended, or was before; 1 there is no such account, or it failed; 2 wrong usage.";
const RESTORE_EXAMPLES: &str = "\
Examples:
  commonplace account restore ada
  commonplace account restore 17 --json

A deleted account comes back with its blogs, until its password is erased at the end of the grace period
(accounts.deletion_grace_days). If it is suspended as well, restore it a second time.

Exit codes: 0 its deletion or suspension is undone, or there was none; 1 there is no such account, its password is
erased, or the command failed; 2 wrong usage.";

/// Suspend, restore, export or erase an account
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Hide an account's blogs and revoke its tokens (takes effect within a minute in every process)
    #[command(after_help = SUSPEND_EXAMPLES)]
    Suspend(Change),
    /// Undo a suspension or a deletion; every process accepts tokens from a new sign-in within a minute
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Change),
    /// Export all data about a person as JSON, if the account has requested it
    Export(export::Export),
    /// List open requests for an export, and the record of exports
    Exports(exports::Exports),
    /// Erase a person from every table, without changing totals. This cannot be undone
    Erase(erase::Erase),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The account's id or handle; write @ before a handle that consists of digits
    account: Name,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Change {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    format: Format,
}

/// The id or the handle of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Id(i64),
    Handle(String),
}

/// An account as an operator sees it.
pub(crate) struct Account {
    pub(crate) id: i64,
    pub(crate) handle: String,
    pub(crate) token_epoch: i32,
    pub(crate) created_at: Timestamp,
    suspended_at: Option<Timestamp>,
    deleted_at: Option<Timestamp>,
}

/// The state of an account after a command.
#[derive(Debug, Serialize)]
struct Changed<'account> {
    id: i64,
    handle: &'account str,
    is_suspended: bool,
    has_changed: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Suspend(change) => change.run(ACCOUNT_SUSPEND, true).await,
        Command::Restore(change) => change.run(ACCOUNT_RESTORE, false).await,
        Command::Export(export) => export.run().await,
        Command::Exports(exports) => exports.run().await,
        Command::Erase(erase) => erase.run().await,
    }
}

impl Change {
    async fn run(&self, statement: Statement, suspend: bool) -> anyhow::Result<()> {
        let (client, account) = self.which.find().await?;
        if let Some(at) = account.deleted_at.filter(|_| !suspend) {
            return self.undelete(&client, &account, at).await;
        }
        let Account { id, handle, suspended_at, deleted_at, .. } = account;
        let has_changed: bool = statement.query_one(&client, &[&id]).await?.get("has_changed");
        // Suspending a deleted account keeps it from coming back when its owner signs in.
        if let Some(at) = deleted_at.filter(|_| !has_changed && suspended_at.is_none()) {
            bail!("{handle} was deleted at {at} and cannot come back: there is nothing to change");
        }
        if self.format.json {
            return terminal::json(&Changed { id, handle: &handle, is_suspended: suspend, has_changed });
        }
        let now = if suspend { "is suspended" } else { "is no longer suspended" };
        let already = if has_changed { "" } else { " (no change)" };
        terminal::line(format_args!("{handle} (id {id}) {now}{already}"));
        Ok(())
    }

    async fn undelete(
        &self,
        client: &Object,
        account: &Account,
        deleted_at: Timestamp,
    ) -> anyhow::Result<()> {
        let Account { id, handle, suspended_at, .. } = account;
        let (id, is_suspended) = (*id, suspended_at.is_some());
        let has_changed: bool = ACCOUNT_UNDELETE.query_one(client, &[&id]).await?.get("has_changed");
        if !has_changed {
            bail!(
                "{handle} was deleted at {deleted_at} and cannot be restored: its e-mail address and password are erased"
            );
        }
        if self.format.json {
            return terminal::json(&Changed { id, handle, is_suspended, has_changed });
        }
        let still = if is_suspended { ", and is still suspended" } else { "" };
        terminal::line(format_args!("{handle} (id {id}) is no longer deleted{still}"));
        Ok(())
    }
}

impl Which {
    async fn find(&self) -> anyhow::Result<(Object, Account)> {
        let client = self.place.pool()?.get().await?;
        let account = find(&client, &self.account).await?;
        Ok((client, account))
    }
}

impl FromStr for Name {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let handle = || Self::Handle(text.strip_prefix('@').unwrap_or(text).to_owned());
        Ok(text.parse().map_or_else(|_| handle(), Self::Id))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Handle(handle) => write!(f, "{handle:?}"),
        }
    }
}

impl Account {
    /// An error if no token may be issued for the account: it is deleted or suspended.
    pub(crate) fn is_active(&self) -> anyhow::Result<()> {
        match (self.deleted_at, self.suspended_at) {
            (Some(at), _) => bail!("{} was deleted at {at}", self.handle),
            (None, Some(at)) => bail!(
                "{} has been suspended since {at}: run `commonplace account restore` first",
                self.handle
            ),
            (None, None) => Ok(()),
        }
    }
}

/// The account with this id or handle.
///
/// # Errors
/// If there is none.
pub(crate) async fn find(client: &Object, name: &Name) -> anyhow::Result<Account> {
    let account = look_up(client, name).await?;
    account.with_context(|| format!("there is no account {name}: give its handle or its id"))
}

pub(crate) async fn look_up(client: &Object, name: &Name) -> anyhow::Result<Option<Account>> {
    let (id, handle) = match name {
        Name::Id(id) => (Some(id), None),
        Name::Handle(handle) => (None, Some(handle)),
    };
    let row = ACCOUNT_FIND.query_opt(client, &[&id, &handle]).await?;
    Ok(row.map(|row| Account {
        id: row.get("id"),
        handle: row.get("handle"),
        token_epoch: row.get("token_epoch"),
        created_at: row.get("created_at"),
        suspended_at: row.get("suspended_at"),
        deleted_at: row.get("deleted_at"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_an_id_and_never_a_handle() {
        let handle = |text: &str| Name::Handle(text.to_owned());
        for (text, expected) in [
            ("17", Name::Id(17)),
            ("ada", handle("ada")),
            ("@17", handle("17")),
            ("17-ada", handle("17-ada")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }
}
