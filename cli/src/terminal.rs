//! Output for people: lines on stdout and stderr, and progress, which is a spinner on a terminal and plain lines
//! elsewhere. A closed pipe is not an error.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};

/// Table style: one rule under the header and one at the end, none between rows.
const LINES: TableStyle = TableStyle::new()
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));
const TURN: Duration = Duration::from_millis(80);

/// Prints a line of the result to stdout.
pub(crate) fn line(text: impl Display) {
    let _reader_gone = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a line that is not part of the result to stderr.
pub(crate) fn note(text: impl Display) {
    let _reader_gone = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows the current step, and the finished ones. Clones share one line.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// Writes to stderr: with a spinner if that is a terminal.
    pub(crate) fn new() -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self { spinner }
    }

    /// Shows the current step, in place of the previous one.
    pub(crate) fn now(&self, text: impl Display) {
        match &self.spinner {
            Some(bar) => {
                bar.set_message(text.to_string());
                bar.enable_steady_tick(TURN);
            }
            None => note(text),
        }
    }

    /// Prints a finished step as a line that stays.
    pub(crate) fn done(&self, text: impl Display) {
        match &self.spinner {
            Some(bar) => bar.suspend(|| note(format_args!("\u{2713} {text}"))),
            None => note(text),
        }
    }

    /// Removes the spinner until the next step.
    pub(crate) fn rest(&self) {
        if let Some(bar) = &self.spinner {
            bar.disable_steady_tick();
            bar.finish_and_clear();
            bar.reset();
        }
    }
}

/// The format of a result.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Format {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints the result as JSON to stdout.
///
/// # Errors
/// If the value cannot be written as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints rows under a header to stdout, with the given columns of numbers aligned at the right.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    numbers: &[usize],
    rows: impl IntoIterator<Item = [String; N]>,
) {
    let mut table = Table::new();
    table.load_style(LINES);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for &column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    line(table);
}

/// Text from a client with its control characters escaped, so that it cannot move the terminal's cursor. Line breaks stay.
pub(crate) fn printable(text: &str) -> String {
    let printed = |letter: char| match letter {
        '\n' | '\t' => letter.to_string(),
        letter if letter.is_control() => letter.escape_default().to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(printed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_a_body_are_escaped() {
        assert_eq!(
            printable("{\n\t\"é\": \"\u{1b}[2J\u{7}\u{9b}\r\"}"),
            "{\n\t\"é\": \"\\u{1b}[2J\\u{7}\\u{9b}\\r\"}"
        );
    }
}
