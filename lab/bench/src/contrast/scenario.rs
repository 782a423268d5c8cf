//! The scenarios, and the cells of which they consist.

use std::time::Duration;

use events::WritePath;
use load::Spread;
use serde::{Serialize, Serializer};

/// The default window, in seconds.
const WINDOW_S: u32 = 1800;
const ZIPF: Spread = Spread::Zipf(1.1);
/// Connections of every open loop, more than it should need.
const OPEN_CONNECTIONS: usize = 256;
/// Requests per second of the light scenario.
const LIGHT_PER_S: f64 = 100.0;
/// Requests per second around an outage.
const OUTAGE_PER_S: f64 = 200.0;
/// Seconds of load before an outage, and after the server is started again.
const BEFORE_OUTAGE: Duration = Duration::from_secs(3);
const AFTER_OUTAGE: Duration = Duration::from_secs(6);

/// The path of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// A write path of the Blogs API.
    Write(WritePath),
    /// The smallest possible direct write, by a separate server.
    Bare,
    /// A request to the Blogs API that writes nothing.
    Nothing,
}

impl Path {
    /// Through RabbitMQ.
    pub const MESSAGE: Self = Self::Write(WritePath::Message);
    /// One transaction per request.
    pub const DIRECT: Self = Self::Write(WritePath::Direct);
    /// One transaction for the requests that wait.
    pub const BATCHED: Self = Self::Write(WritePath::DirectBatched);
    /// Every path.
    pub const ALL: [Self; 5] = [Self::MESSAGE, Self::DIRECT, Self::BATCHED, Self::Bare, Self::Nothing];
    /// Those that count something.
    const COUNTING: [Self; 4] = [Self::MESSAGE, Self::DIRECT, Self::BATCHED, Self::Bare];
    /// The write paths of Commonplace.
    const WRITE: [Self; 3] = [Self::MESSAGE, Self::DIRECT, Self::BATCHED];

    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Write(path) => path.name(),
            Self::Bare => "bare update",
            Self::Nothing => "no-op",
        }
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The name of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// All views on one blog, in a closed loop.
    Hot,
    /// 1000 blogs, few of them popular, in a closed loop.
    Zipf,
    /// The same without a window: every view counts, and none is stored.
    EveryView,
    /// The same arrival rate for every path, below the limit of the slowest.
    SameLoad,
    /// Half of each path's highest rate.
    HalfLoad,
    /// Hardly any load.
    Light,
    /// A neighbour in the database runs heavy reports.
    Neighbour,
    /// Postgres is killed and stays down for some time.
    PostgresAway,
    /// RabbitMQ is killed and stays down for some time.
    RabbitmqAway,
    /// How fast a worker drains a queue, and what limits it.
    Drain,
    /// Counters in rows of their own, and in the rows of the blogs.
    Rows,
}

impl Name {
    /// Every scenario.
    pub const ALL: [Self; 11] = [
        Self::Hot,
        Self::Zipf,
        Self::EveryView,
        Self::SameLoad,
        Self::HalfLoad,
        Self::Light,
        Self::Neighbour,
        Self::PostgresAway,
        Self::RabbitmqAway,
        Self::Drain,
        Self::Rows,
    ];

    /// The name in arguments and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Zipf => "zipf",
            Self::EveryView => "every-view",
            Self::SameLoad => "same-load",
            Self::HalfLoad => "half-load",
            Self::Light => "light",
            Self::Neighbour => "neighbour",
            Self::PostgresAway => "postgres-away",
            Self::RabbitmqAway => "rabbitmq-away",
            Self::Drain => "drain",
            Self::Rows => "rows",
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            format!("one of {} is expected", names.join(", "))
        })
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The rate of requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Demand {
    /// A closed loop with this many connections, each with one request at a time.
    Closed(usize),
    /// This many arrivals per second, evenly spaced.
    PerSecond(f64),
    /// This share of the path's own highest rate.
    ShareOfOwn(f64),
    /// This share of the highest rate of the slowest write path.
    ShareOfSlowest(f64),
}

/// The disturbance during the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// Nothing.
    None,
    /// Heavy reports.
    Neighbour,
    /// Postgres is down for this time.
    PostgresAway(Duration),
    /// RabbitMQ is down for this time.
    RabbitmqAway(Duration),
}

/// Cells that belong together.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    name: Name,
    spread: Spread,
    window_s: u32,
    demands: Vec<Demand>,
    disturbance: Disturbance,
    paths: Vec<Path>,
}

/// One thing to measure.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) name: Name,
    pub(super) path: Path,
    pub(super) spread: Spread,
    pub(super) window_s: u32,
    pub(super) demand: Demand,
    pub(super) disturbance: Disturbance,
}

impl Scenario {
    /// Its cells, the paths next to each other.
    pub(super) fn cells(&self) -> Vec<Planned> {
        let cell = |demand, path| Planned {
            name: self.name,
            path,
            spread: self.spread,
            window_s: self.window_s,
            demand,
            disturbance: self.disturbance,
        };
        self.demands
            .iter()
            .flat_map(|&demand| self.paths.iter().map(move |&path| cell(demand, path)))
            .collect()
    }

    pub(super) fn needs_calibration(&self) -> bool {
        self.demands.iter().any(|demand| matches!(demand, Demand::ShareOfOwn(_) | Demand::ShareOfSlowest(_)))
    }
}

impl Planned {
    /// The number of rounds. Outages run once: they take long, and their figures depend on the outage more than on the machine.
    pub(super) fn is_measured_once(&self) -> bool {
        matches!(self.disturbance, Disturbance::PostgresAway(_) | Disturbance::RabbitmqAway(_))
    }

