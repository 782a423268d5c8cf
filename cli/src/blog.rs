//! `commonplace blog`: the operator's actions on a blog, each through one function of its owner. Every service reads the
//! same view of live blogs, so one change is enough.

use anyhow::{Context, bail};
use database::{Statement, statement};
use jiff::Timestamp;
use serde::Serialize;

use crate::operator::Place;
use crate::terminal::{self, Format};

const BLOG_FIND: Statement = statement!("blog_find.sql");
const BLOG_TAKE_DOWN: Statement = statement!("blog_take_down.sql");
const BLOG_RESTORE: Statement = statement!("blog_restore.sql");

const EXAMPLES: &str = "\
Examples:
  commonplace blog takedown 17    hides it from readers; its author cannot publish it again
  commonplace blog restore 17

Exit codes: 0 done, or there was nothing to change; 1 there is no such blog, or it failed; 2 wrong usage.";

const TAKE_DOWN_EXAMPLES: &str = "\
Examples:
  commonplace blog takedown 17
  commonplace blog takedown 17 --json

Exit codes: 0 it is taken down, or was before; 1 there is no such blog, or it failed; 2 wrong usage.";
const RESTORE_EXAMPLES: &str = "\
Examples:
  commonplace blog restore 17
  commonplace blog restore 17 --json

Exit codes: 0 it is restored, or was not taken down; 1 there is no such blog, or it failed; 2 wrong usage.";

/// Take a blog down, or restore it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Hide a blog from readers (takes effect within seconds in every process); its counters stay as they are
    #[command(after_help = TAKE_DOWN_EXAMPLES)]
    Takedown(Which),
    /// Show a blog again that was taken down
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The blog's id
    blog: i64,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// The state of a blog after a command.
#[derive(Debug, Serialize)]
struct Changed<'blog> {
    id: i64,
    title: &'blog str,
    is_taken_down: bool,
    has_changed: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (Which { blog: id, format, place }, statement, is_taken_down) = match arguments.command {
        Command::Takedown(which) => (which, BLOG_TAKE_DOWN, true),
        Command::Restore(which) => (which, BLOG_RESTORE, false),
    };
    let client = place.pool()?.get().await?;
    let row = BLOG_FIND.query_opt(&client, &[&id]).await?;
    let row = row.with_context(|| format!("there is no blog {id}"))?;
    if let Some(at) = row.get::<_, Option<Timestamp>>("deleted_at") {
        bail!("blog {id} was deleted at {at}: there is nothing to change");
    }
    let title = row.get("title");
    let has_changed: bool = statement.query_one(&client, &[&id]).await?.get("has_changed");
    if format.json {
        return terminal::json(&Changed { id, title, is_taken_down, has_changed });
    }
    let now = if is_taken_down { "is taken down" } else { "is back" };
    let already = if has_changed { "" } else { " (no change)" };
    terminal::line(format_args!("blog {id} ({title}) {now}{already}"));
    Ok(())
}
