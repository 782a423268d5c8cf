//! The write paths side by side: for every path, spread and view window the accepted rate, its latency, the
//! backlog that it leaves, and the proof.
//!
//! A cell is: a fresh database and vhost, a Blogs API and a worker in processes of their own, blogs, a
//! checkpoint, the load, the wait until all that was accepted is counted, SIGTERM to both services, and then the
//! account that the tables give. After that everything of it is removed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use broker::Queue;
use database::bootstrap::RoleSettings;
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use stack::Stack;
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;

use crate::load::{Load, LoadError, Tally, WritePath};
use crate::process::{Service, ServiceError};
use crate::report::{Cell, Measurement, Report};
use crate::spread::Spread;
use crate::tables::Tables;

/// How long the accepted views may take to be counted after the load.
const DRAIN_MAX: Duration = Duration::from_secs(300);
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `commonplace` executable, for the services.
    pub executable: PathBuf,
    /// Where the services log.
    pub directory: PathBuf,
    /// The roles of the cluster.
    pub roles: RoleSettings,
    /// Load of each cell.
    pub duration: Duration,
    /// Connections of the generator.
    pub connections: usize,
    /// How often each cell is run.
    pub rounds: u32,
    /// How many blogs there are.
    pub blogs: i32,
    /// The write paths.
    pub paths: Vec<WritePath>,
    /// The spreads over the blogs.
    pub spreads: Vec<Spread>,
    /// The view windows, in seconds.
    pub windows_s: Vec<u32>,
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
    /// The private servers refused something.
    #[error(transparent)]
    Stack(#[from] stack::Error),
    /// A service did not start, or did not end.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The load could not be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The servers' addresses are not understood.
    #[error("the address of the private database is not understood")]
    Address(#[source] tokio_postgres::Error),
    /// Somebody asked for the end.
    #[error("stopped before all cells were measured")]
    Stopped,
}

impl Plan {
    /// All cells of one round, the paths next to each other.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &window_s in &self.windows_s {
            for &spread in &self.spreads {
                cells.extend(self.paths.iter().map(|&path| Cell { path, spread, window_s }));
            }
        }
        cells
    }

    /// Measures every cell, round after round. `progress` receives a line for each step that takes time.
    ///
    /// # Errors
    /// When a cell cannot be measured, or `stop` comes. Tables that do not agree are no error here: they stand
    /// in the report.
    pub async fn run(
        &self,
        stack: &Stack,
        stop: &CancellationToken,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Report, Error> {
        let administrator: Config = stack.postgres_url().parse().map_err(Error::Address)?;
        database::bootstrap::run(&administrator, &self.roles).await?;
        let versions = stack.versions();
        let worker = worker_config(&administrator, &self.roles);
        let mut report = Report {
            database: Tables::open(&worker).await?.settings().await?,
            rabbitmq: format!("{} on Erlang {}", versions.rabbitmq, versions.erlang),
            duration_s: self.duration.as_secs(),
            connections: self.connections,
            blogs: self.blogs,
            measurements: Vec::new(),
        };
        let cells = self.cells();
        let of = cells.len() * usize::try_from(self.rounds).unwrap_or(usize::MAX);
        for round in 1..=self.rounds {
            for &cell in &cells {
                let at = report.measurements.len() + 1;
                let Cell { path, spread, window_s } = cell;
                progress(&format!("{at}/{of}: {path}, {spread}, window {window_s} s"));
                let servers = Servers { stack, administrator: &administrator, name: format!("bench_{at}") };
                let measurement = self.measure(&servers, cell, round, stop).await?;
                if stop.is_cancelled() {
                    return Err(Error::Stopped);
                }
                report.measurements.push(measurement);
            }
        }
        Ok(report)
    }

    async fn measure(
        &self,
        servers: &Servers<'_>,
        cell: Cell,
        round: u32,
        stop: &CancellationToken,
    ) -> Result<Measurement, Error> {
        let everywhere = Tables::open(servers.administrator).await?;
        everywhere.drop_database(&servers.name).await?;
        everywhere.create_database(&servers.name).await?;
        let amqp_url = blocking(|| servers.stack.create_vhost(&servers.name))?;
        let measured = self.measure_in(servers, amqp_url, cell, round, stop).await;
        // Also after a failure; which is then the one to be told of.
        let dropped = everywhere.drop_database(&servers.name).await;
        let deleted = blocking(|| servers.stack.delete_vhost(&servers.name));
        let measurement = measured?;
        dropped?;
        deleted?;
        Ok(measurement)
    }

    async fn measure_in(
        &self,
        servers: &Servers<'_>,
        amqp_url: String,
        cell: Cell,
        round: u32,
        stop: &CancellationToken,
    ) -> Result<Measurement, Error> {
        let database = servers.administrator.clone().dbname(&servers.name).clone();
        database::migrations::run(&database).await?;
        let tables = Tables::open(&database).await?;
        let blogs = tables.seed_blogs(self.blogs).await?;
        let broker = broker_settings(&amqp_url);
        let (api, worker) = self.start_services(&database, &amqp_url, cell).await?;
        tables.checkpoint().await?;

        let load = Load {
            target: api.address(),
            connections: self.connections,
            duration: self.duration,
            path: cell.path,
            blogs,
            spread: cell.spread,
            think: Duration::ZERO,
        };
        let tally = load.run(stop).await?;
        let ended = Instant::now();
        let mut measurement = Measurement::new(cell, round, &tally);
        measurement.backlog_events = missing(&tables, &tally).await?;
        measurement.backlog_queue_envelopes = broker::queue_depth(&broker, Queue::Engagement).await?;
        measurement.drain_s = drained(&tables, &tally, ended, stop).await?;

        // In this order nothing can come after the worker has gone; and what neither of them holds any more is
        // either in the tables or still in the queue.
        api.stop().await?;
        worker.stop().await?;
        measurement.left_queue_envelopes = broker::queue_depth(&broker, Queue::Engagement).await?;
        measurement.proof = tables.proof().await?;
        Ok(measurement)
    }

    async fn start_services(
        &self,
        database: &Config,
        amqp_url: &str,
        cell: Cell,
    ) -> Result<(Service, Service), Error> {
        let secret: String =
            rand::rng().random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
        let settings = |role: &str, password: &SecretString| {
            vec![
                ("DATABASE_URL", url(database, role, password)),
                ("AMQP_URL", amqp_url.to_owned()),
                ("COMMONPLACE__ENGAGEMENT__VIEW_WINDOW_S", cell.window_s.to_string()),
                ("COMMONPLACE__LOG__FILTER", "warn".to_owned()),
            ]
        };
        let mut for_api = settings("blogs_api", &self.roles.blogs_api_password);
        for_api.extend([
            ("COMMONPLACE__ENGAGEMENT__ALLOW_WRITE_PATH_HEADER", "true".to_owned()),
            ("COMMONPLACE__ENGAGEMENT__DIRECT_PATH", "true".to_owned()),
            ("COMMONPLACE__ENGAGEMENT__VISITOR_SECRET", secret.clone()),
            ("COMMONPLACE__TOKENS__SIGNING_KEYS", format!("bench:{secret}")),
            ("COMMONPLACE__RATE_LIMITS__ENABLED", "false".to_owned()),
        ]);
        let for_worker = settings("analytics_worker", &self.roles.analytics_worker_password);
        let start = |name, settings: &[_]| Service::start(&self.executable, name, settings, &self.directory);
        let mut api = start("blogs-api", &for_api)?;
        let mut worker = start("analytics-worker", &for_worker)?;
        api.ready().await?;
        worker.ready().await?;
        Ok((api, worker))
    }
}

