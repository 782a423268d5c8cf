//! `account export`: everything that is kept of a person. It may be large, so it is written as it is read.

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

use super::Which;
use crate::terminal;

const ACCOUNT_EXPORT: Statement = statement!("account_export.sql");
/// The parts in the order in which they come: one object, then lists.
const ACCOUNT: &str = "account";
const LISTS: [&str; 6] = ["blogs", "answers", "following", "likes", "parked", "notifications"];

const EXAMPLES: &str = "\
Examples:
  commonplace account export ada --output ada.json
  commonplace account export 17 | jq .blogs[].title

Exit codes: 0 done; 1 there is no such account, the file is there already, or it failed; 2 wrong usage.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    #[command(flatten)]
    which: Which,
    /// A new file, which only its owner can read, instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (client, account) = self.which.find().await?;
        let Some(path) = &self.output else {
            let written = write(&client, account.id, BufWriter::new(io::stdout())).await;
            // A reader who has gone away is no error.
            let gone = |error: &anyhow::Error| {
                error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
            };
            return written.or_else(|error| if gone(&error) { Ok(()) } else { Err(error) });
        };
        let file = create(path).with_context(|| format!("making {}", path.display()))?;
        if let Err(error) = write(&client, account.id, BufWriter::new(file)).await {
            // A part of an export must not pass for a whole one.
            let _not_there = fs::remove_file(path);
            return Err(error.context(format!("writing {}", path.display())));
        }
        terminal::line(format_args!("{} (id {}) is in {}", account.handle, account.id, path.display()));
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes one JSON object, an item a line.
async fn write(client: &Object, account_id: i64, mut to: impl Write) -> anyhow::Result<()> {
    let mut rows = pin!(ACCOUNT_EXPORT.stream(client, &[&account_id]).await?);
    let mut lists = LISTS.into_iter();
    let Some(first) = rows.try_next().await? else { bail!("the account has been erased just now") };
    write!(to, "{{\n\"{ACCOUNT}\": {}", first.get::<_, Value>("item"))?;
    let (mut list, mut items) = (ACCOUNT, 0);
    while let Some(row) = rows.try_next().await? {
        let (part, item): (&str, Value) = (row.get("part"), row.get("item"));
        while list != part {
            let Some(next) = lists.next() else {
                bail!("the owners export {part:?}, which this release does not know")
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

/// Ends what stands before a list and begins it.
fn begin(to: &mut impl Write, before: &str, list: &str) -> io::Result<()> {
    write!(to, "{},\n\"{list}\": [", if before == ACCOUNT { "" } else { "]" })
}
