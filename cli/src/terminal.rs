//! What a person sees: lines on stdout and stderr, and progress that moves on a terminal and stands still as
//! plain lines anywhere else. A reader who has gone away is no error.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};

/// A line under the header and one at the end: rows stay together.
const LINES: TableStyle = TableStyle::new()
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));
const TURN: Duration = Duration::from_millis(80);

/// A line of the result, on stdout.
pub(crate) fn line(text: impl Display) {
    let _reader_gone = writeln!(std::io::stdout().lock(), "{text}");
}

/// A line beside the result, on stderr.
pub(crate) fn note(text: impl Display) {
    let _reader_gone = writeln!(std::io::stderr().lock(), "{text}");
}

/// What is being done now, and what has been done. Clones share the one line.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// On stderr; a spinner if that is a terminal.
    pub(crate) fn new() -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Self { spinner }
    }

    /// What is being done now; it replaces the line before.
    pub(crate) fn now(&self, text: impl Display) {
        match &self.spinner {
            Some(bar) => {
                bar.set_message(text.to_string());
                bar.enable_steady_tick(TURN);
            }
            None => note(text),
        }
    }

    /// What has been done; it stays.
    pub(crate) fn done(&self, text: impl Display) {
        match &self.spinner {
            Some(bar) => bar.suspend(|| note(format_args!("\u{2713} {text}"))),
            None => note(text),
        }
    }

    /// Nothing is being done; the moving line goes away until there is another.
    pub(crate) fn rest(&self) {
        if let Some(bar) = &self.spinner {
            bar.disable_steady_tick();
            bar.finish_and_clear();
            bar.reset();
        }
    }
}

/// How a result is shown.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Format {
    /// JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// The result as JSON, on stdout.
///
/// # Errors
/// When the value cannot be written as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Rows under a header, on stdout; columns of numbers line up at the right.
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

/// What somebody sent, as a terminal may see it: it is not to move the cursor. Lines stay.
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
    fn a_terminal_gets_no_orders_from_a_body() {
        assert_eq!(
            printable("{\n\t\"é\": \"\u{1b}[2J\u{7}\u{9b}\r\"}"),
            "{\n\t\"é\": \"\\u{1b}[2J\\u{7}\\u{9b}\\r\"}"
        );
    }
}
