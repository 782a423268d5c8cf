//! `lab digest`: the arguments, the servers and the report.

use std::path::PathBuf;

use anyhow::Context;
use bench::digest::{Cost, Plan, Report};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::machine::Machine;
use crate::roles::roles;
use crate::{servers, terminal};

const EXAMPLES: &str = "\
Examples:
  lab digest
  lab digest --authors 5,200 --rounds 100

Exit codes: 0 measured, and all digests were equal; 1 they were not, or the command failed; 2 wrong usage.";

/// Compare a digest from the shared tables with the same digest through the owners' HTTP APIs
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Numbers of followed authors; each is measured with a reader of its own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 5, 30],
          value_parser = clap::value_parser!(i32).range(1..=1000))]
    authors: Vec<i32>,
    /// Digests of each reader in each way
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Also write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let stop = runtime::shutdown::on_signal();
    let mut tell = |line: &str| terminal::note(line);
    let plan = Plan {
        executable: std::env::current_exe().context("finding this executable")?,
        directory: servers::logs(),
        roles: roles()?,
        authors: arguments.authors,
        rounds: arguments.rounds,
    };
    let report = servers::measure(async |stack| plan.run(stack, &stop, &mut tell).await).await?;

    for (name, value) in Machine::here().lines() {
        terminal::line(format_args!("{name:<11} {value}"));
    }
    let (lines, rounds) = (report.middleman_lines, plan.rounds);
    terminal::line(format_args!(
        "\n{rounds} digests in each way, in turns: medians, and their range\n\n{}",
        table(&report)
    ));
    terminal::line(format_args!("\nThe middleman has {lines} lines of Rust without a service around it."));
    if let Some(file) = &arguments.json {
        let written = serde_json::to_vec_pretty(&report)?;
        std::fs::write(file, written).with_context(|| format!("writing {}", file.display()))?;
    }
    let differences: u32 = report.readers.iter().map(|reader| reader.differences).sum();
    anyhow::ensure!(
        differences == 0,
        "{differences} digests through the APIs differ from those of the tables"
    );
    Ok(())
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["authors", "blogs", "way", "round trips", "ms", "HTTP bytes"]);
    for reader in &report.readers {
        for (way, Cost { round_trips, ms, bytes }) in
            [("shared tables", &reader.shared), ("owners' APIs", &reader.middleman)]
        {
            table.add_row([
                reader.authors.to_string(),
                reader.blogs.to_string(),
                way.to_owned(),
                round_trips.to_string(),
                format!("{:.2} [{:.2}–{:.2}]", ms.median, ms.min, ms.max),
                bytes.to_string(),
            ]);
        }
    }
    for at in [0, 1, 3, 4, 5] {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
