//! `parked list` and `parked show`.

use anyhow::Context;
use comfy_table::Table;
use database::{Statement, statement};
use jiff::Timestamp;
use serde::Serialize;

use super::Which;
use super::filter::{Filter, Parked};
use crate::operator::Place;
use crate::terminal::{self, Format, printable};

const PARKED_SHOW: Statement = statement!("parked_show.sql");
/// Width of the other columns of the list, and the least width of the reason.
const OTHER_COLUMNS: usize = 110;
const REASON_MIN: usize = 24;

const LIST_EXAMPLES: &str = "\
Examples:
  commonplace parked list
  commonplace parked list --reason constraint --since 2026-11-22 --limit 1000
  commonplace parked list --all --json

Exit codes: 0 done, even if no event matches; 1 the command failed; 2 wrong usage.";
const SHOW_EXAMPLES: &str = "\
Examples:
  commonplace parked show 01a20596-cc9c-71ff-8af3-8d51c0d661c4 0
  commonplace parked show 01a20596-cc9c-71ff-8af3-8d51c0d661c4 -1 --json

Exit codes: 0 done; 1 there is no such parked event, or the command failed; 2 wrong usage.";

#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Include events that were redriven or given up
    #[arg(long)]
    all: bool,
    /// Show at most this many events
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(super) struct Show {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// A parked event with its body, as text or, if it is not text, as hexadecimal digits.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    parked: Parked,
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let client = self.place.pool()?.get().await?;
        let parked = self.filter.first(&client, self.all, self.limit).await?;
        if self.format.json {
            terminal::json(&parked)?;
        } else if parked.is_empty() {
            terminal::line("no parked event matches");
        } else {
            let width = width_of_reasons();
            let header =
                ["envelope", "index", "kind", "reason", "sqlstate", "attempts", "first seen", "state"];
            terminal::table(header, &[1, 5], parked.iter().map(|parked| parked.cells(width)));
        }
        let shown = i64::try_from(parked.len()).unwrap_or(i64::MAX);
        if shown == self.limit {
            let matching = self.filter.count(&client, self.all).await?;
            if shown < matching {
                terminal::note(format_args!("{shown} of {matching} are shown: raise --limit to see more"));
            }
        }
        Ok(())
    }
}

impl Show {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Which { envelope, index } = self.which;
        let client = self.place.pool()?.get().await?;
        let row = PARKED_SHOW.query_opt(&client, &[&envelope, &index]).await?.with_context(|| {
            format!("{envelope} {index} was never parked: `commonplace parked list --all` lists every parked event")
        })?;
        let (body, body_hex) = match String::from_utf8(row.get("body")) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect())),
        };
        let shown = Shown { parked: Parked::new(&row), traceparent: row.get("traceparent"), body, body_hex };
        if self.format.json {
            return terminal::json(&shown);
        }
        shown.show();
        Ok(())
    }
}

impl Shown {
    fn show(&self) {
        let Parked { envelope_id, index, kind, reason, sqlstate, in_ledger, attempts, .. } = &self.parked;
        let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
        let encoding = if self.body_hex.is_some() { "bytes, in hexadecimal" } else { "bytes" };
        let fields = [
            ("envelope", envelope_id.to_string()),
            ("index", index.to_string()),
            ("kind", text(kind)),
            ("state", self.parked.state().to_owned()),
            ("reason", printable(reason)),
            ("sqlstate", text(sqlstate)),
            ("attempts", attempts.to_string()),
            ("first seen", time(Some(self.parked.first_seen_at))),
            ("redriven", time(self.parked.redriven_at)),
            ("given up", time(self.parked.dropped_at)),
            ("in the ledger", (if *in_ledger { "yes" } else { "no" }).to_owned()),
            ("traceparent", text(&self.traceparent)),
            ("body", format!("{} {encoding}", self.parked.body_bytes)),
        ];
        for (name, value) in fields {
            terminal::line(format_args!("{name:<14} {value}"));
        }
        if let Some(body) = self.body.as_ref().or(self.body_hex.as_ref()).filter(|body| !body.is_empty()) {
            terminal::line(format_args!("\n{}", printable(body)));
        }
    }
}

impl Parked {
    fn cells(&self, width: Option<usize>) -> [String; 8] {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [
            self.envelope_id.to_string(),
            self.index.to_string(),
            or_none(&self.kind),
            cut(&self.reason, width),
            or_none(&self.sqlstate),
            self.attempts.to_string(),
            self.first_seen_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            self.state().to_owned(),
        ]
    }

    fn state(&self) -> &'static str {
        match (self.redriven_at, self.dropped_at) {
            // Even if its body was deleted later, with the account that it names.
            (Some(_), _) => "redriven",
            (None, Some(_)) => "given up",
            (None, None) => "waiting",
        }
    }
}

/// Width of the reason on a terminal; none for a file or a pipe, where the reason is not cut.
fn width_of_reasons() -> Option<usize> {
    let terminal = Table::new().width()?;
    Some(usize::from(terminal).saturating_sub(OTHER_COLUMNS).max(REASON_MIN))
}

/// The text as one line, cut to a width.
fn cut(text: &str, width: Option<usize>) -> String {
    let line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    match width {
        Some(width) if line.chars().count() > width => {
            line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_cut_to_the_given_width() {
        assert_eq!(cut("refused by constraint", Some(21)), "refused by constraint");
        assert_eq!(cut("refused by constraint", Some(8)), "refused…");
        assert_eq!(cut("ärger\nim Übermaß", Some(10)), "ärger im …");
        assert_eq!(cut("ärger\nim Übermaß", None), "ärger im Übermaß");
    }
}
