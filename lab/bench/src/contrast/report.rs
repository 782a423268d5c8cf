//! The results as data: one entry for each cell and round, and medians and ratios over the rounds. This module also checks
//! whether the tables agree with the generator.

use std::collections::BTreeMap;

use load::{Spread, Tally};
use serde::Serialize;

use super::drain::Drained;
use super::freshness::{Freshness, percentile};
use super::meters::{Meters, RowVersions};
use super::rows::Row;
use super::scenario::{Demand, Name, Path, Planned};
use crate::processes::Usage;
use crate::report::{DatabaseSettings, Median};
use crate::tables::Proof;

/// The identity of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cell {
    /// The scenario.
    pub scenario: Name,
    /// The path.
    pub path: Path,
    /// Connections of a closed loop; none for an open one.
    pub connections: Option<usize>,
    /// How views are spread over the blogs.
    pub spread: Spread,
    /// `engagement.view_window_s`.
    pub window_s: u32,
}

impl Cell {
    pub(super) fn of(planned: &Planned) -> Self {
        let connections = match planned.demand {
            Demand::Closed(connections) => Some(connections),
            _ => None,
        };
        let Planned { name: scenario, path, spread, window_s, .. } = *planned;
        Self { scenario, path, connections, spread, window_s }
    }

    /// The same cell on another path.
    #[must_use]
    pub fn by(self, path: Path) -> Self {
        Self { path, ..self }
    }
}

/// Requests that must or may be counted, warm-up and probes among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// Answered with 2xx: each must be counted once. 0 if the requests have no event.
    pub promised: u64,
    /// Unanswered, or answered with an unknown outcome: each may be counted once or not at all.
    pub unknown: u64,
}

impl Accepted {
    pub(super) fn of(path: Path, tallies: &[&Tally]) -> Self {
        if path == Path::Nothing {
            return Self::default();
        }
        Self {
            promised: tallies.iter().map(|tally| tally.accepted).sum(),
            unknown: tallies.iter().map(|tally| tally.unknown).sum(),
        }
    }
}

/// The figures of a cell; each has a median over the rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Accepted requests per second.
    pub accepted_per_s: f64,
    /// Median latency of accepted requests, in an open loop from the time at which they were due.
    pub p50_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
    /// 99.9th percentile.
    pub p999_ms: Option<f64>,
    /// Maximum.
    pub max_ms: Option<f64>,
    /// Requests that were refused, unanswered or never sent.
    pub errors: u64,
    /// Median time from the answer of a probe until a reader sees it counted.
    pub visible_p50_ms: Option<f64>,
    /// 99th percentile.
    pub visible_p99_ms: Option<f64>,
    /// Median time from when a probe was due until a reader sees it counted.
    pub due_to_visible_p50_ms: Option<f64>,
    /// 99th percentile.
    pub due_to_visible_p99_ms: Option<f64>,
    /// 99th percentile of concurrent blog reads.
    pub reader_p99_ms: Option<f64>,
    /// Reads that failed.
    pub reader_errors: u64,
    /// Seconds from the last answer until every accepted view was counted.
    pub drain_s: Option<f64>,
    /// Seconds from killing a server until it ran again.
    pub away_s: Option<f64>,
    /// Writing transactions of the whole cluster per 1000 accepted requests.
    pub commits_per_1000: Option<f64>,
    /// WAL of the cluster per accepted request.
    pub wal_bytes_per_event: Option<f64>,
    /// Percentage of counter updates that were HOT. None if Postgres lost the statistics because it was killed.
    pub hot_percent: Option<f64>,
    /// Dead row versions per 1000 accepted requests.
    pub dead_per_1000: Option<f64>,
    /// Average number of sessions that waited for a lock.
    pub lock_waits: f64,
    /// Processor time per accepted request in microseconds, without the generator.
    pub cpu_us_per_event: Option<f64>,
}

impl Figures {
    pub(super) fn see(&mut self, freshness: &Freshness) {
        let ms = |of, share| percentile(of, share).map(|time| time.as_secs_f64() * 1000.0);
        self.visible_p50_ms = ms(&freshness.accepted, 0.5);
        self.visible_p99_ms = ms(&freshness.accepted, 0.99);
        self.due_to_visible_p50_ms = ms(&freshness.due, 0.5);
        self.due_to_visible_p99_ms = ms(&freshness.due, 0.99);
    }

    pub(super) fn charge(
        &mut self,
        before: &Meters,
        after: &Meters,
        // Includes the warm-up, like the row statistics, and the number of all events.
        versions: Option<(RowVersions, f64)>,
        events: f64,
    ) {
        let thousands = events / 1000.0;
        self.commits_per_1000 = Some((after.transactions - before.transactions) as f64 / thousands);
        self.wal_bytes_per_event = Some((after.wal_bytes - before.wal_bytes) as f64 / events);
        self.dead_per_1000 = versions.map(|(versions, of_all)| versions.dead as f64 / (of_all / 1000.0));
        self.hot_percent =
            versions.filter(|(versions, _)| versions.counter_updates > 0).map(|(versions, _)| {
                100.0 * versions.counter_hot_updates as f64 / versions.counter_updates as f64
            });
    }
}

/// The cost of the processes of one name in a cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// The name of the processes.
    pub name: &'static str,
    /// Processor time for each accepted request, in microseconds.
    pub cpu_us_per_event: f64,
    /// Peak memory in MiB.
    pub memory_peak_mib: f64,
}

