//! One cell: its load, the loads that run at the same time, and the check of its result.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use events::WritePath;
use load::{Ask, Load, Pace, Spread, Tally};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::freshness;
use super::meters::{self, Meters, RowVersions, Watched};
use super::report::{Accepted, Cell, Figures, Measurement};
use super::scenario::{Demand, Disturbance, Path, Planned};
use super::setting::{Place, Services, Setting};
use super::{Error, neighbour};
use crate::servers::blocking;
use crate::tables::Tables;

/// How long the accepted views may take to be counted after the load.
const DRAIN_MAX: Duration = Duration::from_secs(120);
/// The same if the outcome of some requests is unknown.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
const DRAIN_POLL: Duration = Duration::from_millis(10);
const PROBES_PER_S: f64 = 50.0;
const READS_PER_S: f64 = 50.0;
const BESIDE_CONNECTIONS: usize = 32;
/// Closed-loop load before a cell, to warm up connections, caches and blogs.
const WARM_UP: Duration = Duration::from_millis(500);
const WARM_UP_CONNECTIONS: usize = 16;
/// Length of the intervals in the plot of an outage.
const TIMELINE_STEP: Duration = Duration::from_millis(500);

/// The highest measured rate of each path.
#[derive(Debug, Default)]
pub(super) struct Calibration(BTreeMap<Path, f64>);

impl Calibration {
    pub(super) fn learn(&mut self, path: Path, per_s: f64) {
        self.0.insert(path, per_s);
    }

    /// Arrivals per second; none for a closed loop.
    fn per_s(&self, demand: Demand, path: Path) -> Option<f64> {
        let slowest = self.0.values().copied().min_by(f64::total_cmp).unwrap_or(1.0);
        match demand {
            Demand::Closed(_) => None,
            Demand::PerSecond(per_s) => Some(per_s),
            Demand::ShareOfOwn(share) => Some(share * self.0.get(&path).copied().unwrap_or(slowest)),
            Demand::ShareOfSlowest(share) => Some(share * slowest),
        }
    }
}

/// The results of the load and of the concurrent loads.
struct Seen {
    load: Tally,
    reads: Tally,
    probes: Tally,
    /// Seconds for which a server was down.
    away_s: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Load,
    Reads,
    Probes,
}

impl Seen {
    fn of(&mut self, kind: Kind) -> &mut Tally {
        match kind {
            Kind::Load => &mut self.load,
            Kind::Reads => &mut self.reads,
            Kind::Probes => &mut self.probes,
        }
    }
}

