//! `commonplace reconcile`: compares counters with what they count, page by page, each page in one snapshot, while events
//! keep arriving. A repair locks one blog's counters at a time.

use std::time::Duration;

use anyhow::{Context, bail};
use database::{Statement, statement};
use deadpool_postgres::Object;
use serde::Serialize;

use crate::operator::Place;
use crate::terminal::{self, Format, Progress};

const COUNTER_DRIFT: Statement = statement!("counter_drift.sql");
const MEND_COUNTER: Statement = statement!("mend_counter.sql");

/// Blogs that one statement compares.
const PAGE: i32 = 1000;
/// Attempts at a blog whose counters another transaction has locked, and the pause between two attempts.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);
/// SQLSTATE `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

const EXAMPLES: &str = "\
Examples:
  commonplace reconcile               compares every blog and lists the differences
  commonplace reconcile --blog 17
  commonplace reconcile --repair      also sets the differing counters to what they count

Exit codes: 0 every counter is right, or was repaired; 1 a counter differs, or the command failed; 2 wrong usage.";

/// Compare counters with what they count, and repair them
///
/// The command compares views and shares with the hourly series and the channels, and likes with the accounts that like. A
/// batch writes all of these in one transaction, so a difference has another cause. Events may keep arriving meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Compare only the blog with this id
    #[arg(long, value_name = "ID")]
    blog: Option<i64>,
    /// Set differing counters to what they count
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// The number of blogs that were compared.
    looked_at: i64,
    drift: Vec<Drift>,
    /// The blogs whose counters were set.
    mended: Vec<i64>,
}

/// A counter that differs from the counted events.
#[derive(Debug, Serialize)]
struct Drift {
    blog_id: i64,
    kind: String,
    counter: i64,
    counted: i64,
    difference: i64,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.place.pool()?.get().await?;
    let progress = Progress::new();
    progress.now("comparing the counters with the counted events");
    let report = reconcile(&client, &arguments, &progress).await;
    progress.rest();
    let report = report?;
    if arguments.format.json {
        terminal::json(&report)?;
    } else {
        report.show(arguments.repair);
    }
    if report.drift.is_empty() || arguments.repair {
        return Ok(());
    }
    bail!("{}: repair with `commonplace reconcile --repair`", report.differs())
}

async fn reconcile(client: &Object, arguments: &Arguments, progress: &Progress) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let (mut after, most) = match arguments.blog {
        Some(blog) => (blog.saturating_sub(1), 1),
        None => (0, PAGE),
    };
    loop {
        let rows = COUNTER_DRIFT.query(client, &[&after, &most]).await?;
        let (looked_at, last_id) =
            rows.first().map_or((0, None), |row| (row.get("looked_at"), Some(row.get::<_, i64>("last_id"))));
        if let Some(blog) = arguments.blog.filter(|blog| last_id != Some(*blog)) {
            bail!("blog {blog} has no counters: there is no such blog");
        }
        report.looked_at += looked_at;
        let found: Vec<Drift> = rows.iter().filter_map(Drift::new).collect();
        let mut blogs: Vec<i64> = found.iter().map(|drift| drift.blog_id).collect();
        blogs.dedup();
        report.drift.extend(found);
        if arguments.repair {
            for blog in blogs {
                if mend(client, blog).await? {
                    report.mended.push(blog);
                }
            }
        }
        match last_id.filter(|_| looked_at == i64::from(most) && arguments.blog.is_none()) {
            Some(last_id) => after = last_id,
            None => return Ok(report),
        }
        progress.now(format_args!(
            "{} blogs compared, {} counters differ",
            report.looked_at,
            report.drift.len()
        ));
    }
}

/// Sets a blog's counters. Returns false if they are right by now.
async fn mend(client: &Object, blog: i64) -> anyhow::Result<bool> {
    let mut tries = 1;
    loop {
        match MEND_COUNTER.query_one(client, &[&blog]).await {
            Ok(row) => return Ok(row.get("was_mended")),
            Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) && tries < TRIES_MAX => tries += 1,
            Err(error) => {
                let doing =
                    || format!("repairing blog {blog}; earlier blogs stay repaired, run the command again");
                return Err(error).with_context(doing);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Report {
    fn show(&self, repair: bool) {
        if !self.drift.is_empty() {
            let header = ["blog", "kind", "counter", "counted", "difference"];
            terminal::table(header, &[0, 2, 3, 4], self.drift.iter().map(Drift::cells));
        }
        terminal::line(format_args!("{} compared: {}", count(self.looked_at, "blog"), self.differs()));
        if repair && !self.drift.is_empty() {
            let mended: Vec<String> = self.mended.iter().map(i64::to_string).collect();
            let blogs = count(i64::try_from(mended.len()).unwrap_or(i64::MAX), "blog");
            terminal::line(format_args!("{blogs} repaired: {}", mended.join(", ")));
        }
    }

    fn differs(&self) -> String {
        match self.drift.len() {
            0 => "every counter is right".to_owned(),
            1 => "1 counter differs from the counted events".to_owned(),
            several => format!("{several} counters differ from the counted events"),
        }
    }
}

impl Drift {
    fn new(row: &tokio_postgres::Row) -> Option<Self> {
        let (counter, counted): (Option<i64>, Option<i64>) = (row.get("counter"), row.get("counted"));
        let (counter, counted) = (counter?, counted?);
        Some(Self {
            blog_id: row.get("blog_id"),
            kind: row.get("kind"),
            counter,
            counted,
            difference: counter.saturating_sub(counted),
        })
    }

    fn cells(&self) -> [String; 5] {
        let Self { blog_id, kind, counter, counted, difference } = self;
        [
            blog_id.to_string(),
            kind.clone(),
            counter.to_string(),
            counted.to_string(),
            format!("{difference:+}"),
        ]
    }
}

fn count(n: i64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