/// One cell in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// Counted from 1.
    pub round: u32,
    /// The cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// Arrivals per second of an open loop.
    pub offered_per_s: Option<f64>,
    /// The requests that must or may be counted.
    pub accepted: Accepted,
    /// Requests answered otherwise than with 2xx, by status.
    pub refused: BTreeMap<u16, u64>,
    /// The reason why the outcome of the last unknown request is unknown.
    pub broken: Option<String>,
    /// Envelopes left in the queue after the services had ended.
    pub left_queue_envelopes: u32,
    /// Whether every accepted request was counted in time.
    pub drained: bool,
    /// The contents of the tables after the services ended.
    pub proof: Proof,
    /// The figures that have a median.
    #[serde(flatten)]
    pub figures: Figures,
    /// The cost of each kind of process.
    pub usage: Vec<Cost>,
    /// Accepted requests per second around an outage, in steps of half a second.
    pub timeline_per_s: Vec<f64>,
    /// Every disagreement of the tables with the generator or with each other.
    pub disagreements: Vec<String>,
}

impl Measurement {
    /// Accepted but not counted.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.accepted.promised.saturating_sub(self.counted())
    }

    /// Counted more often than accepted, beyond the requests with an unknown outcome.
    #[must_use]
    pub fn double(&self) -> u64 {
        self.counted().saturating_sub(self.accepted.promised + self.accepted.unknown)
    }

    fn counted(&self) -> u64 {
        u64::try_from(self.proof.total_views).unwrap_or_default()
    }

    pub(super) fn use_up(&mut self, usages: &[Usage], events: f64) {
        let cost = |usage: &Usage| Cost {
            name: usage.name,
            cpu_us_per_event: usage.cpu_s * 1e6 / events,
            memory_peak_mib: usage.memory_peak_bytes as f64 / f64::from(1 << 20),
        };
        self.usage = usages.iter().map(cost).collect();
        let servers = self.usage.iter().filter(|cost| cost.name != "generator");
        self.figures.cpu_us_per_event = Some(servers.map(|cost| cost.cpu_us_per_event).sum());
    }

    /// Checks whether the tables agree.
    pub(super) fn check(&mut self) {
        let proof = &self.proof;
        let Accepted { promised, unknown } = self.accepted;
        let mut checks = vec![
            (promised > 0 || self.cell.path == Path::Nothing, "nothing was accepted".to_owned()),
            (
                self.lost() == 0 && self.double() == 0,
                format!(
                    "{} views are counted, {promised} were promised and {unknown} are unknown: {} lost, {} double",
                    proof.total_views,
                    self.lost(),
                    self.double()
                ),
            ),
        ];
        // The other paths leave no trace except the counters.
        if matches!(self.cell.path, Path::Write(_)) {
            let sum = proof.counted + proof.repeat + proof.discarded + proof.parked;
            checks.extend([
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
                    proof.total_views == proof.counted && proof.repeat + proof.discarded + proof.parked == 0,
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
            ]);
        }
        let wrong = checks.into_iter().filter(|(holds, _)| !holds).map(|(_, sentence)| sentence);
        self.disagreements = wrong.collect();
    }
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The database's durability settings.
    pub database: DatabaseSettings,
    /// The versions of RabbitMQ and Erlang.
    pub rabbitmq: String,
    /// Seconds of load in a cell.
    pub duration_s: f64,
    /// Seconds that a server is down in an outage, without its start.
    pub outage_s: f64,
    /// The number of rounds.
    pub rounds: u32,
    /// The number of blogs over which the views are spread.
    pub blogs: i32,
    /// The rates on which those of open loops are based.
    pub calibration: Vec<Measurement>,
    /// The cells in the order of measurement.
    pub measurements: Vec<Measurement>,
    /// The rates at which queues drained.
    pub drained: Vec<Drained>,
    /// Counters in rows of their own and in the blogs' rows.
    pub rows: Vec<Row>,
}

impl Report {
    /// The cells in the order of the first round.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for measurement in &self.measurements {
            if !cells.contains(&measurement.cell) {
                cells.push(measurement.cell);
            }
        }
        cells
    }

    /// A cell's rounds.
    pub fn of(&self, cell: Cell) -> impl Iterator<Item = &Measurement> {
        self.measurements.iter().filter(move |measurement| measurement.cell == cell)
    }

    /// The median of a figure over a cell's rounds; none if no round has it.
    pub fn median(&self, cell: Cell, figure: impl Fn(&Measurement) -> Option<f64>) -> Option<Median> {
        Median::of(self.of(cell).filter_map(figure))
    }

    /// The median ratio of two cells, taken within each round, because a machine that slows down slows both.
    pub fn ratio(
        &self,
        cell: Cell,
        to: Cell,
        figure: impl Fn(&Measurement) -> Option<f64>,
    ) -> Option<Median> {
        Median::of(self.of(cell).filter_map(|one| {
            let other = self.of(to).find(|other| other.round == one.round)?;
            Some(figure(one)? / figure(other)?).filter(|ratio| ratio.is_finite())
        }))
    }

    /// Every disagreement with its place.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let mut all = Vec::new();
        for measurement in self.calibration.iter().chain(&self.measurements) {
            let Cell { scenario, path, .. } = measurement.cell;
            let of = format!("round {}, {scenario}, {path}", measurement.round);
            all.extend(measurement.disagreements.iter().map(|sentence| format!("{of}: {sentence}")));
            if !measurement.drained {
                all.push(format!("{of}: not every accepted event was counted in time"));
            }
        }
        for drained in self.drained.iter().filter(|drained| drained.lost + drained.double > 0) {
            let Drained { way, round, lost, double, .. } = drained;
            all.push(format!("round {round}, drain, {way}: {lost} lost, {double} double"));
        }
        all
    }
}

#[cfg(test)]
mod tests;