impl Setting<'_> {
    pub(super) async fn cell(
        &mut self,
        planned: &Planned,
        round: u32,
        calibration: &Calibration,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Measurement, Error> {
        let place = self.place().await?;
        let per_s = calibration.per_s(planned.demand, planned.path);
        let measured = self.cell_in(&place, planned, round, per_s, progress).await;
        // Cleans up after a failure too, which is then the error to report.
        let removed = match planned.disturbance {
            Disturbance::RabbitmqAway(_) => self.remove_database(&place).await,
            _ => self.remove(&place).await,
        };
        let measurement = measured?;
        removed?;
        Ok(measurement)
    }

    async fn cell_in(
        &mut self,
        place: &Place,
        planned: &Planned,
        round: u32,
        per_s: Option<f64>,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Measurement, Error> {
        let services = self.start_services(place, planned.path, planned.window_s).await?;
        let tables = Tables::open(&place.database).await?;
        let warm = self.warm_up(&services, planned, &tables).await?;
        tables.checkpoint().await?;
        let mut roots = services.processes();
        roots.extend(self.stack.postgres().pids().into_iter().map(|pid| ("Postgres", pid)));
        roots.extend(self.stack.rabbitmq().pids().into_iter().map(|pid| ("RabbitMQ", pid)));
        roots.push(("generator", std::process::id()));
        let watched = Watched::begin(&roots);
        let before = Meters::read(&tables).await?;
        let probed_before = self.probes_counted(&tables).await?;

        let enough = CancellationToken::new();
        let (mut looking, mut waiting) = (JoinSet::new(), JoinSet::new());
        looking.spawn(freshness::watch(place.clone(), self.probed(), enough.clone()));
        waiting.spawn(meters::watch(place.clone(), watched.clone(), enough.clone()));
        let seen = self.run(&services, place, planned, per_s, &watched).await?;
        let ended = Instant::now();
        let tables = Tables::open(&place.database).await?;
        let accepted = Accepted::of(planned.path, &[&warm, &seen.load, &seen.probes]);
        let drain_s = self.drained(&tables, accepted, ended).await?;
        let usage = watched.all();
        let after = Meters::read(&tables).await?;
        enough.cancel();
        let sightings = looking.join_next().await.transpose()?.unwrap_or_default();
        let lock_waits = waiting.join_next().await.transpose()?.unwrap_or_default();

        services.stop().await?;
        let mut measurement = Measurement {
            round,
            cell: Cell::of(planned),
            offered_per_s: per_s,
            accepted,
            refused: seen.load.refused.clone(),
            broken: seen.load.broken.clone(),
            left_queue_envelopes: place.queued().await?,
            proof: tables.proof().await?,
            drained: drain_s.is_some(),
            figures: figures(&seen, drain_s, lock_waits),
            usage: Vec::new(),
            timeline_per_s: timeline(planned, &seen.load),
            disagreements: Vec::new(),
        };
        measurement.figures.see(&sightings.freshness(&seen.probes.times, probed_before));
        let versions = RowVersions::read(&tables).await?;
        let stopped = matches!(planned.disturbance, Disturbance::PostgresAway(_));
        let promised = measurement.accepted.promised as f64;
        let versions = (!stopped).then_some((versions, promised));
        measurement.figures.charge(&before, &after, versions, events(&seen));
        measurement.use_up(&usage, events(&seen));
        measurement.check();
        for sentence in &measurement.disagreements {
            progress(&format!("DISAGREES: {sentence}"));
        }
        Ok(measurement)
    }

    /// A short closed loop; its views are counted before the measurement starts.
    async fn warm_up(&self, services: &Services, planned: &Planned, tables: &Tables) -> Result<Tally, Error> {
        let load = Load {
            connections: WARM_UP_CONNECTIONS,
            pace: Pace::Closed { think: Duration::ZERO },
            duration: WARM_UP,
            ..self.load(services, planned, None)
        };
        let mut tally = load.run(self.stop).await?;
        // The probed blog must be cached before Postgres goes down.
        let probes = Load { pace: Pace::Open { per_s: 20.0 }, ..self.probes(services, planned, WARM_UP) };
        tally.add(probes.run(self.stop).await?);
        let accepted = Accepted::of(planned.path, &[&tally]);
        if self.drained(tables, accepted, Instant::now()).await?.is_none() {
            let left = accepted.promised.saturating_sub(counted(tables).await?);
            return Err(Error::NotDrained { left, of: accepted.promised, after_s: DRAIN_MAX.as_secs() });
        }
        Ok(tally)
    }

    /// The load, with concurrent readers, probes and disturbances.
    async fn run(
        &mut self,
        services: &Services,
        place: &Place,
        planned: &Planned,
        per_s: Option<f64>,
        watched: &Watched,
    ) -> Result<Seen, Error> {
        let load = self.load(services, planned, per_s);
        let probes = self.probes(services, planned, load.duration);
        let reads = Load {
            target: services.api.address(),
            connections: BESIDE_CONNECTIONS,
            ask: Ask::Blog,
            pace: Pace::Open { per_s: READS_PER_S },
            keep_times: false,
            ..load.clone()
        };
        // A separate task, because restarting a server blocks.
        let over = CancellationToken::new();
        let mut loads = JoinSet::new();
        for (kind, load) in [(Kind::Load, load), (Kind::Reads, reads), (Kind::Probes, probes)] {
            let (stop, over) = (self.stop.clone(), over.clone());
            loads.spawn(async move {
                let tally = load.run(&stop).await;
                over.cancel();
                tally.map(|tally| (kind, tally))
            });
        }
        let away_s = self.disturb(planned, place, watched, over).await;
        let mut seen = Seen {
            load: Tally::default(),
            reads: Tally::default(),
            probes: Tally::default(),
            away_s: away_s?,
        };
        while let Some(ended) = loads.join_next().await {
            let (kind, tally) = ended??;
            *seen.of(kind) = tally;
        }
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        Ok(seen)
    }

    /// Runs the disturbance during the load; returns for how many seconds a server was down.
    async fn disturb(
        &mut self,
        planned: &Planned,
        place: &Place,
        watched: &Watched,
        over: CancellationToken,
    ) -> Result<Option<f64>, Error> {
        let (name, away) = match planned.disturbance {
            Disturbance::None => return Ok(None),
            Disturbance::Neighbour => return neighbour::report(place, over).await.map(|_reports| None),
            Disturbance::PostgresAway(away) => ("Postgres", away),
            Disturbance::RabbitmqAway(away) => ("RabbitMQ", away),
        };
        tokio::time::sleep(Planned::outage_after()).await;
        let began = Instant::now();
        let pids = if name == "Postgres" {
            let postgres = self.stack.postgres_mut();
            blocking(|| postgres.kill_9())?;
            tokio::time::sleep(away).await;
            blocking(|| postgres.restart())?;
            postgres.pids()
        } else {
            let rabbitmq = self.stack.rabbitmq_mut();
            blocking(|| rabbitmq.kill_9())?;
            tokio::time::sleep(away).await;
            blocking(|| rabbitmq.restart())?;
            rabbitmq.pids()
        };
        watched.also(name, pids);
        Ok(Some(began.elapsed().as_secs_f64()))
    }

    fn load(&self, services: &Services, planned: &Planned, per_s: Option<f64>) -> Load {
        let pace = match per_s {
            Some(per_s) => Pace::Open { per_s },
            None => Pace::Closed { think: Duration::ZERO },
        };
        Load {
            target: services.target(),
            connections: planned.connections(),
            duration: planned.duration(self.plan.duration),
            ask: ask(planned.path),
            pace,
            blogs: self.viewed(),
            spread: planned.spread,
            anywhere: false,
            answer_max: crate::ANSWER_MAX,
            refused_pause: Duration::ZERO,
            progress: None,
            keep_times: planned.is_measured_once(),
        }
    }

    fn probes(&self, services: &Services, planned: &Planned, duration: Duration) -> Load {
        Load {
            target: services.target(),
            connections: BESIDE_CONNECTIONS,
            duration,
            ask: ask(planned.path),
            pace: Pace::Open { per_s: PROBES_PER_S },
            blogs: vec![self.probed()],
            spread: Spread::Hot,
            anywhere: false,
            answer_max: crate::ANSWER_MAX,
            refused_pause: Duration::ZERO,
            progress: None,
            keep_times: true,
        }
    }

    async fn probes_counted(&self, tables: &Tables) -> Result<i64, Error> {
        Ok(tables.views_of(self.probed()).await?)
    }

    /// Seconds from the end of the load until no accepted view is missing.
    async fn drained(
        &self,
        tables: &Tables,
        accepted: Accepted,
        ended: Instant,
    ) -> Result<Option<f64>, Error> {
        let mut all_since = None;
        while !self.stop.is_cancelled() && ended.elapsed() < DRAIN_MAX {
            if counted(tables).await? >= accepted.promised {
                let since = *all_since.get_or_insert_with(Instant::now);
                // Requests with an unknown outcome may still be counted.
                if accepted.unknown == 0 || since.elapsed() > SETTLED_AFTER {
                    return Ok(Some(since.saturating_duration_since(ended).as_secs_f64()));
                }
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        Ok(None)
    }
}

fn ask(path: Path) -> Ask {
    match path {
        Path::Write(path) => Ask::View(path),
        // The bare endpoint ignores the header, which only makes the requests equally long.
        Path::Bare => Ask::View(WritePath::Direct),
        Path::Nothing => Ask::Nothing,
    }
}

async fn counted(tables: &Tables) -> Result<u64, Error> {
    Ok(u64::try_from(tables.views_counted().await?).unwrap_or_default())
}

/// The divisor of all costs: the accepted requests while the meters ran.
fn events(seen: &Seen) -> f64 {
    ((seen.load.accepted + seen.probes.accepted) as f64).max(1.0)
}

fn figures(seen: &Seen, drain_s: Option<f64>, lock_waits: f64) -> Figures {
    let ms = |tally: &Tally, quantile| {
        (tally.accepted > 0).then(|| tally.latency(quantile).as_secs_f64() * 1000.0)
    };
    let load = &seen.load;
    Figures {
        accepted_per_s: load.accepted_per_second(),
        p50_ms: ms(load, 0.5),
        p99_ms: ms(load, 0.99),
        p999_ms: ms(load, 0.999),
        max_ms: ms(load, 1.0),
        errors: load.refused_total() + load.unknown + load.unopened + load.unsent,
        reader_p99_ms: ms(&seen.reads, 0.99),
        reader_errors: seen.reads.refused_total() + seen.reads.unknown + seen.reads.unsent,
        drain_s,
        away_s: seen.away_s,
        lock_waits,
        ..Figures::default()
    }
}

/// Accepted requests per second, interval by interval, for the plot of an outage.
fn timeline(planned: &Planned, load: &Tally) -> Vec<f64> {
    let first = load.times.iter().map(|&(due, _)| due).min();
    let Some(first) = first.filter(|_| planned.is_measured_once()) else { return Vec::new() };
    let mut steps: BTreeMap<u128, u32> = BTreeMap::new();
    for &(_, answered) in &load.times {
        let step = answered.saturating_duration_since(first).as_nanos() / TIMELINE_STEP.as_nanos();
        *steps.entry(step).or_default() += 1;
    }
    let last = steps.keys().next_back().copied().unwrap_or_default();
    let per_s = |step| f64::from(steps.get(&step).copied().unwrap_or_default()) / TIMELINE_STEP.as_secs_f64();
    (0..=last).map(per_s).collect()
}
