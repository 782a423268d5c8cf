//! Measures notifying a million followers: by the worker, from the shared tables; by one raw statement, which is the
//! fastest that the database can be; and by a middleman, which may only use the APIs of two services.
//!
//! All measurements use one database with the same followers. Each one starts without notifications and without dirty
//! pages. The worker is the real one as a separate process, and its fan-outs begin with a `POST /v1/blogs`, so that its time
//! includes outbox, relay and RabbitMQ. The methods are interleaved by round. After each measurement the tables are
//! checked for missing and duplicate notifications.

mod cost;
mod ground;
mod middleman;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use database::bootstrap::RoleSettings;
use database::{Statement, statement};
use load::{Broken, LoadError};
use rand::RngExt;
use secrecy::SecretString;
use stack::Stack;
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;
use web::tokens::KeyPair;

use crate::author::Author;
use crate::process::{Service, ServiceError};
use crate::servers::{Prepared, amqp_url_of, prepare, url};
use ground::Ground;

pub use cost::Cost;
pub use middleman::PAGE_MAX;
pub use report::{Kills, Latency, Measured, Report, Told, UnderLoad, Way};

const SEED_FOLLOWERS: Statement = statement!("seed_followers.sql");

const DATABASE: &str = "bench_fan_out";
/// Number of followers of the author who publishes during the large fan-out.
const FEW: i64 = 10;
const DONE_WITHIN: Duration = Duration::from_secs(600);

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The executable that runs a service by `serve NAME`.
    pub executable: PathBuf,
    /// The folder for the services' logs.
    pub directory: PathBuf,
    /// The roles of the cluster.
    pub roles: RoleSettings,
    /// Followers of the author.
    pub followers: i64,
    /// The number of rounds.
    pub rounds: u32,
    /// Page sizes that the middleman may choose from.
    pub pages: Vec<u32>,
    /// Number of followers with which page sizes are tried.
    pub sample: i64,
    /// Number of followers whom the naive middleman notifies.
    pub naive: usize,
    /// The middleman's number of connections.
    pub naive_connections: usize,
    /// Number of connections of the load during a fan-out.
    pub connections: usize,
    /// Time from an answer to the next request on each of them.
    pub think: Duration,
    /// How long the load runs before the fan-out.
    pub load: Duration,
    /// How often the worker is killed during a fan-out.
    pub kills: u32,
}

/// Why a run ended without a report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused something.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The private servers refused something.
    #[error(transparent)]
    Stack(#[from] stack::Error),
    /// The measurement's database or vhost could not be made.
    #[error(transparent)]
    Prepare(#[from] crate::servers::PrepareError),
    /// A service did not start, or did not end.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The load could not be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A request failed.
    #[error("a request to a service of this run")]
    Http(#[from] Broken),
    /// The middleman's endpoints have no address.
    #[error("listening on the loopback")]
    Listen(#[source] std::io::Error),
    /// A task of this run panicked.
    #[error("a task of the measurement failed")]
    Task(#[from] tokio::task::JoinError),
    /// The servers' addresses are invalid.
    #[error("the address of the private database is invalid")]
    Address(#[source] tokio_postgres::Error),
    /// A fan-out made no progress.
    #[error("the fan-out of blog {blog} was not done within {} s", DONE_WITHIN.as_secs())]
    NotDone {
        /// The blog.
        blog: i64,
    },
    /// The run was interrupted.
    #[error("stopped before everything was measured")]
    Stopped,
}

impl Plan {
    /// Measures. `progress` receives a line for each step that takes time.
    ///
    /// # Errors
    /// If a measurement fails, or `stop` is cancelled. Disagreeing tables are not an error here; the report lists them.
    pub async fn run(
        &self,
        stack: &Stack,
        stop: &CancellationToken,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Report, Error> {
        let administrator: Config = stack.postgres_url().parse().map_err(Error::Address)?;
        database::bootstrap::run(&administrator, &self.roles).await?;
        let Prepared { database, amqp_url, tables } =
            prepare(stack, &administrator, &self.roles, DATABASE).await?;

        let mut api = self.service("blogs-api", &database, &amqp_url)?;
        api.ready().await?;
        let sign_up = async |handle: &'static str| Author::sign_up(api.address(), handle).await;
        let (star, sample, small) =
            (sign_up("star").await?, sign_up("sample").await?, sign_up("small").await?);
        progress(&format!("making {} followers", self.followers));
        for (author, followers) in [(&star, self.followers), (&sample, self.sample), (&small, FEW)] {
            tables.execute(SEED_FOLLOWERS, &[&author.id, &followers]).await?;
        }
        tables.analyze().await?;

        let ground = Ground { plan: self, database, amqp_url, tables, star, sample, small, stop };
        let measured = ground.measure(progress).await;
        let versions = stack.versions();
        let stopped = api.stop().await;
        let mut report = measured?;
        stopped?;
        report.database = Some(ground.tables.settings().await?);
        report.rabbitmq = format!("{} on Erlang {}", versions.rabbitmq, versions.erlang);
        Ok(report)
    }

    /// A service with production settings, and with secrets of this run.
    fn service(
        &self,
        name: &'static str,
        database: &Config,
        amqp_url: &str,
    ) -> Result<Service, ServiceError> {
        let secret: String =
            rand::rng().random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
        let (role, password): (_, &SecretString) = match name {
            "blogs-api" => ("blogs_api", self.roles.password("blogs_api")),
            "analytics-worker" => ("analytics_worker", self.roles.password("analytics_worker")),
            _ => ("notification_worker", self.roles.password("notification_worker")),
        };
        let mut settings = vec![
            ("DATABASE_URL", url(database, role, password)),
            ("AMQP_URL", amqp_url_of(amqp_url, role, password)),
            ("COMMONPLACE__LOG__FILTER", "warn".to_owned()),
        ];
        if name == "blogs-api" {
            settings.extend([
                ("COMMONPLACE__ENGAGEMENT__VISITOR_SECRET", secret.clone()),
                ("COMMONPLACE__TOKENS__SIGNING_KEYS", KeyPair::from_seed("bench", &rand::random()).signing),
                ("COMMONPLACE__RATE_LIMITS__ENABLED", "false".to_owned()),
            ]);
        }
        Service::start(&self.executable, name, &settings, &self.directory)
    }
}
