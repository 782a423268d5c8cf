//! The report as Markdown that also reads well on a terminal.

use std::fmt::Write;
use std::path::PathBuf;

use bench::contrast::{Cell, Measurement, Name, Path, Report, RowKind, Way};
use bench::report::Median;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::machine::{Machine, promises};

type Figure = fn(&Measurement) -> Option<f64>;

/// The whole report.
pub(super) fn of(machine: &Machine, report: &Report, plots: &[PathBuf]) -> String {
    let mut text = String::from("# The message path against direct writes\n\n");
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            // Writing to a string cannot fail.
            let _written = write!(text, "## {title}\n\n{body}\n\n");
        }
    };
    section("Made on", surroundings(machine, report));
    section("Targets", targets(report));
    for name in Name::ALL {
        let cells: Vec<Cell> = report.cells().into_iter().filter(|cell| cell.scenario == name).collect();
        if !cells.is_empty() {
            section(&title(name, report), scenario(report, &cells));
        }
    }
    section("Drain: events in a second", drain(report));
    section("Counters in a row of their own, and in the blog's", rows(report));
    section("Plots", plot_links(plots));
    section("DISAGREEMENTS", report.disagreements().join("\n\n"));
    text.truncate(text.trim_end().len());
    text
}

fn surroundings(machine: &Machine, report: &Report) -> String {
    let mut lines = machine.lines();
    lines.extend([
        ("PostgreSQL", promises(&report.database)),
        ("RabbitMQ", format!("{}, quorum queue, publisher confirms", report.rabbitmq)),
        (
            "load",
            format!(
                "{} s a cell, {} rounds, interleaved; a new visitor each view; at the same time 50 reads and 50 probes a second",
                report.duration_s, report.rounds
            ),
        ),
        ("figures", "the median over the rounds [least–greatest]; latency in ms".to_owned()),
    ]);
    let lines: Vec<String> = lines.into_iter().map(|(name, value)| format!("- {name}: {value}")).collect();
    lines.join("\n")
}

fn targets(report: &Report) -> String {
    let mut table = markdown(&["measure", "target", "measured", "met"]);
    for target in report.targets() {
        let met = match target.is_met() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not measured",
        };
        table.add_row([
            target.measure.to_owned(),
            target.bound.to_string(),
            some(target.measured, 2),
            met.to_owned(),
        ]);
    }
    numbers(table)
}

fn title(name: Name, report: &Report) -> String {
    let blogs = report.blogs;
    let what = match name {
        Name::Hot => "all views on one blog, closed loop".to_owned(),
        Name::Zipf => format!("{blogs} blogs, Zipf 1.1, window of 30 min, closed loop"),
        Name::EveryView => format!("{blogs} blogs, Zipf 1.1, no window (`0s`), closed loop"),
        Name::SameLoad => "0.8 of what the slowest write path takes, open loop".to_owned(),
        Name::HalfLoad => "half of what each path takes, open loop".to_owned(),
        Name::Light => "100 a second, open loop".to_owned(),
        Name::Neighbour => {
            "a neighbour runs heavy reports; half of what the slowest takes, open loop".to_owned()
        }
        Name::PostgresAway => {
            format!("Postgres killed, away for {} s; 200 a second, open loop", report.outage_s)
        }
        Name::RabbitmqAway => {
            format!("RabbitMQ killed, away for {} s; 200 a second, open loop", report.outage_s)
        }
        Name::Drain | Name::Rows => String::new(),
    };
    format!("{name}: {what}")
}

fn scenario(report: &Report, cells: &[Cell]) -> String {
    [
        speed(report, cells),
        ratios(report, cells),
        freshness(report, cells),
        cost(report, cells),
        usage(report, cells),
    ]
    .into_iter()
    .filter(|table| !table.is_empty())
    .collect::<Vec<_>>()
    .join("\n\n")
}

