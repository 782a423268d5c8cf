//! What a measurement found, as data: one entry for each cell and round, what it was measured on, and medians
//! with their ranges. Whether the tables agree with the generator is decided here.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::{Tally, WritePath};
use crate::spread::Spread;
use crate::tables::Proof;

/// One combination of what is varied.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cell {
    /// The write path.
    pub path: WritePath,
    /// How the views are spread over the blogs.
    pub spread: Spread,
    /// `engagement.view_window_s`.
    pub window_s: u32,
}

/// One cell in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// Counted from 1.
    pub round: u32,
    /// Which cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// From the first request to the last answer.
    pub elapsed_s: f64,
    /// Accepted requests in a second.
    pub accepted_per_s: f64,
    /// Latency that half of the accepted requests stayed within.
    pub p50_ms: f64,
    /// Latency that 99 % of the accepted requests stayed within.
    pub p99_ms: f64,
    /// Latency of the slowest accepted request.
    pub max_ms: f64,
    /// Requests answered with 2xx.
    pub accepted: u64,
    /// Requests answered otherwise, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub unknown: u64,
    /// Connections that could not be opened.
    pub unopened: u64,
    /// Why the last of the unknown requests had no answer.
    pub broken: Option<String>,
    /// Accepted views that were not yet counted when the last answer was there.
    pub backlog_events: u64,
    /// Envelopes that waited in the queue at that moment, without those that the worker held.
    pub backlog_queue_envelopes: u32,
    /// From the last answer until every accepted view was counted; nothing when that did not happen in time.
    pub drain_s: Option<f64>,
    /// Envelopes left in the queue after the services had ended.
    pub left_queue_envelopes: u32,
    /// What the tables say after the services had ended.
    pub proof: Proof,
}

impl Measurement {
    /// Takes over what the generator saw.
    #[must_use]
    pub fn new(cell: Cell, round: u32, tally: &Tally) -> Self {
        let latency_ms = |quantile| tally.latency(quantile).as_secs_f64() * 1000.0;
        Self {
            round,
            cell,
            elapsed_s: tally.elapsed.as_secs_f64(),
            accepted_per_s: tally.accepted_per_second(),
            p50_ms: latency_ms(0.5),
            p99_ms: latency_ms(0.99),
            max_ms: latency_ms(1.0),
            accepted: tally.accepted,
            refused: tally.refused.clone(),
            unknown: tally.unknown,
            unopened: tally.unopened,
            broken: tally.broken.clone(),
            backlog_events: 0,
            backlog_queue_envelopes: 0,
            drain_s: None,
            left_queue_envelopes: 0,
            proof: Proof::default(),
        }
    }

    /// Counted less accepted. It must be 0, or as many more as have no known outcome.
    #[must_use]
    pub fn difference(&self) -> i64 {
        self.proof.total_views.saturating_sub_unsigned(self.accepted)
    }

    /// Everything in which the tables do not agree with the generator or with each other.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let proof = &self.proof;
        let unknown = i64::try_from(self.unknown).unwrap_or(i64::MAX);
        let ledger = proof.ledger_events.saturating_sub_unsigned(self.accepted);
        let sum = proof.counted + proof.repeat + proof.discarded + proof.parked;
        let checks = [
            (self.accepted > 0, "nothing was accepted".to_owned()),
            (
                (0..=unknown).contains(&self.difference()),
                format!("{} views are counted, {} were accepted", proof.total_views, self.accepted),
            ),
            (
                (0..=unknown).contains(&ledger),
                format!("the ledger holds {} events, {} were accepted", proof.ledger_events, self.accepted),
            ),
            (
                proof.ledger_events == sum && proof.outcomes == sum,
                format!(
                    "the ledger holds {} events, but {} counted + {} repeats + {} discarded + {} parked, and {} \
                     outcomes in all",
                    proof.ledger_events,
                    proof.counted,
                    proof.repeat,
                    proof.discarded,
                    proof.parked,
                    proof.outcomes
                ),
            ),
            (
                proof.total_views == proof.counted,
                format!("the counters say {}, the outcomes {}", proof.total_views, proof.counted),
            ),
            (
                proof.total_views == proof.hour_views,
                format!("the counters say {}, the series {}", proof.total_views, proof.hour_views),
            ),
            (
                self.left_queue_envelopes == 0 && proof.outbox_envelopes == 0,
                format!(
                    "{} envelopes are left in the queue, {} in the outbox",
                    self.left_queue_envelopes, proof.outbox_envelopes
                ),
            ),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, sentence)| sentence).collect()
    }
}

