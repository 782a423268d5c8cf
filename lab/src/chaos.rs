//! `lab chaos`: injects faults into real processes and accounts for every accepted event. The `chaos` crate does the
//! work; this module has the arguments, the servers, and the printed report.

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

/// Folder for the servers' data and the services' logs, next to those of `commonplace up`.
const DIRECTORY: &str = ".stack/chaos";
/// True if the build has fail points, at which a process can be made to crash.
const HAS_FAIL_POINTS: bool = cfg!(feature = "fail-points");

const LONG: &str = "\
Kill, stop, restart and disconnect every process under load, and account for every event

Private servers, two Blogs APIs and two workers run as separate processes, with a proxy on every connection between them. \
A generator records for each request whether it was accepted, refused, or neither is known; at the end the tables must \
match its record exactly. The seed determines the faults.";

const EXAMPLES: &str = "\
Examples:
  lab chaos --seed 7 --duration 60s
  Hit the crash windows, which need a build with fail points:
    cargo run --release -p lab --features fail-points -- chaos --seed 7 --duration 15m --window-hits 20
  Check that a run detects errors: it must fail without one of the safeguards:
    lab chaos --duration 30s --without ledger

Exit codes: 0 everything is counted exactly, 1 a result differs or the command failed, 2 wrong usage.";

/// Kill, stop, restart and disconnect every process under load, and account for every event
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Seed of the plan of faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long to inject faults, as in 90s or 15m; setup and accounting take a few minutes more
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=1024))]
    connections: u16,
    /// Requests per second, if they are answered at once; a request holds five events on average
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    requests_per_s: u32,
    /// Rounds before the faults in which one server is down at a time, to measure recovery times
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    calm_rounds: u32,
    /// Hits of each crash window after the faults; needs a build with --features fail-points
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    window_hits: u32,
    /// Remove a safeguard, to show that the run then fails
    #[arg(long, value_enum)]
    without: Option<Without>,
    /// Image of RabbitMQ, as in rabbitmq:4-management; without it, the installed RabbitMQ
    #[arg(long, value_name = "IMAGE")]
    rabbitmq_image: Option<String>,
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Without {
    /// Make the ledger forget every envelope at once
    Ledger,
    /// Make the outbox refuse every envelope
    Spill,
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
    ensure!(report.is_good(), "{} results differ from the required ones", report.differences.len());
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| "expected a duration such as 90s or 15m".to_owned())?;
    let duration = Duration::try_from(duration).map_err(|_| "a duration cannot be negative".to_owned())?;
    if duration > Duration::from_secs(24 * 3600) {
        return Err("the longest possible duration is a day".to_owned());
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
        if report.is_good() { "everything is counted exactly" } else { "NOT everything is counted exactly" };
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