/// Rates of accepted requests, and the check that each was counted once.
fn speed(report: &Report, cells: &[Cell]) -> String {
    let mut table = markdown(&[
        "path",
        "connections",
        "offered/s",
        "accepted/s",
        "p50",
        "p99",
        "p99.9",
        "errors",
        "promised",
        "unknown",
        "lost",
        "double",
    ]);
    for &cell in cells {
        let figure = |figure: Figure, decimals| some(report.median(cell, figure), decimals);
        let sum = |of: fn(&Measurement) -> u64| report.of(cell).map(of).sum::<u64>().to_string();
        let mut row = names(cell);
        row.extend([
            figure(|one| one.offered_per_s, 0),
            figure(|one| Some(one.figures.accepted_per_s), 0),
            figure(|one| one.figures.p50_ms, 2),
            figure(|one| one.figures.p99_ms, 2),
            figure(|one| one.figures.p999_ms, 2),
            sum(|one| one.figures.errors),
            sum(|one| one.accepted.promised),
            sum(|one| one.accepted.unknown),
            sum(Measurement::lost),
            sum(Measurement::double),
        ]);
        table.add_row(row);
    }
    numbers(table)
}

/// Ratios between the rates of the paths in closed loops.
fn ratios(report: &Report, cells: &[Cell]) -> String {
    let to = [Path::DIRECT, Path::BATCHED, Path::Bare, Path::Nothing];
    let mut table =
        markdown(&["accepted/s", "connections", "÷ direct", "÷ direct-batched", "÷ bare update", "÷ no-op"]);
    for &cell in cells.iter().filter(|cell| cell.connections.is_some() && cell.path == Path::MESSAGE) {
        let mut row = names(cell);
        row.extend(
            to.map(|to| some(report.ratio(cell, cell.by(to), |one| Some(one.figures.accepted_per_s)), 2)),
        );
        table.add_row(row);
    }
    numbers(table)
}

/// Freshness of views, and latency of concurrent reads.
fn freshness(report: &Report, cells: &[Cell]) -> String {
    let mut table = markdown(&[
        "path",
        "connections",
        "accept to visible p50",
        "p99",
        "due to visible p50",
        "p99",
        "all visible after s",
        "server away s",
        "reader p99",
        "reader errors",
    ]);
    for &cell in cells.iter().filter(|cell| cell.path != Path::Nothing) {
        let figure = |figure: Figure, decimals| some(report.median(cell, figure), decimals);
        let mut row = names(cell);
        row.extend([
            figure(|one| one.figures.visible_p50_ms, 1),
            figure(|one| one.figures.visible_p99_ms, 1),
            figure(|one| one.figures.due_to_visible_p50_ms, 1),
            figure(|one| one.figures.due_to_visible_p99_ms, 1),
            figure(|one| one.figures.drain_s, 2),
            figure(|one| one.figures.away_s, 1),
            figure(|one| one.figures.reader_p99_ms, 1),
            report.of(cell).map(|one| one.figures.reader_errors).sum::<u64>().to_string(),
        ]);
        table.add_row(row);
    }
    numbers(table)
}

/// Database cost per event.
fn cost(report: &Report, cells: &[Cell]) -> String {
    let mut table = markdown(&[
        "path",
        "connections",
        "commits/1000",
        "WAL B/event",
        "HOT %",
        "dead rows/1000",
        "lock waits",
        "CPU µs/event",
    ]);
    for &cell in cells.iter().filter(|cell| cell.path != Path::Nothing) {
        let figure = |figure: Figure, decimals| some(report.median(cell, figure), decimals);
        let mut row = names(cell);
        row.extend([
            figure(|one| one.figures.commits_per_1000, 2),
            figure(|one| one.figures.wal_bytes_per_event, 0),
            figure(|one| one.figures.hot_percent, 1),
            figure(|one| one.figures.dead_per_1000, 1),
            figure(|one| Some(one.figures.lock_waits), 2),
            figure(|one| one.figures.cpu_us_per_event, 0),
        ]);
        table.add_row(row);
    }
    numbers(table)
}

