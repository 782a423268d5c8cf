//! The report at the end of an import.

use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;

use super::input::Tally;
use super::reason::LeftOut;
use super::send::Sent;
use crate::terminal;

/// The result of every line.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    lines: u64,
    counted: u64,
    repeat: u64,
    /// Accepted on the message path: counted unless they are repeats.
    accepted: u64,
    /// Views of a dry run.
    unsent: u64,
    left_out: LeftOut,
    blogs_made: u64,
    seconds: f64,
    lines_per_second: f64,
}

impl Report {
    /// Combines the counts of the reader and of the sender.
    ///
    /// # Errors
    /// If a line is not accounted for.
    pub(super) fn of(read: Tally, sent: Sent, took: Duration) -> anyhow::Result<Self> {
        let Sent { counted, repeat, accepted, unsent, left_out: not_sent, blogs_made } = sent;
        let Tally { lines, mut left_out } = read;
        left_out.merge(not_sent);
        let sum = counted + repeat + accepted + unsent + left_out.total();
        ensure!(
            sum == lines,
            "the count does not add up: {lines} lines were read, and {sum} are accounted for; this is a bug"
        );
        let seconds = took.as_secs_f64();
        let lines_per_second = (lines as f64 / seconds.max(0.001)).round();
        let report = Self {
            lines,
            counted,
            repeat,
            accepted,
            unsent,
            left_out,
            blogs_made,
            seconds,
            lines_per_second,
        };
        Ok(report)
    }

    /// Prints a table, in which the rows below the first add up to it.
    pub(super) fn show(&self) {
        let rest = [("accepted, counted unless repeat", self.accepted), ("views, not sent", self.unsent)];
        let rest: Vec<_> = rest.into_iter().filter(|&(_, lines)| lines > 0).collect();
        let mut rows = vec![("lines read", self.lines)];
        if rest.is_empty() || self.counted + self.repeat > 0 {
            rows.extend([("counted", self.counted), ("repeat, counted before", self.repeat)]);
        }
        let rows = rows.into_iter().chain(rest).map(|(what, lines)| [what.to_owned(), lines.to_string()]);
        let left_out = self.left_out.rows().into_iter();
        let left_out = left_out.map(|(reason, lines)| [format!("left out: {reason}"), lines.to_string()]);
        terminal::table(["what became of the lines", "lines"], &[1], rows.chain(left_out));
        terminal::line(format_args!(
            "{} blogs made; {:.1} s, {} lines a second",
            self.blogs_made, self.seconds, self.lines_per_second
        ));
    }
}

/// The counts of an interrupted import. More may have been counted, because answers can be lost.
pub(super) fn so_far(sent: &Sent, took: Duration) -> String {
    let Sent { counted, repeat, accepted, unsent, left_out, blogs_made } = sent;
    let numbers = [
        (*counted, "counted"),
        (*repeat, "repeat, counted before"),
        (*accepted, "accepted"),
        (*unsent, "views, not sent"),
        (*blogs_made, "blogs made"),
    ];
    let numbers = numbers.into_iter().filter(|&(number, _)| number > 0);
    let numbers = numbers.map(|(number, what)| format!("  {number} {what}"));
    let left_out = left_out.rows().into_iter().map(|(reason, lines)| format!("  {lines} left out: {reason}"));
    let lines: Vec<String> = numbers.chain(left_out).collect();
    let nothing = if lines.is_empty() { " nothing" } else { "" };
    let header = format!("broken off after {:.1} s; so far:{nothing}", took.as_secs_f64());
    [vec![header], lines].concat().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::reason;

    fn read(lines: u64) -> Tally {
        let mut tally = Tally { lines, ..Tally::default() };
        tally.left_out.add(reason::ROBOT);
        tally
    }

    #[test]
    fn every_line_is_accounted_for() {
        let sent = || {
            let mut sent = Sent { counted: 3, repeat: 2, accepted: 1, unsent: 1, ..Sent::default() };
            sent.left_out.add("key: no".to_owned());
            sent.left_out.add(reason::ROBOT);
            sent
        };
        let report = Report::of(read(10), sent(), Duration::from_secs(3)).unwrap();
        assert_eq!(report.left_out.rows(), [(reason::ROBOT, 2), ("key: no", 1)]);
        let so_far = so_far(&sent(), Duration::from_millis(1500));
        assert_eq!(
            so_far.lines().collect::<Vec<_>>(),
            [
                "broken off after 1.5 s; so far:",
                "  3 counted",
                "  2 repeat, counted before",
                "  1 accepted",
                "  1 views, not sent",
                "  1 left out: key: no",
                "  1 left out: robot",
            ]
        );
        for lines in [9, 11] {
            let error = Report::of(read(lines), sent(), Duration::from_secs(3)).unwrap_err().to_string();
            assert!(error.contains("does not add up"), "{error}");
        }
    }
}
