//! `commonplace bench paths`: servers, the run, the report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bench::paths::Plan;
use bench::report::Report;
use bench::{Spread, WritePath};
use database::bootstrap::RoleSettings;
use runtime::settings::Loader;
use serde::Serialize;
use stack::Stack;

use super::machine::Machine;
use super::table;
use crate::{migrate, terminal};

/// The servers' data and the services' logs, beside those of `commonplace up`.
const DIRECTORY: &str = ".stack/bench";

/// The write paths side by side: rate, latency, backlog, and the proof that all that was accepted is counted
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of load in each cell
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    duration_s: u64,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// How often each cell is measured; the rounds are interleaved
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Blogs that the views are spread over
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    blogs: i32,
    /// Write paths: message, direct, direct-batched
    #[arg(long, value_delimiter = ',', default_values_t = WritePath::ALL)]
    paths: Vec<WritePath>,
    /// View windows in seconds; 0: every view counts and no view is remembered
    #[arg(long, value_delimiter = ',', default_values_t = [1800, 0])]
    windows: Vec<u32>,
    /// How views are spread over the blogs: zipf (exponent 1.1), zipf:EXPONENT, uniform, hot (all on one)
    #[arg(long, value_delimiter = ',', default_values = ["zipf", "hot"])]
    spread: Vec<Spread>,
    /// Writes the report here as JSON as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    let stop = runtime::shutdown::on_signal();
    let mut tell = |line: &str| terminal::note(line);
    let machine = Machine::here();
    let plan = Plan {
        executable: std::env::current_exe().context("finding this executable")?,
        directory: Path::new(DIRECTORY).join("logs"),
        roles: roles()?,
        duration: Duration::from_secs(arguments.duration_s),
        connections: arguments.connections.into(),
        rounds: arguments.rounds,
        blogs: arguments.blogs,
        paths: arguments.paths,
        spreads: arguments.spread,
        windows_s: arguments.windows,
    };
    let options = stack::Options { fresh: true, ..stack::Options::new(DIRECTORY) };
    let stack = tokio::task::block_in_place(|| Stack::start(&options, &mut tell))?;
    std::fs::create_dir_all(&plan.directory).context("making the folder of the services' logs")?;
    let measured = plan.run(&stack, &stop, &mut tell).await;
    let stopped = tokio::task::block_in_place(|| stack.stop());
    let report = measured?;
    stopped?;

    print(&machine, &report);
    if let Some(file) = &arguments.json {
        let written = serde_json::to_vec_pretty(&Written { machine: &machine, report: &report })?;
        std::fs::write(file, written).with_context(|| format!("writing {}", file.display()))?;
    }
    anyhow::ensure!(report.agrees(), "the tables do not agree with what was accepted");
    Ok(())
}

/// The shares and rights of the roles as `commonplace migrate` makes them, with the direct path open and
/// passwords that only this run knows.
pub(crate) fn roles() -> anyhow::Result<RoleSettings> {
    let password = || format!("{:032x}", rand::random::<u128>());
    let settings: migrate::Settings = Loader::new(migrate::DEFAULTS)
        .environment([])
        .set("roles.blogs_api_password", password())
        .set("roles.analytics_worker_password", password())
        .set("roles.operator_password", password())
        .set("roles.direct_path", true)
        .load()?;
    Ok(settings.roles)
}

fn print(machine: &Machine, report: &Report) {
    let database = &report.database;
    let mut lines = machine.lines();
    lines.extend([
        (
            "PostgreSQL",
            format!(
                "{}, fsync {}, synchronous_commit {}, full_page_writes {}, shared_buffers {}",
                database.server_version,
                database.fsync,
                database.synchronous_commit,
                database.full_page_writes,
                database.shared_buffers
            ),
        ),
        ("RabbitMQ", format!("{}, quorum queue, confirms", report.rabbitmq)),
        (
            "load",
            format!(
                "closed loop, {} connections, {} s a cell, a new visitor each view",
                report.connections, report.duration_s
            ),
        ),
    ]);
    for (name, value) in lines {
        terminal::line(format_args!("{name:<11} {value}"));
    }
    terminal::line(format_args!("\n{}", table::figures(report)));
    terminal::line(
        "\nWhat the tables say when the services have ended (bench/sql/proof.sql), summed over the rounds:",
    );
    terminal::line(format_args!("\n{}", table::account(report)));
    for measurement in &report.measurements {
        let cell = &measurement.cell;
        let of = format!(
            "round {}, {}, {}, window {} s",
            measurement.round, cell.path, cell.spread, cell.window_s
        );
        for (status, n) in &measurement.refused {
            terminal::line(format_args!("\n{of}: {n} answers of {status}"));
        }
        if let Some(broken) = &measurement.broken {
            terminal::line(format_args!(
                "\n{of}: {} requests without an answer; {broken}",
                measurement.unknown
            ));
        }
        for sentence in measurement.disagreements() {
            terminal::line(format_args!("\n{of}: DISAGREES: {sentence}"));
        }
    }
}