/// The servers, and what a cell calls its own on them.
struct Servers<'a> {
    stack: &'a Stack,
    administrator: &'a Config,
    name: String,
}

/// Accepted views that are not counted yet.
async fn missing(tables: &Tables, tally: &Tally) -> Result<u64, Error> {
    let counted = u64::try_from(tables.views_counted().await?).unwrap_or_default();
    Ok(tally.accepted.saturating_sub(counted))
}

/// Seconds from the end of the load until no accepted view is missing.
async fn drained(
    tables: &Tables,
    tally: &Tally,
    ended: Instant,
    stop: &CancellationToken,
) -> Result<Option<f64>, Error> {
    while !stop.is_cancelled() && ended.elapsed() < DRAIN_MAX {
        let elapsed = ended.elapsed();
        if missing(tables, tally).await? == 0 {
            return Ok(Some(elapsed.as_secs_f64()));
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
    Ok(None)
}

/// The private servers are driven by code that blocks.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

fn worker_config(administrator: &Config, roles: &RoleSettings) -> Config {
    let mut config = administrator.clone();
    config.user("analytics_worker").password(roles.analytics_worker_password.expose_secret());
    config
}

/// How the broker is asked for the depth of a queue. Nothing is published with these.
fn broker_settings(amqp_url: &str) -> broker::Settings {
    broker::Settings {
        url: amqp_url.into(),
        connect_timeout_ms: 10_000,
        answer_timeout_ms: 10_000,
        heartbeat_s: 10,
        backoff_min_ms: 100,
        backoff_max_ms: 1000,
        waiting_max: 1,
        waiting_bytes_max: events::ENVELOPE_BYTES_MAX,
        unconfirmed_max: 1,
        confirm_timeout_ms: 10_000,
    }
}

/// The address of this database for a role. The password must be of letters and digits.
pub(crate) fn url(database: &Config, role: &str, password: &SecretString) -> String {
    let port = database.get_ports().first().copied().unwrap_or(5432);
    let name = database.get_dbname().unwrap_or_default();
    format!("postgres://{role}:{}@127.0.0.1:{port}/{name}", password.expose_secret())
}
