//! `lab contrast`: the arguments, the servers, the run and the report.

mod markdown;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use bench::contrast::{Name, Plan, Report, Target, plot};
use serde::Serialize;

use crate::machine::Machine;
use crate::roles::roles;
use crate::{servers, terminal};

/// Folder in the repository for the results.
const RESULTS: &str = "docs/results";

const EXAMPLES: &str = "\
Examples:
  lab contrast
  lab contrast --quick
  lab contrast --scenario hot,drain --rounds 5 --seconds 10 --directory contrast-results

Exit codes: 0 measured, and the tables agree with what was accepted; 1 they do not, or the command failed; 2 wrong usage.";

/// Compare the message path with direct database writes: rates, latency, freshness, cost, outages, and the proof
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Scenarios to measure: hot, zipf, every-view, same-load, half-load, light, neighbour, postgres-away, rabbitmq-away, drain,
    /// rows [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    scenario: Vec<Name>,
    /// Measurements of each cell; the rounds are interleaved [default: 3; quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of load in each cell [default: 4; quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// Seconds that a server is down in an outage [default: 10; quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    outage_s: Option<u64>,
    /// Number of blogs over which the views are spread
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(i32).range(2..=100_000))]
    blogs: i32,
    /// Check in a few minutes that every scenario works; the figures mean little
    #[arg(long)]
    quick: bool,
    /// Write contrast.md, contrast.json and the plots to this folder [default: docs/results; quick: nowhere]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// The contents of the JSON file.
#[derive(Debug, Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    machine: &'a Machine,
    targets: Vec<Target>,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = runtime::shutdown::on_signal();
    let mut tell = |line: &str| terminal::note(line);
    let machine = Machine::here();
    let quick = |usual, quick| if arguments.quick { quick } else { usual };
    let mut scenarios = arguments.scenario;
    if scenarios.is_empty() {
        scenarios = Name::ALL.to_vec();
    }
    let plan = Plan {
        executable: std::env::current_exe().context("finding this executable")?,
        directory: servers::logs(),
        roles: roles()?,
        scenarios,
        duration: Duration::from_secs(arguments.seconds.unwrap_or(quick(4, 1))),
        rounds: arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 3 }),
        blogs: arguments.blogs,
        outage: Duration::from_secs(arguments.outage_s.unwrap_or(quick(10, 1))),
        is_quick: arguments.quick,
    };
    let directory = arguments.directory.or_else(|| (!arguments.quick).then(|| PathBuf::from(RESULTS)));
    let report = servers::measure(async |stack| Box::pin(plan.run(stack, &stop, &mut tell)).await).await?;

    let plots = match &directory {
        Some(directory) => write(directory, &machine, &report)?,
        None => Vec::new(),
    };
    terminal::line(markdown::of(&machine, &report, &plots));
    let wrong = report.disagreements();
    ensure!(wrong.is_empty(), "the tables do not agree with what was accepted: {}", wrong.join("; "));
    Ok(())
}

/// Writes the report in every form, and returns the plots.
fn write(directory: &Path, machine: &Machine, report: &Report) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let plots = plot::draw(report, directory)?;
    let written = Written { machine, targets: report.targets(), report };
    let json = serde_json::to_vec_pretty(&written)?;
    for (name, text) in
        [("contrast.json", json), ("contrast.md", markdown::of(machine, report, &plots).into_bytes())]
    {
        let file = directory.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(plots)
}
