//! `lab recommendations`: the arguments, the servers, the run and the report.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bench::recommendations::{Cost, Figures, Latency, Plan, Quality, Report, read_interactions};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

use crate::machine::{Machine, promises};
use crate::roles::roles;
use crate::{servers, terminal};

const EXAMPLES: &str = "\
Examples:
  lab recommendations
  lab recommendations --data ratings.csv --likes 0
  lab recommendations --json report.json

Without --data, quality is measured on generated likes with planted groups of taste.

Exit codes: 0 measured; 1 the command failed; 2 wrong usage.";

/// Measure the quality and speed of recommendations, and their cost for other users of the database
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Ratings on which quality is measured: lines of account,item,rating,seconds
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Smallest rating that is a like
    #[arg(long, default_value_t = 4.0)]
    rating_min: f64,
    /// Number of blogs of the large site
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(i32).range(1000..=10_000_000))]
    blogs: i32,
    /// Number of accounts of the large site
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(i32).range(1000..=10_000_000))]
    accounts: i32,
    /// Number of likes of the large site; 0 measures quality only
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(i32).range(0..=100_000_000))]
    likes: i32,
    /// Requests per second of each kind
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_s: u32,
    /// Length of each measurement in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    load_s: u64,
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The contents of the JSON file.
#[derive(Debug, Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    machine: &'a Machine,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = runtime::shutdown::on_signal();
    let mut tell = |line: &str| terminal::note(line);
    let machine = Machine::here();
    let interactions = match &arguments.data {
        None => None,
        Some(file) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            let read = read_interactions(&text, arguments.rating_min);
            Some(read.map_err(|line| {
                anyhow::anyhow!("{} line {line} is not account,item,rating,seconds", file.display())
            })?)
        }
    };
    let plan = Plan {
        executable: std::env::current_exe().context("finding this executable")?,
        directory: servers::logs(),
        roles: roles()?,
        interactions,
        blogs: arguments.blogs,
        accounts: arguments.accounts,
        likes: arguments.likes,
        per_s: arguments.per_s,
        load: Duration::from_secs(arguments.load_s),
    };
    let report = servers::measure(async |stack| plan.run(stack, &stop, &mut tell).await).await?;

    print(&machine, &report);
    if let Some(file) = &arguments.json {
        let written = serde_json::to_vec_pretty(&Written { machine: &machine, report: &report })?;
        std::fs::write(file, written).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn print(machine: &Machine, report: &Report) {
    let mut lines = machine.lines();
    lines.extend(report.database.as_ref().map(|database| ("PostgreSQL", promises(database))));
    for (name, value) in lines {
        terminal::line(format_args!("{name:<11} {value}"));
    }
    if let Some(found) = &report.quality {
        let what =
            if found.generated { "generated likes with planted groups of taste" } else { "given likes" };
        let Quality { accounts, blogs, likes, .. } = found;
        terminal::line(format_args!(
            "\nQuality on {what}: {accounts} accounts, {blogs} blogs, {likes} likes learnt, the newest of each account \
             held out\n\n{}",
            quality(found)
        ));
    }
    if let Some(cost) = &report.cost {
        terminal::line(format_args!(
            "\n{} blogs, {} likes; {} blogs have neighbours, {:.1} each, {:.1} MiB in all\n\n{}",
            cost.blogs,
            cost.likes,
            cost.learnt_blogs,
            cost.neighbours,
            cost.bytes as f64 / f64::from(1 << 20),
            speed(cost)
        ));
        terminal::line(format_args!("\nThe Blogs API at the same time\n\n{}", neighbours(cost)));
    }
}

fn quality(found: &Quality) -> Table {
    let mut table = markdown(&["", "hit rate @10", "nDCG @10"]);
    for (name, Figures { hit_rate, ndcg }) in
        [("recommendation-api", found.service), ("most popular", found.most_popular)]
    {
        table.add_row([name.to_owned(), format!("{hit_rate:.4}"), format!("{ndcg:.4}")]);
    }
    let ratio = |of: f64, to: f64| format!("{:.2}", of / to.max(f64::MIN_POSITIVE));
    table.add_row([
        "ratio".to_owned(),
        ratio(found.service.hit_rate, found.most_popular.hit_rate),
        ratio(found.service.ndcg, found.most_popular.ndcg),
    ]);
    table
}

fn speed(cost: &Cost) -> Table {
    let mut table = markdown(&["request", "answers/s", "p50 ms", "p99 ms", "longest ms", "failed"]);
    let beside = ("GET /v1/recommendations, beside a rebuild".to_owned(), cost.beside_a_rebuild);
    for (name, latency) in cost.answers.iter().chain([&beside]) {
        let Latency { per_s, p50_ms, p99_ms, max_ms, failed } = latency;
        table.add_row([
            name.clone(),
            format!("{per_s:.0}"),
            format!("{p50_ms:.2}"),
            format!("{p99_ms:.2}"),
            format!("{max_ms:.1}"),
            failed.to_string(),
        ]);
    }
    table
}

fn neighbours(cost: &Cost) -> Table {
    let mut table = markdown(&[
        "the Blogs API",
        "rebuild s",
        "accept p50 ms",
        "accept p99 ms",
        "÷ without",
        "read p50 ms",
        "read p99 ms",
        "÷ without",
        "failed",
    ]);
    let mut without: Option<(f64, f64)> = None;
    for one in &cost.neighbour {
        let (accept, read) = (one.accept, one.read);
        let ratio = |of: f64, to: Option<f64>| to.map_or_else(String::new, |to| format!("{:.2}", of / to));
        let base = one.rebuild_s.and(without);
        table.add_row([
            one.situation.to_owned(),
            one.rebuild_s.map_or_else(String::new, |s| format!("{s:.1}")),
            format!("{:.2}", accept.p50_ms),
            format!("{:.2}", accept.p99_ms),
            ratio(accept.p99_ms, base.map(|base| base.0)),
            format!("{:.2}", read.p50_ms),
            format!("{:.2}", read.p99_ms),
            ratio(read.p99_ms, base.map(|base| base.1)),
            (accept.failed + read.failed).to_string(),
        ]);
        if one.rebuild_s.is_none() {
            without = Some((accept.p99_ms, read.p99_ms));
        }
    }
    table
}

fn markdown(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    table
}
