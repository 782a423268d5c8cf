//! Compares a digest from the shared tables with the same digest from the owners' HTTP APIs.
//!
//! The Digest API reads the tables of three owners with one statement. The middleman may only use the Blogs API. Both answer
//! from the same database, over one keep-alive connection each, in turns; every pair of answers must be equal.

mod middleman;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use database::bootstrap::RoleSettings;
use database::{Statement, statement};
use jiff::Timestamp;
use load::{Broken, Connection};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use stack::Stack;
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;
use web::tokens::KeyPair;

use crate::author::{Author, get};
use crate::process::{Service, ServiceError};
use crate::report::Median;
use crate::servers::{Prepared, amqp_url_of, prepare, url};

const SEED_DIGEST: Statement = statement!("seed_digest.sql");

const DATABASE: &str = "bench_digest";
/// Blogs of each author in the last week.
const BLOGS_EACH: i32 = 3;
/// Longest digest: 100 blogs.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The executable that runs a service by `serve NAME`.
    pub executable: PathBuf,
    /// The folder for the services' logs.
    pub directory: PathBuf,
    /// The roles of the cluster.
    pub roles: RoleSettings,
    /// Numbers of followed authors, each a reader of its own.
    pub authors: Vec<i32>,
    /// Digests of each reader, in each way.
    pub rounds: u32,
}

/// The comparison.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The readers.
    pub readers: Vec<Reader>,
    /// Lines of the middleman.
    pub middleman_lines: usize,
}

/// A reader's digests in both ways.
#[derive(Debug, Serialize)]
pub struct Reader {
    /// Followed authors.
    pub authors: i32,
    /// Blogs in the digest.
    pub blogs: usize,
    /// From the shared tables.
    pub shared: Cost,
    /// Through the owners' APIs.
    pub middleman: Cost,
    /// Digests that differed.
    pub differences: u32,
}

/// The cost of a digest.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// Requests for one digest.
    pub round_trips: u32,
    /// Time for one digest, in milliseconds.
    pub ms: Median,
    /// Bytes over HTTP for one digest.
    pub bytes: u64,
}

/// A blog of a digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Item {
    id: i64,
    title: String,
    author: String,
    published_at: Timestamp,
    views: i64,
    likes: i64,
    shares: i64,
}

#[derive(Debug, Deserialize)]
struct Digest {
    from: Timestamp,
    items: Vec<Item>,
}

/// Why a run ended without a report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused something.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The measurement's database or vhost could not be made.
    #[error(transparent)]
    Prepare(#[from] crate::servers::PrepareError),
    /// A service did not start, or did not end.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A request failed.
    #[error("a request to a service of this run")]
    Http(#[from] Broken),
    /// The servers' addresses are invalid.
    #[error("the address of the private database is invalid")]
    Address(#[source] tokio_postgres::Error),
    /// The run was interrupted.
    #[error("stopped before everything was measured")]
    Stopped,
}

impl Plan {
    /// Measures. `progress` receives a line for each reader.
    ///
    /// # Errors
    /// If a measurement fails, or `stop` is cancelled. Digests that differ are not an error here; the report counts them.
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

        let keys = KeyPair::from_seed("bench", &rand::random());
        let mut api = self.blogs_api(&database, &amqp_url, &keys)?;
        let mut digests = self.digest_api(&database, &keys)?;
        api.ready().await?;
        digests.ready().await?;
        let mut report = Report { middleman_lines: middleman::lines(), ..Report::default() };
        for (n, &authors) in self.authors.iter().enumerate() {
            progress(&format!("a reader who follows {authors} authors"));
            let reader = Author::sign_up(api.address(), &format!("reader-{n}")).await?;
            tables.execute(SEED_DIGEST, &[&reader.id, &authors, &BLOGS_EACH]).await?;
            tables.analyze().await?;
            report.readers.push(self.reader(&reader, authors, digests.address(), stop).await?);
        }
        digests.stop().await?;
        api.stop().await?;
        Ok(report)
    }

    /// Measures both ways in turns.
    async fn reader(
        &self,
        reader: &Author,
        authors: i32,
        digests: SocketAddr,
        stop: &CancellationToken,
    ) -> Result<Reader, Error> {
        let mut shared = Connection::open_for(digests, ANSWER_BYTES_MAX).await.map_err(Broken::from)?;
        let mut middleman =
            Connection::open_for(reader.api(), ANSWER_BYTES_MAX).await.map_err(Broken::from)?;
        let (mut shared_ms, mut middleman_ms) = (Vec::new(), Vec::new());
        let (mut round_trips, mut blogs, mut differences) = (0, 0, 0);
        for round in 0..=self.rounds {
            if stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let began = Instant::now();
            let digest: Digest = get(&mut shared, digests, "/v1/digest", Some(reader.token())).await?;
            let took = began.elapsed();
            let began = Instant::now();
            let (items, requests) = middleman::digest(&mut middleman, reader, digest.from).await?;
            // The first round opens the services' connections and is not counted.
            if round > 0 {
                shared_ms.push(milliseconds(took));
                middleman_ms.push(milliseconds(began.elapsed()));
            }
            (round_trips, blogs) = (requests, digest.items.len());
            differences += u32::from(items != digest.items);
        }
        let cost = |round_trips, ms: Vec<f64>, bytes: u64| Cost {
            round_trips,
            ms: Median::of(ms).unwrap_or(Median { median: f64::NAN, min: f64::NAN, max: f64::NAN }),
            bytes: bytes / u64::from(self.rounds + 1),
        };
        Ok(Reader {
            authors,
            blogs,
            shared: cost(1, shared_ms, shared.bytes()),
            middleman: cost(round_trips, middleman_ms, middleman.bytes()),
            differences,
        })
    }

    fn blogs_api(&self, database: &Config, amqp_url: &str, keys: &KeyPair) -> Result<Service, ServiceError> {
        let password = self.roles.password("blogs_api");
        let secret = rand::rng().random::<u128>();
        let settings = [
            ("DATABASE_URL", url(database, "blogs_api", password)),
            ("AMQP_URL", amqp_url_of(amqp_url, "blogs_api", password)),
            ("COMMONPLACE__LOG__FILTER", "warn".to_owned()),
            ("COMMONPLACE__ENGAGEMENT__VISITOR_SECRET", format!("{secret:032x}{secret:032x}")),
            ("COMMONPLACE__TOKENS__SIGNING_KEYS", keys.signing.clone()),
            ("COMMONPLACE__RATE_LIMITS__ENABLED", "false".to_owned()),
        ];
        Service::start(&self.executable, "blogs-api", &settings, &self.directory)
    }

    fn digest_api(&self, database: &Config, keys: &KeyPair) -> Result<Service, ServiceError> {
        let settings = [
            ("DATABASE_URL", url(database, "digest_api", self.roles.password("digest_api"))),
            ("COMMONPLACE__LOG__FILTER", "warn".to_owned()),
            ("COMMONPLACE__TOKENS__VERIFYING_KEYS", keys.verifying.clone()),
            ("COMMONPLACE__RATE_LIMITS__ENABLED", "false".to_owned()),
        ];
        Service::start(&self.executable, "digest-api", &settings, &self.directory)
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
