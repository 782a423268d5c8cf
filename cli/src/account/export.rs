//! `account export`: all data about a person. It may be large, so the command writes it row by row as it reads it.
//!
//! An export needs an open request of the account. The command first uses up the request and records the export, in a
//! transaction of its own: the owners' functions return nothing to a session that has not committed such a record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;

use anyhow::{Context, bail};
use database::{Statement, statement};
use deadpool_postgres::Object;
use futures_util::TryStreamExt;
use serde_json::Value;

use super::{Account, Which};
use crate::terminal;

const ACCOUNT_EXPORT: Statement = statement!("account_export.sql");
const ACCOUNT_OPEN_EXPORT: Statement = statement!("account_open_export.sql");
/// SQLSTATE `insufficient_privilege`: the account has no open request.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// The parts of an export, in order: one object, then lists.
const ACCOUNT: &str = "account";
const LISTS: [&str; 6] = ["blogs", "answers", "following", "likes", "parked", "notifications"];

const EXAMPLES: &str = "\
Examples:
  commonplace account export ada --output ada.json
  commonplace account export 17 | jq .blogs[].title

The account must first request the export with PUT /v1/accounts/me/export-request. A request is valid for one export
within 7 days; 
`commonplace account exports` lists open requests and past exports.

Exit codes: 0 done; 1 there is no such account, it has no open request, the file exists, or the command failed; 2 wrong
usage.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    #[command(flatten)]
    which: Which,
    /// Write to this new file, which only its owner can read, instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (client, account) = self.which.find().await?;
        let Some(path) = &self.output else {
            open(&client, &account).await?;
            let written = write(&client, account.id, BufWriter::new(io::stdout())).await;
            // A closed pipe is not an error.
            let gone = |error: &anyhow::Error| {
                error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
            };
            return written.or_else(|error| if gone(&error) { Ok(()) } else { Err(error) });
        };
        let file = create(path).with_context(|| format!("making {}", path.display()))?;
        let written = async {
            open(&client, &account).await?;
            let written = write(&client, account.id, BufWriter::new(file)).await;
            written.with_context(|| {
                format!(
                    "writing {}. The request is used up: the account must request another export",
                    path.display()
                )
            })
        };
        if let Err(error) = written.await {
            // A partial export must not be mistaken for a complete one.
            let _not_there = fs::remove_file(path);
            return Err(error);
        }
        terminal::line(format_args!("{} (id {}) is in {}", account.handle, account.id, path.display()));
        Ok(())
    }
}

/// Uses the account's request and records the export.
async fn open(client: &Object, account: &Account) -> anyhow::Result<()> {
    let opened = ACCOUNT_OPEN_EXPORT.query_one(client, &[&account.id]).await;
    opened.map(drop).map_err(|error| {
        let has_not_asked = error.sqlstate() == Some(INSUFFICIENT_PRIVILEGE);
        let error = anyhow::Error::from(error);
        if has_not_asked {
            error.context(format!(
                "{} has no open request for an export. The account makes one with PUT /v1/accounts/me/export-request; it is \
                valid for one export within 7 days",
                account.handle
            ))
        } else {
            error
        }
    })
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes one JSON object, with one item per line.
async fn write(client: &Object, account_id: i64, mut to: impl Write) -> anyhow::Result<()> {
    let mut rows = pin!(ACCOUNT_EXPORT.stream(client, &[&account_id]).await?);
    let mut lists = LISTS.into_iter();
    let Some(first) = rows.try_next().await? else { bail!("the account was erased while the command ran") };
    write!(to, "{{\n\"{ACCOUNT}\": {}", first.get::<_, Value>("item"))?;
    let (mut list, mut items) = (ACCOUNT, 0);
    while let Some(row) = rows.try_next().await? {
        let (part, item): (&str, Value) = (row.get("part"), row.get("item"));
        while list != part {
            let Some(next) = lists.next() else {
                bail!("the export has a part {part:?}, which this release does not know")
            };
            begin(&mut to, list, next)?;
            (list, items) = (next, 0);
        }
        write!(to, "{}\n  {item}", if items == 0 { "" } else { "," })?;
        items += 1;
    }
    for next in lists {
        begin(&mut to, list, next)?;
        list = next;
    }
    to.write_all(b"]\n}\n")?;
    to.flush()?;
    Ok(())
}

/// Closes the previous part and opens a list.
fn begin(to: &mut impl Write, before: &str, list: &str) -> io::Result<()> {
    write!(to, "{},\n\"{list}\": [", if before == ACCOUNT { "" } else { "]" })
}
