//! Measures recommendations: their quality, their speed, and their cost for other users of the database.
//!
//! Quality is measured on the service's own answers. Each account's newest like is held out, the service learns the rest and
//! is asked for ten blogs. The baseline recommends the most popular blogs. Speed and cost are measured on a hundred thousand
//! blogs with a million likes, by requests at a fixed rate. Their time counts from when they were due, so that a stalled
//! server shows in the latency.

mod cost;
mod interactions;
mod quality;
mod rate;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use database::bootstrap::RoleSettings;
use database::{Statement, statement};
use load::{Broken, LoadError};
use rand::RngExt;
use secrecy::SecretString;
use serde::Serialize;
use stack::Stack;
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;
use web::tokens::{Issuer, KeyPair, Purpose, SigningKeys};

use crate::process::{Service, ServiceError};
use crate::report::DatabaseSettings;
use crate::servers::{Prepared, amqp_url_of, prepare, url};
use crate::tables::Tables;

pub use cost::{Cost, Neighbour};
pub use interactions::{Interaction, read as read_interactions};
pub use quality::{Figures, Quality};
pub use rate::Latency;

const RECOMMEND_PROGRESS: Statement = statement!("recommend_progress.sql");
const RECOMMEND_WANT: Statement = statement!("recommend_want.sql");
const REBUILT_WITHIN: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(50);

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The executable that runs a service by `serve NAME`.
    pub executable: PathBuf,
    /// The folder for the services' logs.
    pub directory: PathBuf,
    /// The roles of the cluster.
    pub roles: RoleSettings,
    /// Likes in the order of time; generated ones if there are none.
    pub interactions: Option<Vec<Interaction>>,
    /// Number of blogs for speed and cost.
    pub blogs: i32,
    /// Number of accounts for speed and cost.
    pub accounts: i32,
    /// Number of likes for speed and cost, which are not measured if it is 0.
    pub likes: i32,
    /// Requests per second of each kind.
    pub per_s: u32,
    /// The length of each measurement.
    pub load: Duration,
}

