//! The message path against direct database writes.
//!
//! A *cell* is one scenario on one path with a given number of connections. It gets a copy of a database that was migrated
//! and filled once, a vhost, and services as separate processes. Its steps are a warm-up, a checkpoint, the load, the wait
//! until every accepted event is counted, SIGTERM to the services, and the check of the tables. Meters run from the
//! checkpoint until the last event is visible, so that the message path also pays for its workers.
//!
//! Two more loads run at the same time, equal for every path: readers of `GET /v1/blogs/{id}`, and *probes*, which view a
//! blog of their own at a fixed rate. A session watches that blog's counter to measure freshness: the k-th probe is visible
//! when the counter has reached k.
//!
//! Two paths serve only as bounds for the three write paths: a no-op POST of the same server, which is the upper bound, and
//! the smallest possible direct write ([`bare`]), which shows that `direct` was not made slow on purpose.

pub mod bare;
mod cell;
mod drain;
mod freshness;
mod meters;
mod neighbour;
pub mod plot;
mod report;
mod rows;
mod scenario;
mod setting;
mod targets;

use std::path::PathBuf;
use std::time::Duration;

use database::bootstrap::RoleSettings;
use load::{Broken, LoadError};
use stack::Stack;
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;

use crate::process::ServiceError;
use crate::tables::Tables;
use cell::Calibration;
use scenario::Scenario;
use setting::Setting;

pub use drain::{Drained, Way};
pub use report::{Accepted, Cell, Cost, Figures, Measurement, Report};
pub use rows::{Row, RowKind};
pub use scenario::{Name, Path};
pub use targets::{Bound, Target};

/// The database from which every cell's database is copied.
const TEMPLATE: &str = "bench_contrast";

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The executable that runs a service by `serve NAME`.
    pub executable: PathBuf,
    /// The folder for the services' logs.
    pub directory: PathBuf,
    /// The roles of the cluster.
    pub roles: RoleSettings,
    /// The scenarios to measure.
    pub scenarios: Vec<Name>,
    /// Load of each cell.
    pub duration: Duration,
    /// The number of runs of each cell, except for outages, which run once.
    pub rounds: u32,
    /// The number of blogs over which the views are spread.
    pub blogs: i32,
    /// How long a server is down in an outage.
    pub outage: Duration,
    /// Run only enough to check that every scenario works.
    pub is_quick: bool,
}

/// Why a run ended without a report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused something.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The broker refused something.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// This process's broker settings are invalid.
    #[error(transparent)]
    BrokerSettings(#[from] broker::SettingsError),
    /// An envelope was not confirmed.
    #[error("filling the queue (the publisher is {state})")]
    Publish {
        /// The state of its connection at that time.
        state: String,
        /// The reason.
        source: broker::PublishError,
    },
    /// A batch could not be applied.
    #[error("applying a batch from memory")]
    Engagement(#[from] engagement::Error),
    /// The engagement settings are invalid.
    #[error(transparent)]
    EngagementSettings(#[from] engagement::SettingsError),
    /// The private servers refused something.
    #[error(transparent)]
    Stack(#[from] stack::Error),
    /// A vhost could not be made.
    #[error(transparent)]
    Vhost(#[from] crate::servers::VhostError),
    /// A service did not start, or did not end.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The load could not be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A request failed.
    #[error("a request to a service of this run")]
    Http(#[from] Broken),
    /// A task of this run panicked.
    #[error("a task of the measurement failed")]
    Task(#[from] tokio::task::JoinError),
    /// The servers' addresses are invalid.
    #[error("the address of the private database is invalid")]
    Address(#[source] tokio_postgres::Error),
    /// A queue was not drained.
    #[error("{left} of {of} events are not counted after {after_s} s")]
    NotDrained {
        /// What is missing.
        left: u64,
        /// The total number.
        of: u64,
        /// The time waited.
        after_s: u64,
    },
    /// The run was interrupted.
    #[error("stopped before everything was measured")]
    Stopped,
}

impl Plan {
    /// Measures, round after round. `progress` receives a line for each step that takes time.
    ///
    /// # Errors
    /// If a measurement fails, or `stop` is cancelled. Disagreeing tables are not an error here; the report lists them.
    pub async fn run(
        &self,
        stack: &mut Stack,
        stop: &CancellationToken,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Report, Error> {
        let administrator: Config = stack.postgres_url().parse().map_err(Error::Address)?;
        progress("making roles, schema and blogs");
        database::bootstrap::run(&administrator, &self.roles).await?;
        let everywhere = Tables::open(&administrator).await?;
        everywhere.drop_database(TEMPLATE).await?;
        everywhere.create_database(TEMPLATE).await?;
        let template = administrator.clone().dbname(TEMPLATE).clone();
        database::migrations::run(&template).await?;
        let tables = Tables::open(&template).await?;
        // One more blog, for the probes.
        let blogs = tables.seed_blogs(self.blogs + 1).await?;
        tables.analyze().await?;
        let settings = tables.settings().await?;
        drop(tables);

        let versions = stack.versions();
        let mut report = Report {
            database: settings,
            rabbitmq: format!("{} on Erlang {}", versions.rabbitmq, versions.erlang),
            duration_s: self.duration.as_secs_f64(),
            outage_s: self.outage.as_secs_f64(),
            rounds: self.rounds,
            blogs: self.blogs,
            calibration: Vec::new(),
            measurements: Vec::new(),
            drained: Vec::new(),
            rows: Vec::new(),
        };
        let mut setting = Setting { plan: self, stack, administrator, blogs, stop, made: 0 };
        setting.measure(&mut report, progress).await?;
        // An earlier session would not have survived an outage.
        drop(everywhere);
        Tables::open(&setting.administrator).await?.drop_database(TEMPLATE).await?;
        Ok(report)
    }
}

impl Setting<'_> {
    async fn measure(
        &mut self,
        report: &mut Report,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), Error> {
        let scenarios = scenario::of(&self.plan.scenarios, self.plan.is_quick, self.plan.outage);
        let mut calibration = Calibration::default();
        if scenarios.iter().any(Scenario::needs_calibration) {
            for cell in scenario::calibration(self.plan.is_quick) {
                progress(&format!("how much {} takes, to know what half of it is", cell.path));
                let measured = self.cell(&cell, 1, &calibration, progress).await?;
                calibration.learn(cell.path, measured.figures.accepted_per_s);
                report.calibration.push(measured);
            }
        }
        for round in 1..=self.plan.rounds {
            for cell in scenarios.iter().flat_map(Scenario::cells) {
                if round > 1 && cell.is_measured_once() {
                    continue;
                }
                progress(&format!("round {round} of {}: {cell}", self.plan.rounds));
                let measured = self.cell(&cell, round, &calibration, progress).await?;
                report.measurements.push(measured);
            }
            if self.plan.scenarios.contains(&Name::Drain) {
                for way in Way::ALL {
                    progress(&format!("round {round} of {}: drain, {way}", self.plan.rounds));
                    report.drained.push(self.drain(way, round).await?);
                }
            }
            if self.plan.scenarios.contains(&Name::Rows) {
                progress(&format!(
                    "round {round} of {}: counters in a narrow row, in the blog's",
                    self.plan.rounds
                ));
                report.rows.extend(self.rows(round).await?);
            }
        }
        Ok(())
    }
}
