//! The report as tables that read well on a terminal and are Markdown at the same time.

use bench::report::{Cell, Measurement, Median, Report};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

/// Columns that name the cell; all after them are figures.
const NAMES: usize = 3;

/// What was timed: medians over the rounds, with their range where there are several.
pub(crate) fn figures(report: &Report) -> Table {
    let header =
        ["accepted/s", "p50 ms", "p99 ms", "max ms", "errors", "backlog at stop", "s to empty", "rounds"];
    table(&header, report, |rounds| {
        let of = |decimals, figure: fn(&Measurement) -> f64| {
            Median::of(rounds.iter().map(|round| figure(round)))
                .map_or_else(String::new, |m| text(m, decimals))
        };
        let drained = rounds.iter().filter_map(|round| round.drain_s);
        let errors: u64 =
            rounds.iter().map(|round| round.refused.values().sum::<u64>() + round.unknown).sum();
        vec![
            of(0, |round| round.accepted_per_s),
            of(2, |round| round.p50_ms),
            of(2, |round| round.p99_ms),
            of(1, |round| round.max_ms),
            errors.to_string(),
            of(0, |round| round.backlog_events as f64),
            if rounds.iter().all(|round| round.drain_s.is_some()) {
                Median::of(drained).map_or_else(String::new, |m| text(m, 2))
            } else {
                "never".to_owned()
            },
            rounds.len().to_string(),
        ]
    })
}

/// What was counted: sums over the rounds, from the generator and from the tables.
pub(crate) fn account(report: &Report) -> Table {
    let header = [
        "accepted",
        "unknown",
        "counted",
        "difference",
        "ledger",
        "envelopes",
        "repeat",
        "discarded",
        "parked",
    ];
    table(&header, report, |rounds| {
        let sum = |figure: fn(&Measurement) -> i64| {
            rounds.iter().map(|round| figure(round)).sum::<i64>().to_string()
        };
        vec![
            rounds.iter().map(|round| round.accepted).sum::<u64>().to_string(),
            rounds.iter().map(|round| round.unknown).sum::<u64>().to_string(),
            sum(|round| round.proof.total_views),
            sum(Measurement::difference),
            sum(|round| round.proof.ledger_events),
            sum(|round| round.proof.ledger_envelopes),
            sum(|round| round.proof.repeat),
            sum(|round| round.proof.discarded),
            sum(|round| round.proof.parked),
        ]
    })
}

fn table(header: &[&str], report: &Report, row: impl Fn(&[&Measurement]) -> Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["path", "views over", "window"].iter().chain(header));
    for (cell, rounds) in report.by_cell() {
        table.add_row(names(cell, report.blogs).into_iter().chain(row(&rounds)));
    }
    for column in table.column_iter_mut().skip(NAMES) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn names(cell: Cell, blogs: i32) -> [String; NAMES] {
    let spread = match cell.spread {
        bench::Spread::Hot => cell.spread.to_string(),
        bench::Spread::Uniform | bench::Spread::Zipf(_) => format!("{blogs} blogs, {}", cell.spread),
    };
    [cell.path.to_string(), spread, format!("{} s", cell.window_s)]
}

fn text(figure: Median, decimals: usize) -> String {
    let Median { median, min, max } = figure;
    if min.total_cmp(&max).is_eq() {
        format!("{median:.decimals$}")
    } else {
        format!("{median:.decimals$} [{min:.decimals$}–{max:.decimals$}]")
    }
}
