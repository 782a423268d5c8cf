//! `commonplace fan-out`: how far followers have been told of blogs, and what operators decide about it, each through one
//! function of the owner. A decision waits for the chunk in hand, and so takes effect before the next.

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
  commonplace fan-out list                 those that have not ended
  commonplace fan-out list --all --limit 5 the newest of all
  commonplace fan-out pause 17             nobody more is told of blog 17 for now
  commonplace fan-out resume 17
  commonplace fan-out cancel 17            for good: nobody more is ever told of it

Exit codes: 0 done, or it was so already; 1 there is no such fan-out, or it failed; 2 wrong usage.";

/// See how far followers have been told of blogs; pause, resume or cancel it
///
/// A fan-out is the telling of one blog. It tells those who followed the author when the blog was first published. While
/// readers do not see the blog it is withdrawn. It goes on by itself when its author publishes the blog again, or an operator
/// restores the blog or its author.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Fan-outs with their progress, those that have not ended first
    #[command(after_help = EXAMPLES)]
    List(List),
    /// Stop one until it is resumed
    #[command(after_help = EXAMPLES)]
    Pause(Which),
    /// Let one go on that is paused or withdrawn
    #[command(after_help = EXAMPLES)]
    Resume(Which),
    /// End one for good; who has been told stays told
    #[command(after_help = EXAMPLES)]
    Cancel(Which),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Those that have ended as well
    #[arg(long)]
    all: bool,
    /// Most to show
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

/// One fan-out, as it is shown.
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
    /// Nothing unless it is running and has begun.
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
            terminal::line(if self.all { "no blog has been told of yet" } else { "nothing is under way" });
            return Ok(());
        }
        terminal::table(
            ["blog", "title", "state", "done", "total", "told", "per s", "left", "begun"],
            &[0, 3, 4, 5, 6, 7],
            fan_outs.iter().map(FanOut::cells),
        );
        let matching: i64 = rows.first().map_or(0, |row| row.get("matching"));
        if matching > self.limit {
            terminal::line(format_args!("{} more; --limit shows them", matching - self.limit));
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
        let already = if has_changed { "" } else { " (it was so already)" };
        terminal::line(format_args!(
            "the fan-out of blog {blog_id} ({title}) is {state}, {done} of {total}{already}"
        ));
        Ok(())
    }
}

async fn find(client: &Object, blog_id: i64) -> anyhow::Result<FanOut> {
    let row = FAN_OUT_LIST.query_opt(client, &[&true, &blog_id, &1_i64]).await?;
    let row = row.with_context(|| format!("there is no fan-out of a blog {blog_id}"))?;
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
