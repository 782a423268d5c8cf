//! `commonplace fan-out`: shows the progress of fan-outs, and pauses, resumes or cancels them through the owner's functions.
//! Such a change waits for the current chunk and takes effect before the next one.

use anyhow::{Context, bail};
use database::{Statement, statement};
use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;

use crate::operator::Place;
use crate::terminal::{self, Format};

const FAN_OUT_LIST: Statement = statement!("fan_out_list.sql");
const FAN_OUT_PAUSE: Statement = statement!("fan_out_pause.sql");
const FAN_OUT_RESUME: Statement = statement!("fan_out_resume.sql");
const FAN_OUT_CANCEL: Statement = statement!("fan_out_cancel.sql");

const EXAMPLES: &str = "\
Examples:
  commonplace fan-out list                 lists fan-outs that have not ended
  commonplace fan-out list --all --limit 5 lists the newest five
  commonplace fan-out pause 17             stops notifications of blog 17 for now
  commonplace fan-out resume 17
  commonplace fan-out cancel 17            stops them for good

Exit codes: 0 done, or there was nothing to change; 1 there is no such fan-out, or it failed; 2 wrong usage.";

/// Show the progress of fan-outs; pause, resume or cancel them
///
/// A fan-out notifies the accounts that followed the author when a blog was first published. While readers cannot see the
/// blog, its fan-out is withdrawn. It resumes by itself when the author publishes the blog again, or when an operator restores
/// the blog or its author.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List fan-outs with their progress, unfinished ones first
    #[command(after_help = EXAMPLES)]
    List(List),
    /// Stop a fan-out until it is resumed
    #[command(after_help = EXAMPLES)]
    Pause(Which),
    /// Resume a fan-out that is paused or withdrawn
    #[command(after_help = EXAMPLES)]
    Resume(Which),
    /// End a fan-out for good; notifications that were sent stay
    #[command(after_help = EXAMPLES)]
    Cancel(Which),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Include fan-outs that have ended
    #[arg(long)]
    all: bool,
    /// Show at most this many fan-outs
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
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

/// A fan-out in the output.
#[derive(Debug, Serialize)]
struct FanOut {
    blog_id: i64,
    title: String,
    state: String,
    published_at: Timestamp,
    total: i64,
    done: i64,
    notified: i64,
    per_second: f64,
    /// None unless the fan-out is running and has begun.
    seconds_left: Option<f64>,
    begun_at: Timestamp,
    ended_at: Option<Timestamp>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::List(list) => list.run().await,
        Command::Pause(which) => which.change(FAN_OUT_PAUSE).await,
        Command::Resume(which) => which.change(FAN_OUT_RESUME).await,
        Command::Cancel(which) => which.change(FAN_OUT_CANCEL).await,
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let client = self.place.pool()?.get().await?;
        let rows = FAN_OUT_LIST.query(&client, &[&self.all, &None::<i64>, &self.limit]).await?;
        let fan_outs: Vec<FanOut> = rows.iter().map(FanOut::from).collect();
        if self.format.json {
            return terminal::json(&fan_outs);
        }
        if fan_outs.is_empty() {
            terminal::line(if self.all { "there is no fan-out yet" } else { "every fan-out has ended" });
            return Ok(());
        }
        terminal::table(
            ["blog", "title", "state", "done", "total", "notified", "per s", "left", "begun"],
            &[0, 3, 4, 5, 6, 7],
            fan_outs.iter().map(FanOut::cells),
        );
        let matching: i64 = rows.first().map_or(0, |row| row.get("matching"));
        if matching > self.limit {
            terminal::line(format_args!("{} more: raise --limit to see them", matching - self.limit));
        }
        Ok(())
    }
}

impl Which {
    async fn change(self, statement: Statement) -> anyhow::Result<()> {
        let client = self.place.pool()?.get().await?;
        let has_changed: bool = statement.query_one(&client, &[&self.blog]).await?.get("has_changed");
        let fan_out = find(&client, self.blog).await?;
        if self.format.json {
            return terminal::json(&fan_out);
        }
        let FanOut { blog_id, title, state, done, total, .. } = &fan_out;
        if !has_changed && fan_out.ended_at.is_some() {
            bail!("the fan-out of blog {blog_id} ({title}) is {state}, so there is nothing to change");
        }
        let already = if has_changed { "" } else { " (no change)" };
        terminal::line(format_args!(
            "the fan-out of blog {blog_id} ({title}) is {state}, {done} of {total}{already}"
        ));
        Ok(())
    }
}

async fn find(client: &Object, blog_id: i64) -> anyhow::Result<FanOut> {
    let row = FAN_OUT_LIST.query_opt(client, &[&true, &blog_id, &1_i64]).await?;
    let row = row.with_context(|| format!("there is no fan-out of blog {blog_id}"))?;
    Ok(FanOut::from(&row))
}

impl From<&Row> for FanOut {
    fn from(row: &Row) -> Self {
        Self {
            blog_id: row.get("blog_id"),
            title: row.get("title"),
            state: row.get("state"),
            published_at: row.get("published_at"),
            total: row.get("total"),
            done: row.get("looked_at"),
            notified: row.get("notified"),
            per_second: row.get("rows_per_s"),
            seconds_left: row.get("seconds_left"),
            begun_at: row.get("created_at"),
            ended_at: row.get("ended_at"),
        }
    }
}

impl FanOut {
    fn cells(&self) -> [String; 9] {
        [
            self.blog_id.to_string(),
            self.title.clone(),
            self.state.clone(),
            self.done.to_string(),
            self.total.to_string(),
            self.notified.to_string(),
            format!("{:.0}", self.per_second),
            self.seconds_left.map_or_else(String::new, |left| format!("{left:.0} s")),
            self.begun_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        ]
    }
}