/// Processor time per event and peak memory, by process.
fn usage(report: &Report, cells: &[Cell]) -> String {
    const PROCESSES: [&str; 5] = ["API", "worker", "Postgres", "RabbitMQ", "generator"];
    let mut header = vec!["path".to_owned(), "connections".to_owned()];
    header.extend(PROCESSES.map(|name| format!("{name} µs, MiB")));
    let mut table = markdown(&header);
    for &cell in cells {
        let mut row = names(cell);
        row.extend(PROCESSES.map(|name| {
            let of = |figure: fn(&bench::contrast::Cost) -> f64| {
                let find = |one: &Measurement| one.usage.iter().find(|cost| cost.name == name).map(figure);
                report
                    .median(cell, find)
                    .map_or_else(|| "–".to_owned(), |median| format!("{:.0}", median.median))
            };
            format!("{}, {}", of(|cost| cost.cpu_us_per_event), of(|cost| cost.memory_peak_mib))
        }));
        table.add_row(row);
    }
    numbers(table)
}

fn drain(report: &Report) -> String {
    let mut table = markdown(&[
        "way",
        "events",
        "envelopes",
        "events/s",
        "commits/1000",
        "WAL B/event",
        "lost",
        "double",
    ]);
    for way in Way::ALL {
        let of: Vec<_> = report.drained.iter().filter(|drained| drained.way == way).collect();
        let Some(first) = of.first() else { continue };
        table.add_row([
            way.to_string(),
            first.events.to_string(),
            first.envelopes.to_string(),
            some(Median::of(of.iter().map(|drained| drained.events_per_s)), 0),
            some(Median::of(of.iter().map(|drained| drained.commits_per_1000)), 2),
            some(Median::of(of.iter().map(|drained| drained.wal_bytes_per_event)), 0),
            of.iter().map(|drained| drained.lost).sum::<u64>().to_string(),
            of.iter().map(|drained| drained.double).sum::<u64>().to_string(),
        ]);
    }
    numbers(table)
}

fn rows(report: &Report) -> String {
    let mut table = markdown(&["row", "updates/s", "WAL B/update", "HOT %", "growth B/update"]);
    for (kind, name) in [(RowKind::Narrow, "blog_counter"), (RowKind::Wide, "the blog's own row")] {
        let of: Vec<_> = report.rows.iter().filter(|row| row.row == kind).collect();
        if of.is_empty() {
            continue;
        }
        table.add_row([
            name.to_owned(),
            some(Median::of(of.iter().map(|row| row.updates_per_s)), 0),
            some(Median::of(of.iter().map(|row| row.wal_bytes_per_update)), 0),
            some(Median::of(of.iter().map(|row| row.hot_percent)), 1),
            some(Median::of(of.iter().map(|row| row.growth_bytes_per_update)), 1),
        ]);
    }
    numbers(table)
}

fn plot_links(plots: &[PathBuf]) -> String {
    let names = plots.iter().filter_map(|plot| plot.file_name()?.to_str());
    names.map(|name| format!("![{name}]({name})")).collect::<Vec<_>>().join("\n\n")
}

fn names(cell: Cell) -> Vec<String> {
    let connections =
        cell.connections.map_or_else(|| "open".to_owned(), |connections| connections.to_string());
    vec![cell.path.to_string(), connections]
}

fn markdown(header: &[impl ToString]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header.iter().map(ToString::to_string));
    table
}

/// Aligns every column but the first at the right, and omits a table without rows.
fn numbers(mut table: Table) -> String {
    if table.row_count() == 0 {
        return String::new();
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn some(figure: Option<Median>, decimals: usize) -> String {
    let Some(Median { median, min, max }) = figure else { return "–".to_owned() };
    if min.total_cmp(&max).is_eq() {
        format!("{median:.decimals$}")
    } else {
        format!("{median:.decimals$} [{min:.decimals$}–{max:.decimals$}]")
    }
}