/// The middle of several runs, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Median {
    /// The middle one; between two, their mean.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Median {
    /// Nothing when there are no values.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

/// What the database promises, as the worker's role has it.
#[derive(Debug, Clone, Serialize)]
pub struct DatabaseSettings {
    /// `server_version`.
    pub server_version: String,
    /// `fsync`.
    pub fsync: String,
    /// `synchronous_commit`.
    pub synchronous_commit: String,
    /// `full_page_writes`.
    pub full_page_writes: String,
    /// `shared_buffers`.
    pub shared_buffers: String,
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What the database promises.
    pub database: DatabaseSettings,
    /// RabbitMQ and the Erlang below it.
    pub rabbitmq: String,
    /// Seconds of load in a cell.
    pub duration_s: u64,
    /// Connections of the generator.
    pub connections: usize,
    /// Blogs that the views are spread over.
    pub blogs: i32,
    /// In the order in which they were made.
    pub measurements: Vec<Measurement>,
}

impl Report {
    /// The cells in the order of the first round, each with its rounds.
    #[must_use]
    pub fn by_cell(&self) -> Vec<(Cell, Vec<&Measurement>)> {
        let mut cells: Vec<(Cell, Vec<&Measurement>)> = Vec::new();
        for measurement in &self.measurements {
            match cells.iter_mut().find(|(cell, _)| *cell == measurement.cell) {
                Some((_, rounds)) => rounds.push(measurement),
                None => cells.push((measurement.cell, vec![measurement])),
            }
        }
        cells
    }

    /// Whether every cell's tables agree with what was accepted.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.measurements.iter().all(|measurement| measurement.disagreements().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(accepted: u64, unknown: u64, counted: i64) -> Measurement {
        let mut tally = Tally::new();
        tally.accepted = accepted;
        tally.unknown = unknown;
        let cell = Cell { path: WritePath::Message, spread: Spread::Hot, window_s: 1800 };
        let proof = Proof {
            total_views: counted,
            hour_views: counted,
            ledger_events: counted,
            ledger_envelopes: 1,
            counted,
            outcomes: counted,
            ..Proof::default()
        };
        Measurement { proof, ..Measurement::new(cell, 1, &tally) }
    }

    #[test]
    fn accepted_must_be_counted_and_only_the_unknown_may_be() {
        assert_eq!(measurement(10, 0, 10).disagreements(), [""; 0]);
        assert_eq!(measurement(10, 2, 12).disagreements(), [""; 0]);
        for (accepted, unknown, counted) in [(10, 0, 9), (10, 0, 11), (10, 2, 13), (10, 2, 9)] {
            assert_eq!(measurement(accepted, unknown, counted).disagreements().len(), 2, "views and ledger");
        }
        assert_eq!(measurement(0, 0, 0).disagreements(), ["nothing was accepted"]);
    }

    #[test]
    fn every_table_must_tell_the_same() {
        type Change = fn(&mut Measurement);
        let changes: [(Change, &str); 5] = [
            (|m| m.proof.hour_views -= 1, "the counters say 10, the series 9"),
            (|m| m.proof.outcomes += 1, "and 11 outcomes in all"),
            (|m| m.proof.repeat += 1, "10 counted + 1 repeats"),
            (|m| m.left_queue_envelopes = 1, "1 envelopes are left in the queue, 0 in the outbox"),
            (|m| m.proof.outbox_envelopes = 3, "0 envelopes are left in the queue, 3 in the outbox"),
        ];
        for (change, sentence) in changes {
            let mut measurement = measurement(10, 0, 10);
            change(&mut measurement);
            let said = measurement.disagreements().join("\n");
            assert!(said.contains(sentence), "{said}");
        }
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(Median::of([]), None);
        assert_eq!(Median::of([3.0, 1.0, 2.0]), Some(Median { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Median::of([4.0, 1.0]), Some(Median { median: 2.5, min: 1.0, max: 4.0 }));
    }
}
