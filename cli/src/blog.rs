//! `commonplace blog`: what operators do with a blog, through one function of its owner. Every service asks the one
//! view of what is live, so that one change is enough.

use anyhow::{Context, bail};
use database::{Statement, statement};
use jiff::Timestamp;

use crate::operator::Place;
use crate::terminal;

const BLOG_FIND: Statement = statement!("blog_find.sql");
const BLOG_TAKE_DOWN: Statement = statement!("blog_take_down.sql");
const BLOG_RESTORE: Statement = statement!("blog_restore.sql");

const EXAMPLES: &str = "\
Examples:
  commonplace blog takedown 17    readers no longer see it, and its author cannot publish it again
  commonplace blog restore 17

Exit codes: 0 done, or it was so already; 1 there is no such blog, or it failed; 2 wrong usage.";

/// Take a blog down, or bring it back
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Take a blog from sight, within seconds in every process; what readers did stays counted
    Takedown(Which),
    /// Bring a blog back that was taken down
    Restore(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The blog's id
    blog: i64,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (which, statement, now) = match arguments.command {
        Command::Takedown(which) => (which, BLOG_TAKE_DOWN, "is taken down"),
        Command::Restore(which) => (which, BLOG_RESTORE, "is back"),
    };
    let client = which.place.pool()?.get().await?;
    let row = BLOG_FIND.query_opt(&client, &[&which.blog]).await?;
    let row = row.with_context(|| format!("there is no blog {}", which.blog))?;
    if let Some(at) = row.get::<_, Option<Timestamp>>("deleted_at") {
        bail!("blog {} was deleted at {at}: there is nothing to change", which.blog);
    }
    let has_changed: bool = statement.query_one(&client, &[&which.blog]).await?.get("has_changed");
    let already = if has_changed { "" } else { " (it was so already)" };
    terminal::line(format_args!("blog {} ({}) {now}{already}", which.blog, row.get::<_, &str>("title")));
    Ok(())
}
