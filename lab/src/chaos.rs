//! `lab chaos`: faults on real processes, and the exact account of what was accepted. What is done and how stands
//! in the `chaos` crate; here are the arguments, the servers, and the printed report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaos::{Control, Options, Report};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use jiff::SignedDuration;
use serde::Serialize;
use stack::Stack;

use crate::machine::Machine;
use crate::roles::roles;
use crate::terminal;

/// The servers' data and the services' logs, beside those of `commonplace up`.
const DIRECTORY: &str = ".stack/chaos";
/// Whether processes can be let die at a place of their code.
const HAS_FAIL_POINTS: bool = cfg!(feature = "fail-points");

const LONG: &str = "\
Kills, stops, restarts and cuts off everything there is, under load, and counts

Private servers, two Blogs APIs and two workers run as processes of their own, with a proxy on every way between them. \
A generator keeps for each request whether it was accepted, refused, or neither is known; in the end the tables must \
agree with it exactly. What is done follows from the seed.";

const EXAMPLES: &str = "\
Examples:
  lab chaos --seed 7 --duration 60s
  The crash windows need a build in which processes can be let die at a named place:
    cargo run --release -p lab --features fail-points -- chaos --seed 7 --duration 15m --window-hits 20
  Would a run notice? Without one of the guards it has to fail:
    lab chaos --duration 30s --without ledger

Exit codes: 0 everything is counted exactly, 1 something differs or failed, 2 wrong usage.";

/// Kills, stops, restarts and cuts off everything there is, under load, and counts
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What the plan of faults follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long faults are done, as in 90s or 15m; what comes before and after takes a few minutes more
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=1024))]
    connections: u16,
    /// Requests a second, if they are answered at once; one holds five events on the average
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    requests_per_s: u32,
    /// Rounds before in which one thing is away at a time, to measure how long things take
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    calm_rounds: u32,
    /// Hits of each crash window after; needs a build with --features fail-points
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    window_hits: u32,
    /// Takes a guard away, to show that the run fails then
    #[arg(long, value_enum)]
    without: Option<Without>,
    /// The image to run RabbitMQ from, as in rabbitmq:4-management; else what is installed
    #[arg(long, value_name = "IMAGE")]
    rabbitmq_image: Option<String>,
    /// Writes the report here as JSON as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Without {
    /// The ledger forgets every envelope at once
    Ledger,
    /// Nothing can be kept in the outbox
    Spill,
}

/// All that the JSON file holds.
#[derive(Debug, Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    machine: &'a Machine,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    ensure!(
        HAS_FAIL_POINTS || arguments.window_hits == 0,
        "this build has no crash windows: build it with --features fail-points, or leave --window-hits out"
    );
    let stop = runtime::shutdown::on_signal();
    let mut tell = |line: &str| terminal::note(format_args!("{} {line}", clock()));
    let machine = Machine::here();
    let options = Options {
        seed: arguments.seed,
        duration: arguments.duration,
        connections: arguments.connections.into(),
        requests_per_s: arguments.requests_per_s,
        calm_rounds: arguments.calm_rounds,
        window_hits: arguments.window_hits,
        without: arguments.without.map(|without| match without {
            Without::Ledger => Control::Ledger,
            Without::Spill => Control::Spill,
        }),
        executable: std::env::current_exe().context("finding this executable")?,
        directory: Path::new(DIRECTORY).join("logs"),
        roles: roles()?,
    };
    let servers = stack::Options {
        fresh: true,
        rabbitmq_image: arguments.rabbitmq_image,
        ..stack::Options::new(DIRECTORY)
    };
    let stack = tokio::task::block_in_place(|| Stack::start(&servers, &mut tell))?;
    let report = Box::pin(chaos::run(stack, options, &stop, &mut tell)).await?;
    print(&machine, &report);
    if let Some(file) = &arguments.json {
        let written = serde_json::to_vec_pretty(&Written { machine: &machine, report: &report })?;
        std::fs::write(file, written).with_context(|| format!("writing {}", file.display()))?;
    }
    ensure!(report.is_good(), "{} things are not as they must be", report.differences.len());
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| "a time such as 90s or 15m is expected".to_owned())?;
    let duration = Duration::try_from(duration).map_err(|_| "a time cannot be negative".to_owned())?;
    if duration > Duration::from_secs(24 * 3600) {
        return Err("a day is the longest that is possible".to_owned());
    }
    Ok(duration)
}

