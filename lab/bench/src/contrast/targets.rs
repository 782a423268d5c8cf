//! The targets and the measured values.

use serde::Serialize;

use super::drain::{Drained, Way};
use super::report::{Cell, Measurement, Report};
use super::scenario::{Name, Path};
use crate::report::Median;
use Bound::{AtLeast, AtMost};

/// One target.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// The figure.
    pub measure: &'static str,
    /// The lower or upper bound.
    pub bound: Bound,
    /// The measured value; none if the run did not measure it.
    pub measured: Option<Median>,
}

/// A lower or an upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not below.
    AtLeast(f64),
    /// Not above.
    AtMost(f64),
}

impl Target {
    /// Whether the median meets the bound; none if it was not measured.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        let median = self.measured?.median;
        Some(match self.bound {
            Bound::AtLeast(least) => median >= least,
            Bound::AtMost(most) => median <= most,
        })
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

impl Report {
    /// Every target.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let message = |scenario, connections| {
            self.cells().into_iter().find(|cell| {
                cell.scenario == scenario && cell.path == Path::MESSAGE && cell.connections == connections
            })
        };
        let ratio = |cell: Option<Cell>, to, figure: fn(&Measurement) -> Option<f64>| {
            cell.and_then(|cell| self.ratio(cell, cell.by(to), figure))
        };
        let median = |cell: Option<Cell>, figure: fn(&Measurement) -> Option<f64>| {
            cell.and_then(|cell| self.median(cell, figure))
        };
        let zipf = |connections| message(Name::Zipf, Some(connections));
        let hot = |connections| message(Name::Hot, Some(connections));
        vec![
            target(
                "accepted/s, message ÷ no-op, 256 connections",
                AtLeast(0.60),
                ratio(zipf(256), Path::Nothing, rate),
            ),
            target(
                "accepted/s, message ÷ no-op, 64 connections",
                AtLeast(0.35),
                ratio(zipf(64), Path::Nothing, rate),
            ),
            target(
                "accepted/s, message ÷ direct, one hot blog, 64 connections",
                AtLeast(8.0),
                ratio(hot(64), Path::DIRECT, rate),
            ),
            target(
                "accepted/s, message ÷ direct, one hot blog, 256 connections",
                AtLeast(12.0),
                ratio(hot(256), Path::DIRECT, rate),
            ),
            target(
                "accept p99, message ÷ direct, the same arrivals",
                AtMost(0.35),
                ratio(message(Name::SameLoad, None), Path::DIRECT, p99),
            ),
            target(
                "drain, worker with full envelopes ÷ raw consume of single events",
                AtLeast(3.0),
                self.drain_ratio(Way::WorkerFull, Way::RawAlone),
            ),
            target(
                "drain, worker ÷ the same envelopes from memory",
                AtLeast(0.85),
                self.drain_ratio(Way::WorkerFull, Way::MemoryFull),
            ),
            target(
                "commits per 1000 events, worker saturated",
                AtMost(0.3),
                self.saturated(|one| one.commits_per_1000),
            ),
            target(
                "WAL bytes per event, every view counts, worker saturated",
                AtMost(70.0),
                self.saturated(|one| one.wal_bytes_per_event),
            ),
            target(
                "HOT share of counter updates, %",
                AtLeast(98.0),
                median(zipf(64), |one| one.figures.hot_percent),
            ),
            target(
                "accept-to-visible p99 at half load, ms",
                AtMost(250.0),
                median(message(Name::HalfLoad, None), |one| one.figures.visible_p99_ms),
            ),
        ]
    }

    /// Targets of a worker with a backlog.
    fn saturated(&self, figure: fn(&Drained) -> f64) -> Option<Median> {
        Median::of(self.drained.iter().filter(|one| one.way == Way::WorkerFull).map(figure))
    }

    /// The median ratio of two ways to drain a queue, taken within each round.
    fn drain_ratio(&self, way: Way, to: Way) -> Option<Median> {
        let of = |way| self.drained.iter().filter(move |drained: &&Drained| drained.way == way);
        Median::of(of(way).filter_map(|one| {
            let other = of(to).find(|other| other.round == one.round)?;
            Some(one.events_per_s / other.events_per_s).filter(|ratio| ratio.is_finite())
        }))
    }
}

fn rate(one: &Measurement) -> Option<f64> {
    Some(one.figures.accepted_per_s)
}

fn p99(one: &Measurement) -> Option<f64> {
    one.figures.p99_ms
}

fn target(measure: &'static str, bound: Bound, measured: Option<Median>) -> Target {
    Target { measure, bound, measured }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_by_the_median() {
        let measured = Some(Median { median: 0.5, min: 0.1, max: 9.0 });
        let is_met = |bound, measured| Target { measure: "", bound, measured }.is_met();
        assert_eq!(is_met(Bound::AtLeast(0.5), measured), Some(true));
        assert_eq!(is_met(Bound::AtLeast(0.6), measured), Some(false));
        assert_eq!(is_met(Bound::AtMost(0.4), measured), Some(false));
        assert_eq!(is_met(Bound::AtMost(0.4), None), None);
    }
}
