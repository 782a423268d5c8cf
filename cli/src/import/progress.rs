//! The progress of an import: a bar by bytes on a terminal, and a plain line every few seconds elsewhere.

use std::fmt::Display;
use std::io::Read;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressBarIter, ProgressDrawTarget, ProgressStyle};

use crate::terminal;

const TURN: Duration = Duration::from_millis(100);
/// Pause between two plain lines.
const PAUSE: Duration = Duration::from_secs(5);
const BAR: &str = "{bar:30.cyan} {bytes}/{total_bytes}  {msg}  {eta} left";
const SPINNER: &str = "{spinner:.cyan} {bytes}  {msg}";

/// The progress display. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// Writes to stderr. Without a number of bytes, as for standard input, it cannot show the remaining time.
    pub(super) fn new(bytes: Option<u64>) -> Self {
        let template = if bytes.is_some() { BAR } else { SPINNER };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr()).with_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(TURN);
        }
        let now = Instant::now();
        Self { bar, started: now, said: now }
    }

    /// Wraps a source, so that its bytes count as progress when they are read.
    pub(super) fn watch<R: Read>(&self, source: R) -> ProgressBarIter<R> {
        self.bar.wrap_read(source)
    }

    /// Reports the number of lines read so far.
    pub(super) fn lines(&mut self, lines: u64) {
        let speed = lines as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let text = format!("{lines} lines, {speed:.0} a second");
        if !self.bar.is_hidden() {
            self.bar.set_message(text);
        } else if self.said.elapsed() >= PAUSE {
            self.said = Instant::now();
            match self.bar.length() {
                Some(bytes) => {
                    let read = self.bar.position();
                    let left = HumanDuration(left(self.started.elapsed(), read, bytes));
                    terminal::note(format_args!("{text}; {read} of {bytes} bytes, {left} left"));
                }
                None => terminal::note(text),
            }
        }
    }

    /// Prints a line that stays.
    pub(super) fn note(&self, text: impl Display) {
        self.bar.suspend(|| terminal::note(text));
    }

    /// Removes the bar and returns the time since the start.
    pub(super) fn end(&self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }
}

/// The remaining time at the average speed so far.
fn left(took: Duration, read: u64, bytes: u64) -> Duration {
    let share = bytes.saturating_sub(read) as f64 / read.max(1) as f64;
    Duration::try_from_secs_f64(took.as_secs_f64() * share).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_follows_from_the_average_speed() {
        let took = Duration::from_secs(10);
        for (read, bytes, expected_s) in
            [(50, 100, 10), (25, 100, 30), (100, 100, 0), (101, 100, 0), (0, 5, 50)]
        {
            assert_eq!(left(took, read, bytes), Duration::from_secs(expected_s), "{read} of {bytes}");
        }
    }
}