fn clock() -> String {
    jiff::Timestamp::now().strftime("%H:%M:%S").to_string()
}

fn print(machine: &Machine, report: &Report) {
    for (name, value) in machine.lines() {
        terminal::line(format_args!("{name:<11} {value}"));
    }
    terminal::line(format_args!("{:<11} {}", "PostgreSQL", report.postgres));
    terminal::line(format_args!("{:<11} {}", "RabbitMQ", report.rabbitmq));
    terminal::line(format_args!("\n{}", account(report)));
    terminal::line(format_args!("\n{}", done(report)));
    if report.resumed.rounds > 0 {
        terminal::line(format_args!("\n{}", outages(report)));
        terminal::line(format_args!("\n{}", resumed(report)));
    }
    for difference in &report.differences {
        terminal::line(format_args!("DIFFERS: {difference}"));
    }
    let verdict =
        if report.is_good() { "everything is counted exactly" } else { "NOT everything is as it must be" };
    terminal::line(format_args!("\nseed {}: {verdict}", report.seed));
}

fn account(report: &Report) -> Table {
    let alone = &report.alone;
    let rows = [
        ("seconds of load", format!("{:.0}", report.load_s)),
        ("seconds until all was accounted for", format!("{:.0}", report.drain_s)),
        ("requests", report.requests.to_string()),
        ("events accepted", report.accepted.to_string()),
        ("events refused", report.refused.to_string()),
        ("events unknown", report.unknown.to_string()),
        ("events in the ledger", report.ledger.to_string()),
        ("events with a blog of their own", alone.events.to_string()),
        (
            "of these accepted, refused, unknown",
            format!("{}, {}, {}", alone.accepted, alone.refused, alone.unknown),
        ),
        ("accepted and lost", alone.lost.to_string()),
        ("counted more than once", alone.twice.to_string()),
        ("refused and counted", alone.counted_though_refused.to_string()),
        ("unknown and counted", alone.unknown_counted.to_string()),
        ("parked", report.parked.to_string()),
        ("deadlocks", report.deadlocks.to_string()),
        ("answers later than deadline + 100 ms", report.late.to_string()),
        ("slowest answer, ms", report.slowest_ms.to_string()),
        ("differences", report.differences.len().to_string()),
    ];
    table(["account", ""], rows.map(|(name, value)| vec![name.to_owned(), value]))
}

fn done(report: &Report) -> Table {
    let rows = report.done.iter().map(|(name, done)| {
        vec![name.clone(), done.under_way.to_string(), (done.times - done.under_way).to_string()]
    });
    table(["what was done", "with work under way", "with none"], rows)
}

fn outages(report: &Report) -> Table {
    let rows = report.resumed.outages.iter().map(|outage| {
        vec![
            outage.what.to_owned(),
            format!("{:.0}", outage.before_per_s),
            format!("{:.0}", outage.away_per_s),
            outage.not_accepted.to_string(),
            outage.slowest_ms.to_string(),
        ]
    });
    table(["nothing else away", "accepted/s before", "meanwhile", "not accepted", "slowest answer, ms"], rows)
}

fn resumed(report: &Report) -> Table {
    let resumed = &report.resumed;
    let ratio = resumed.drain_ratio.map_or_else(|| "no backlog".to_owned(), |ratio| format!("{ratio:.1}"));
    let rows = [
        ("RabbitMQ listens, until every API publishes, ms", resumed.publishing_ms.to_string(), "≤ 3000"),
        ("Postgres accepts, until events are counted, ms", resumed.counting_ms.to_string(), "≤ 5000"),
        ("counted ÷ accepted while a backlog drains", ratio, "≥ 3"),
    ];
    let header = [format!("worst of {} rounds", resumed.rounds), String::new(), "target".to_owned()];
    table(header, rows.map(|(name, value, target)| vec![name.to_owned(), value, target.to_owned()]))
}

fn table<const N: usize>(
    header: [impl Into<String>; N],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header.map(Into::<String>::into));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