/// The results.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The quality of the answers.
    pub quality: Option<Quality>,
    /// Their speed, and their cost for others.
    pub cost: Option<Cost>,
    /// The database's durability settings.
    pub database: Option<DatabaseSettings>,
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
    /// A request failed.
    #[error("a request to a service of this run")]
    Http(#[from] Broken),
    /// An answer had an unexpected status.
    #[error("{path} was answered {status}")]
    Answer {
        /// The request.
        path: String,
        /// The status.
        status: u16,
    },
    /// An answer could not be parsed.
    #[error("an answer is invalid")]
    Json(#[from] serde_json::Error),
    /// A connection could not be opened.
    #[error("connecting to a service of this run")]
    Connect(#[from] std::io::Error),
    /// A token could not be made.
    #[error("making a token")]
    Token,
    /// The requests could not be sent.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A task of this run panicked.
    #[error("a task of the measurement failed")]
    Task(#[from] tokio::task::JoinError),
    /// The servers' addresses are invalid.
    #[error("the address of the private database is invalid")]
    Address(#[source] tokio_postgres::Error),
    /// No generation was shown.
    #[error("no rebuild ended within {} s", REBUILT_WITHIN.as_secs())]
    NotRebuilt,
    /// The run was interrupted.
    #[error("stopped before everything was measured")]
    Stopped,
}

impl Plan {
    /// Measures until done or until `stop` is cancelled, which also ends the services. `progress` receives a line for each step
    /// that takes time.
    ///
    /// # Errors
    /// If a measurement fails, or `stop` is cancelled.
    pub async fn run(
        &self,
        stack: &Stack,
        stop: &CancellationToken,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Report, Error> {
        stop.run_until_cancelled(self.measure(stack, progress)).await.unwrap_or(Err(Error::Stopped))
    }

    async fn measure(&self, stack: &Stack, progress: &mut (dyn FnMut(&str) + Send)) -> Result<Report, Error> {
        let administrator: Config = stack.postgres_url().parse().map_err(Error::Address)?;
        database::bootstrap::run(&administrator, &self.roles).await?;
        let mut report = Report::default();
        let ground = self.ground(stack, &administrator, "bench_recommendation_quality").await?;
        report.quality = Some(ground.quality(progress).await?);
        report.database = Some(ground.tables.settings().await?);
        if self.likes > 0 {
            let ground = self.ground(stack, &administrator, "bench_recommendation_cost").await?;
            report.cost = Some(ground.cost(progress).await?);
        }
        Ok(report)
    }

    async fn ground(&self, stack: &Stack, administrator: &Config, name: &str) -> Result<Ground<'_>, Error> {
        let Prepared { database, amqp_url, tables } =
            prepare(stack, administrator, &self.roles, name).await?;
        let secret: String =
            rand::rng().random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Ground { plan: self, database, amqp_url, tables, secret, seed: rand::random() })
    }
}

/// The environment of the measurements on one database.
struct Ground<'a> {
    plan: &'a Plan,
    database: Config,
    amqp_url: String,
    tables: Tables,
    /// The secret with which visitors are hashed.
    secret: String,
    /// The seed of the key that signs tokens.
    seed: [u8; 32],
}

impl Ground<'_> {
    /// A service with production settings and these additional ones.
    fn service(&self, name: &'static str, more: &[(&'static str, String)]) -> Result<Service, ServiceError> {
        let roles = &self.plan.roles;
        let (role, password): (_, &SecretString) = match name {
            "blogs-api" => ("blogs_api", roles.password("blogs_api")),
            "analytics-worker" => ("analytics_worker", roles.password("analytics_worker")),
            _ => ("recommendation_api", roles.password("recommendation_api")),
        };
        let mut settings = vec![
            ("DATABASE_URL", url(&self.database, role, password)),
            ("AMQP_URL", amqp_url_of(&self.amqp_url, role, password)),
            ("COMMONPLACE__LOG__FILTER", "warn".to_owned()),
        ];
        if name != "analytics-worker" {
            let KeyPair { signing, verifying } = self.keys();
            settings.push(match name {
                "blogs-api" => ("COMMONPLACE__TOKENS__SIGNING_KEYS", signing),
                _ => ("COMMONPLACE__TOKENS__VERIFYING_KEYS", verifying),
            });
            settings.push(("COMMONPLACE__RATE_LIMITS__ENABLED", "false".to_owned()));
        }
        if name == "blogs-api" {
            settings.push(("COMMONPLACE__ENGAGEMENT__VISITOR_SECRET", self.secret.clone()));
        }
        settings.extend(more.iter().cloned());
        Service::start(&self.plan.executable, name, &settings, &self.plan.directory)
    }

    fn keys(&self) -> KeyPair {
        KeyPair::from_seed("bench", &self.seed)
    }

    /// Issues tokens like the Blogs API.
    fn issuer(&self) -> Result<Issuer, Error> {
        let keys = SigningKeys::new(self.keys().signing);
        Issuer::new(Purpose::Session, &keys, "commonplace", 86_400).map_err(|_| Error::Token)
    }

    async fn generation(&self) -> Result<i32, Error> {
        Ok(self.tables.query_one(RECOMMEND_PROGRESS, &[]).await?.get("generation"))
    }

    /// Waits until a newer generation than this one is shown, and returns how long that took.
    async fn shown_after(&self, before: i32) -> Result<Duration, Error> {
        let began = Instant::now();
        while self.generation().await? <= before {
            if began.elapsed() > REBUILT_WITHIN {
                return Err(Error::NotRebuilt);
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(began.elapsed())
    }

    /// Requests a rebuild, and returns the generation that is shown before it.
    async fn want(&self) -> Result<i32, Error> {
        let before = self.generation().await?;
        self.tables.session.run(RECOMMEND_WANT.file, RECOMMEND_WANT.sql).await?;
        Ok(before)
    }

    async fn analyze(&self) -> Result<(), Error> {
        self.tables.analyze().await?;
        Ok(self.tables.checkpoint().await?)
    }
}

/// A request with a token, or without one.
fn get(path: &str, token: Option<&str>) -> Vec<u8> {
    let signed = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{signed}\r\n").into_bytes()
}
