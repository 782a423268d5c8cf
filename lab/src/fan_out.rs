//! `lab fan-out`: the arguments, the servers, the run and the report.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bench::fan_out::{Cost, Latency, Measured, PAGE_MAX, Plan, Report, UnderLoad, Way};
use bench::report::Median;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::machine::{Machine, promises};
use crate::roles::roles;
use crate::{servers, terminal};

const EXAMPLES: &str = "\
Examples:
  lab fan-out
  lab fan-out --followers 100000 --rounds 1 --kills 3
  lab fan-out --json report.json

Exit codes: 0 measured, and every follower was notified once; 1 a follower was not, or the command failed; 2 wrong usage.";

/// Measure notifying a million followers: by the worker, by one raw statement, and by a middleman over HTTP
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Number of followers of the author
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(1000..=10_000_000))]
    followers: i64,
    /// Measurements of each method; the rounds are interleaved
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Page sizes of the middleman; the fastest one is measured
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 10_000, 50_000],
          value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    pages: Vec<u32>,
    /// Number of followers with which the page sizes are tried
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    sample: i64,
    /// Number of followers whom the naive middleman notifies, with one request each
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    naive: u32,
    /// Number of connections of the middleman
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    naive_connections: u16,
    /// Number of connections of the readers during a fan-out
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Milliseconds from an answer to the next view on each connection, on average
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    think_ms: u64,
    /// Seconds of these views before the fan-out begins
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    load_s: u64,
    /// Number of times that the worker is killed (kill -9) during a fan-out
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    kills: u32,
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
    let plan = Plan {
        executable: std::env::current_exe().context("finding this executable")?,
        directory: servers::logs(),
        roles: roles()?,
        followers: arguments.followers,
        rounds: arguments.rounds,
        pages: arguments.pages,
        sample: arguments.sample,
        naive: usize::try_from(arguments.naive)?,
        naive_connections: arguments.naive_connections.into(),
        connections: arguments.connections.into(),
        think: Duration::from_millis(arguments.think_ms),
        load: Duration::from_secs(arguments.load_s),
        kills: arguments.kills,
    };
    let report = servers::measure(async |stack| plan.run(stack, &stop, &mut tell).await).await?;

    print(&machine, &report);
    if let Some(file) = &arguments.json {
        let written = serde_json::to_vec_pretty(&Written { machine: &machine, report: &report })?;
        std::fs::write(file, written).with_context(|| format!("writing {}", file.display()))?;
    }
    anyhow::ensure!(report.disagreements().is_empty(), "the tables differ from the expected notifications");
    Ok(())
}

fn print(machine: &Machine, report: &Report) {
    let mut lines = machine.lines();
    lines.extend(report.database.as_ref().map(|database| ("PostgreSQL", promises(database))));
    lines.push(("RabbitMQ", format!("{}, quorum queue, confirms", report.rabbitmq)));
    for (name, value) in lines {
        terminal::line(format_args!("{name:<11} {value}"));
    }
    terminal::line(format_args!(
        "\n{} followers, {} rounds: medians, and their range\n\n{}",
        report.followers,
        report.rounds.iter().map(|one| one.round).max().unwrap_or_default(),
        ways(report)
    ));
    terminal::line(format_args!("\nEach round\n\n{}", rounds(report)));
    terminal::line(format_args!("\n{}", targets(report)));
    terminal::line(format_args!(
        "\nThe middleman on {} followers by page size, and one by one on {}\n\n{}",
        report.sample,
        report.naive.as_ref().map_or(0, |naive| naive.cost.followers),
        contrast(report)
    ));
    if let Some(kills) = &report.kills {
        let told = kills.told;
        terminal::line(format_args!(
            "\nThe worker killed by kill -9 {} times, done after {:.1} s: {} rows, {} distinct recipients, {} expected",
            kills.kills, kills.elapsed_s, told.rows, told.recipients, told.expected
        ));
    }
    for sentence in report.disagreements() {
        terminal::line(format_args!("\nDISAGREES: {sentence}"));
    }
}

/// The methods in comparison.
fn ways(report: &Report) -> Table {
    let mut table = markdown(&[
        "way",
        "followers/s",
        "WAL B/follower",
        "database ms/1000",
        "Postgres CPU ms/1000",
        "process CPU ms/1000",
        "HTTP B/follower",
    ]);
    for way in [Way::Raw, Way::Shared, Way::Middleman] {
        let figure = |decimals: usize, figure: fn(&Cost) -> f64| {
            report.median(way, figure).map_or_else(String::new, |median| text(median, decimals))
        };
        let page = report.best_page().filter(|_| way == Way::Middleman);
        table.add_row([
            page.map_or_else(|| way.name().to_owned(), |page| format!("{} of {page}", way.name())),
            figure(0, |cost| cost.followers_per_s),
            figure(1, |cost| cost.wal_bytes_per_follower),
            figure(2, |cost| cost.database_ms_per_1000),
            figure(2, |cost| cost.postgres_cpu_ms_per_1000),
            figure(2, |cost| cost.process_cpu_ms_per_1000),
            figure(1, |cost| cost.http_bytes_per_follower),
        ]);
    }
    numbers(table)
}