    pub(super) fn connections(&self) -> usize {
        match self.demand {
            Demand::Closed(connections) => connections,
            _ => OPEN_CONNECTIONS,
        }
    }

    /// The length of its load, given the `usual` length.
    pub(super) fn duration(&self, usual: Duration) -> Duration {
        match self.disturbance {
            Disturbance::PostgresAway(away) | Disturbance::RabbitmqAway(away) => {
                BEFORE_OUTAGE + away + AFTER_OUTAGE
            }
            Disturbance::None | Disturbance::Neighbour => usual,
        }
    }

    /// The time from the start of the load to the outage.
    pub(super) fn outage_after() -> Duration {
        BEFORE_OUTAGE
    }
}

impl std::fmt::Display for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", self.name, self.path)?;
        match self.demand {
            Demand::Closed(connections) => write!(f, ", {connections} connections"),
            _ => Ok(()),
        }
    }
}

/// The cells that must be measured before shares of their rates can be used.
pub(super) fn calibration(is_quick: bool) -> Vec<Planned> {
    let connections = if is_quick { 16 } else { 64 };
    let cell = |path| Planned {
        name: Name::Zipf,
        path,
        spread: ZIPF,
        window_s: WINDOW_S,
        demand: Demand::Closed(connections),
        disturbance: Disturbance::None,
    };
    let paths: &[Path] = if is_quick { &Path::WRITE[..2] } else { &Path::WRITE };
    paths.iter().copied().map(cell).collect()
}

/// The scenarios of these names that consist of cells.
pub(super) fn of(names: &[Name], is_quick: bool, outage: Duration) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = names.iter().filter_map(|&name| scenario(name, outage)).collect();
    if is_quick {
        scenarios.iter_mut().for_each(make_quick);
    }
    scenarios
}

fn scenario(name: Name, outage: Duration) -> Option<Scenario> {
    let closed = |connections: &[usize]| connections.iter().copied().map(Demand::Closed).collect::<Vec<_>>();
    let zipf = Scenario {
        name,
        spread: ZIPF,
        window_s: WINDOW_S,
        demands: Vec::new(),
        disturbance: Disturbance::None,
        paths: Path::WRITE.to_vec(),
    };
    Some(match name {
        Name::Hot => {
            Scenario { spread: Spread::Hot, demands: closed(&[64, 256]), paths: Path::ALL.to_vec(), ..zipf }
        }
        Name::Zipf => Scenario { demands: closed(&[1, 16, 64, 256]), paths: Path::ALL.to_vec(), ..zipf },
        Name::EveryView => Scenario { window_s: 0, demands: closed(&[256]), ..zipf },
        Name::SameLoad => {
            Scenario { demands: vec![Demand::ShareOfSlowest(0.8)], paths: Path::COUNTING.to_vec(), ..zipf }
        }
        Name::HalfLoad => Scenario { demands: vec![Demand::ShareOfOwn(0.5)], ..zipf },
        Name::Light => {
            Scenario { demands: vec![Demand::PerSecond(LIGHT_PER_S)], paths: Path::COUNTING.to_vec(), ..zipf }
        }
        Name::Neighbour => Scenario {
            demands: vec![Demand::ShareOfSlowest(0.5)],
            disturbance: Disturbance::Neighbour,
            ..zipf
        },
        Name::PostgresAway => Scenario {
            demands: vec![Demand::PerSecond(OUTAGE_PER_S)],
            disturbance: Disturbance::PostgresAway(outage),
            ..zipf
        },
        Name::RabbitmqAway => Scenario {
            demands: vec![Demand::PerSecond(OUTAGE_PER_S)],
            disturbance: Disturbance::RabbitmqAway(outage),
            ..zipf
        },
        Name::Drain | Name::Rows => return None,
    })
}

/// Each scenario once, with few connections and the paths that differ most.
fn make_quick(scenario: &mut Scenario) {
    for demand in &mut scenario.demands {
        if matches!(demand, Demand::Closed(_)) {
            *demand = Demand::Closed(16);
        }
    }
    scenario.demands.dedup();
    if scenario.name != Name::Hot {
        scenario.paths.retain(|&path| path == Path::MESSAGE || path == Path::DIRECT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in Name::ALL {
            assert_eq!(name.name().parse(), Ok(name));
        }
        assert!("warm".parse::<Name>().unwrap_err().starts_with("one of hot, zipf, "));
    }

    #[test]
    fn the_paths_of_a_scenario_are_measured_next_to_each_other() {
        let zipf = scenario(Name::Zipf, Duration::ZERO).unwrap();
        let cells = zipf.cells();
        assert_eq!(cells.len(), 20);
        assert_eq!(cells[..5].iter().map(|cell| cell.path).collect::<Vec<_>>(), Path::ALL);
        assert!(cells[..5].iter().all(|cell| cell.demand == Demand::Closed(1)));
    }

    #[test]
    fn a_quick_run_has_every_scenario_in_few_cells() {
        let outage = Duration::from_secs(1);
        let scenarios = of(&Name::ALL, true, outage);
        assert_eq!(scenarios.len(), Name::ALL.len() - 2, "all but drain and rows");
        let cells: Vec<_> = scenarios.iter().flat_map(Scenario::cells).collect();
        assert!(cells.len() <= 24, "{}", cells.len());
        assert_eq!(cells.iter().filter(|cell| cell.is_measured_once()).count(), 4);
    }
}
