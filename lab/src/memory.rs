//! `lab memory`: the arguments, the servers, the run and the report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaos::memory::{Memory, Options};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use stack::Stack;

use crate::machine::Machine;
use crate::roles::roles;
use crate::terminal;

const DIRECTORY: &str = ".stack/chaos";
/// Most memory that a worker may use.
const WORKER_MAX_MIB: f64 = 64.0;
/// Largest ratio of a worker's memory with the large backlog to that with the small one.
const RATIO_MAX: f64 = 1.10;
/// Most additional memory of an API while RabbitMQ is blocked: twice the waiting events (`broker.waiting_bytes_max`), because
/// they are also encoded for the outbox, and the same again for memory that the allocator keeps.
const API_GROWTH_MAX_MIB: f64 = 64.0;

const EXAMPLES: &str = "\
Examples:
  lab memory
  lab memory --few 10000 --many 500000 --kills 3
  lab memory --json report.json

Exit codes: 0 measured, and within bounds; 1 a limit is exceeded, or the command failed; 2 wrong usage.";

/// Measure the memory of a worker with a backlog and of an API with RabbitMQ blocked; kill a worker on one backlog
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Events in the small backlog; the kills use three times as many
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    few: u64,
    /// Events in the large backlog
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    many: u64,
    /// Number of times that a worker is killed on one backlog
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=1000))]
    kills: u32,
    /// Seconds for which RabbitMQ is blocked under full load
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    blocked_s: u64,
    /// Image of RabbitMQ, as in rabbitmq:4-management; without it, the installed RabbitMQ
    #[arg(long, value_name = "IMAGE")]
    rabbitmq_image: Option<String>,
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut tell = |line: &str| terminal::note(line);
    let machine = Machine::here();
    let options = Options {
        few: arguments.few,
        many: arguments.many,
        kills: arguments.kills,
        blocked: Duration::from_secs(arguments.blocked_s),
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
    let memory = Box::pin(chaos::memory::run(stack, options, &mut tell)).await?;
    for (name, value) in machine.lines() {
        terminal::line(format_args!("{name:<11} {value}"));
    }
    terminal::line(format_args!("{:<11} {}\n\n{}", "RabbitMQ", memory.rabbitmq, table(&memory)));
    if let Some(file) = &arguments.json {
        let written = serde_json::to_vec_pretty(&memory)?;
        std::fs::write(file, written).with_context(|| format!("writing {}", file.display()))?;
    }
    let (few, many) = (memory.few.1, memory.many.1);
    ensure!(many <= WORKER_MAX_MIB, "a worker uses {many:.1} MiB with a backlog of {} events", memory.many.0);
    ensure!(
        many <= few * RATIO_MAX,
        "a worker uses {:.2} times as much memory with the large backlog",
        many / few
    );
    ensure!(memory.killed.0 == memory.killed.1, "{} of {} events counted", memory.killed.1, memory.killed.0);
    let grown = memory.api.1 - memory.api.0;
    ensure!(grown <= API_GROWTH_MAX_MIB, "an API uses {grown:.1} MiB more while RabbitMQ is blocked");
    Ok(())
}

fn table(memory: &Memory) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["measured", "", "target"]);
    let ratio = memory.many.1 / memory.few.1;
    for (name, value, target) in [
        (
            format!("worker, {} events waiting, MiB", memory.few.0),
            format!("{:.1}", memory.few.1),
            String::new(),
        ),
        (
            format!("worker, {} events waiting, MiB", memory.many.0),
            format!("{:.1}", memory.many.1),
            format!("≤ {WORKER_MAX_MIB}"),
        ),
        ("large ÷ small backlog".to_owned(), format!("{ratio:.2}"), format!("≤ {RATIO_MAX:.2}")),
        ("API under full load, MiB".to_owned(), format!("{:.1}", memory.api.0), String::new()),
        (
            "API, RabbitMQ blocked under it, MiB".to_owned(),
            format!("{:.1}", memory.api.1),
            format!("≤ {:.1}", memory.api.0 + API_GROWTH_MAX_MIB),
        ),
        (
            "events accepted while it was blocked".to_owned(),
            memory.accepted_blocked.to_string(),
            "> 0".to_owned(),
        ),
        (
            format!("events counted after {} kills of the worker", memory.kills),
            memory.killed.1.to_string(),
            format!("= {}", memory.killed.0),
        ),
    ] {
        table.add_row([name, value, target]);
    }
    table
}