/// Every round, with the number of notified followers.
fn rounds(report: &Report) -> Table {
    let mut table = markdown(&[
        "way",
        "round",
        "s",
        "followers/s",
        "WAL B/follower",
        "rows",
        "distinct recipients",
        "expected",
    ]);
    for one in &report.rounds {
        table.add_row([
            one.way.name().to_owned(),
            one.round.to_string(),
            format!("{:.2}", one.cost.elapsed_s),
            format!("{:.0}", one.cost.followers_per_s),
            format!("{:.1}", one.cost.wal_bytes_per_follower),
            one.told.rows.to_string(),
            one.told.recipients.to_string(),
            one.told.expected.to_string(),
        ]);
    }
    numbers(table)
}

/// The targets and the measured values.
fn targets(report: &Report) -> Table {
    let mut table = markdown(&["measure", "target", "measured"]);
    let mut row = |measure: &str, target: &str, measured: Option<String>| {
        table.add_row([measure.to_owned(), target.to_owned(), measured.unwrap_or_default()]);
    };
    let rate = |cost: &Cost| cost.followers_per_s;
    let ratio = |of, to, figure: fn(&Cost) -> f64| report.ratio(of, to, figure).map(|ratio| text(ratio, 2));
    row("followers/s, worker ÷ raw statement", "≥ 0.80", ratio(Way::Shared, Way::Raw, rate));
    let wal = ratio(Way::Shared, Way::Raw, |cost| cost.wal_bytes_per_follower);
    row("WAL, worker ÷ raw statement", "≤ 1.05", wal);
    row("followers/s, worker ÷ middleman in best pages", "≥ 10", ratio(Way::Shared, Way::Middleman, rate));
    let shared = report.median(Way::Shared, rate);
    let over = |other: &Measured| {
        let ratio = shared.map(|shared| shared.median / other.cost.followers_per_s);
        ratio.map(|ratio| format!("{ratio:.1}"))
    };
    for other in report.pages.iter().chain(&report.naive) {
        let way = match other.page {
            Some(page) => format!("pages of {page} on the sample"),
            None => "one by one".to_owned(),
        };
        row(&format!("followers/s, worker ÷ middleman, {way}"), "", over(other));
    }
    beside_rows(report, &mut row);
    table
}

/// Latency of views, and of a small fan-out, during the large one.
fn beside_rows(report: &Report, row: &mut impl FnMut(&str, &str, Option<String>)) {
    let beside = &report.under_load;
    let over_rounds = |figure: &dyn Fn(&UnderLoad) -> f64| Median::of(beside.iter().map(figure));
    let Some(rate) = over_rounds(&|round| round.before.accepted_per_s) else { return };
    let latency = |of: fn(&Latency) -> f64| {
        let ratio = over_rounds(&|round| of(&round.during) / of(&round.before))?;
        let rounds: Vec<String> = beside
            .iter()
            .map(|round| format!("{:.1} ms ÷ {:.1} ms", of(&round.during), of(&round.before)))
            .collect();
        Some(format!("{} ({})", text(ratio, 2), rounds.join(", ")))
    };
    row(
        &format!(
            "accept p99 of {:.0} views/s ({} connections), during ÷ before",
            rate.median, report.connections
        ),
        "≤ 2",
        latency(|latency| latency.p99_ms),
    );
    row("the same, p50", "", latency(|latency| latency.p50_ms));
    let followers = over_rounds(&|round| round.followers_per_s).map(|median| text(median, 0));
    row("followers/s of that fan-out", "", followers);
    let views = over_rounds(&|round| round.during.accepted_per_s).map(|median| text(median, 0));
    let failed: u64 = beside.iter().map(|round| round.during.failed).sum();
    row("views/s meanwhile", "", views.map(|views| format!("{views}, {failed} failed")));
    let early = beside.iter().filter(|round| !round.large_was_running).count();
    let early =
        if early == 0 { String::new() } else { format!("; the large one was done before, {early} times") };
    let small = over_rounds(&|round| round.small_s).map(|median| format!("{} s{early}", text(median, 2)));
    row("10 followers, published during it: done after", "≤ 2 s", small);
}

/// The middleman by page size, and the naive one.
fn contrast(report: &Report) -> Table {
    let mut table = markdown(&[
        "way",
        "followers/s",
        "database ms/1000",
        "Postgres CPU ms/1000",
        "process CPU ms/1000",
        "HTTP B/follower",
        "WAL B/follower",
    ]);
    for Measured { way, page, cost, .. } in report.pages.iter().chain(&report.naive) {
        table.add_row([
            page.map_or_else(|| way.name().to_owned(), |page| format!("{} of {page}", way.name())),
            format!("{:.0}", cost.followers_per_s),
            format!("{:.2}", cost.database_ms_per_1000),
            format!("{:.2}", cost.postgres_cpu_ms_per_1000),
            format!("{:.2}", cost.process_cpu_ms_per_1000),
            format!("{:.1}", cost.http_bytes_per_follower),
            format!("{:.1}", cost.wal_bytes_per_follower),
        ]);
    }
    numbers(table)
}

fn markdown(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// A Markdown table with every column but the first aligned at the right.
fn numbers(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn text(figure: Median, decimals: usize) -> String {
    let Median { median, min, max } = figure;
    if min.total_cmp(&max).is_eq() {
        format!("{median:.decimals$}")
    } else {
        format!("{median:.decimals$} [{min:.decimals$}–{max:.decimals$}]")
    }
}
