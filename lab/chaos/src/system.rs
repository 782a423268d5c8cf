//! The system under test: private servers, two Blogs APIs and two workers as separate processes, and a proxy on every
//! connection between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, anyhow};
use bench::{Tables, free_address};
use database::bootstrap::RoleSettings;
use database::{Session, Statement, statement};
use proxy::{Mode, Proxy};
use secrecy::{ExposeSecret, SecretString};
use stack::{Postgres, RabbitMq, Stack};
use tokio_postgres::{Config, Row};
use web::tokens::{Issuer, KeyPair, Purpose, SigningKeys};

use crate::account::Totals;
use crate::plan::Target;
use crate::request::Ground;
use crate::slot::Slot;

const SEED_ACCOUNTS: Statement = statement!("seed_accounts.sql");
const COUNTERS: Statement = statement!("counters.sql");
const SETTLED: Statement = statement!("settled.sql");
const LEFTOVERS: Statement = statement!("leftovers.sql");
const ATTEMPTS: Statement = statement!("attempts.sql");
const MAKE_BALLAST: Statement = statement!("make_ballast.sql");
const BUSY_BACKEND: Statement = statement!("busy_backend.sql");
const WITHOUT_LEDGER: Statement = statement!("without_ledger.sql");
const WITHOUT_SPILL: Statement = statement!("without_spill.sql");
/// The list of what the tables must agree on, shared with the integration tests.
const DISAGREEMENTS: Statement =
    Statement { file: "disagreements.sql", sql: include_str!("../../../tests/sql/disagreements.sql") };

const NAME: &str = "chaos";
/// Processes of each service.
pub(crate) const EACH: usize = 2;
const SHARED_BLOGS: usize = 20;
const ACCOUNTS: i32 = 50;
/// Longer than any run.
const TOKEN_LIFETIME_S: u32 = 7 * 24 * 60 * 60;

/// A safeguard that is removed to show that the run detects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// The ledger forgets every envelope.
    Ledger,
    /// The outbox refuses every envelope.
    Spill,
}

/// The configuration of the system.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) executable: PathBuf,
    pub(crate) directory: &'a Path,
    pub(crate) roles: RoleSettings,
    pub(crate) without: Option<Control>,
    /// Number of blogs for one event each.
    pub(crate) alone: i32,
}

/// The system.
pub(crate) struct System {
    pub(crate) postgres: Arc<Mutex<Postgres>>,
    pub(crate) rabbitmq: Arc<Mutex<RabbitMq>>,
    pub(crate) database: Config,
    pub(crate) broker: broker::Settings,
    pub(crate) amqp: SocketAddr,
    apis: Vec<Arc<tokio::sync::Mutex<Slot>>>,
    workers: Vec<Arc<tokio::sync::Mutex<Slot>>>,
    pub(crate) api_addresses: Vec<SocketAddr>,
    /// The proxies between the generator and each API.
    pub(crate) http: Vec<Proxy>,
    pub(crate) ground: Arc<Ground>,
    pub(crate) versions: stack::Versions,
    pub(crate) postgres_log: PathBuf,
}

impl System {
    /// Makes database, vhost and the services' slots, without starting the services.
    pub(crate) async fn set_up(stack: Stack, setup: Setup<'_>) -> anyhow::Result<Self> {
        let (administrator, versions) = (stack.postgres_url().parse::<Config>()?, stack.versions());
        database::bootstrap::run(&administrator, &setup.roles).await?;
        let everywhere = Tables::open(&administrator).await?;
        everywhere.create_database(NAME).await?;
        let (amqp_url, stack) =
            tokio::task::block_in_place(|| (bench::make_vhost(&stack, NAME, &setup.roles), stack));
        let amqp_url = amqp_url?;
        let database = administrator.clone().dbname(NAME).clone();
        database::migrations::run(&database).await?;

        let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let signing_keys = KeyPair::from_seed("chaos", &rand::random()).signing;
        let ground = Arc::new(ground(&database, setup.alone, &signing_keys).await?);
        let session = Session::open(&database).await?;
        session.run(MAKE_BALLAST.file, MAKE_BALLAST.sql).await?;
        match setup.without {
            Some(Control::Ledger) => session.run(WITHOUT_LEDGER.file, WITHOUT_LEDGER.sql).await?,
            Some(Control::Spill) => session.run(WITHOUT_SPILL.file, WITHOUT_SPILL.sql).await?,
            None => {}
        }
        let broker = broker_settings(&amqp_url)?;
        let amqp = SocketAddr::from(([127, 0, 0, 1], stack.rabbitmq().port()));
        let postgres_log = stack.postgres().log();
        let (postgres, rabbitmq) = stack.into_parts();
        let mut system = Self {
            postgres: Arc::new(Mutex::new(postgres)),
            rabbitmq: Arc::new(Mutex::new(rabbitmq)),
            database,
            broker,
            amqp,
            apis: Vec::new(),
            workers: Vec::new(),
            api_addresses: Vec::new(),
            http: Vec::new(),
            ground,
            versions,
            postgres_log,
        };
        for number in 0..EACH {
            let for_api = [
                ("COMMONPLACE__ENGAGEMENT__VISITOR_SECRET", secret.clone()),
                ("COMMONPLACE__TOKENS__SIGNING_KEYS", signing_keys.clone()),
                ("COMMONPLACE__RATE_LIMITS__ENABLED", "false".to_owned()),
            ];
            let password = setup.roles.password("blogs_api");
            let api = system.slot(&setup, "blogs-api", number, ("blogs_api", password), &amqp_url, &for_api);
            let api = api.await?;
            system.api_addresses.push(api.address);
            system.http.push(Proxy::start(api.address, Mode::Open).await?);
            system.apis.push(Arc::new(tokio::sync::Mutex::new(api)));
            let password = setup.roles.password("analytics_worker");
            let role = ("analytics_worker", password);
            let worker = system.slot(&setup, "analytics-worker", number, role, &amqp_url, &[]).await?;
            system.workers.push(Arc::new(tokio::sync::Mutex::new(worker)));
        }
        Ok(system)
    }

    async fn slot(
        &self,
        setup: &Setup<'_>,
        service_name: &'static str,
        number: usize,
        (role, password): (&str, &SecretString),
        amqp_url: &str,
        more: &[(&'static str, String)],
    ) -> anyhow::Result<Slot> {
        let postgres = SocketAddr::from(([127, 0, 0, 1], lock(&self.postgres).port()));
        let (to_rabbitmq, to_postgres) =
            (Proxy::start(self.amqp, Mode::Open).await?, Proxy::start(postgres, Mode::Open).await?);
        let database_url =
            format!("postgres://{role}:{}@{}/{NAME}", password.expose_secret(), to_postgres.address());
        let amqp_url = bench::amqp_url_of(amqp_url, role, password);
        let amqp_url = amqp_url.replace(&self.amqp.to_string(), &to_rabbitmq.address().to_string());
        let name = format!("{service_name}-{number}");
        let directory = setup.directory.join(&name);
        std::fs::create_dir_all(&directory)?;
        let mut settings = vec![
            ("DATABASE_URL", database_url),
            ("AMQP_URL", amqp_url),
            ("COMMONPLACE__LOG__FILTER", "warn,lapin=off".to_owned()),
        ];
        settings.extend_from_slice(more);
        let executable = setup.executable.clone();
        let (address, service) = (free_address()?, None);
        Ok(Slot {
            name,
            service_name,
            executable,
            address,
            settings,
            directory,
            to_rabbitmq,
            to_postgres,
            service,
        })
    }

    /// The slot of a service.
    pub(crate) fn slot_of(&self, target: Target) -> Option<&Arc<tokio::sync::Mutex<Slot>>> {
        match target {
            Target::Api(number) => self.apis.get(number),
            Target::Worker(number) => self.workers.get(number),
            Target::RabbitMq | Target::Postgres => None,
        }
    }

    /// Every slot.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<tokio::sync::Mutex<Slot>>> {
        self.apis.iter().chain(&self.workers)
    }

    /// Runs an operation on a server in a thread that may block.
    pub(crate) async fn with<S: Send + 'static, T: Send + 'static>(
        server: &Arc<Mutex<S>>,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let server = Arc::clone(server);
        Ok(tokio::task::spawn_blocking(move || work(&mut lock(&server))).await?)
    }

    async fn rows(&self, statement: Statement) -> anyhow::Result<Vec<Row>> {
        let session = Session::open(&self.database).await?;
        session.client.query(statement.sql, &[]).await.with_context(|| format!("running {}", statement.file))
    }

    async fn row(&self, statement: Statement) -> anyhow::Result<Row> {
        self.rows(statement).await?.pop().context("a statement returned no row")
    }

    /// The number of events accounted for.
    pub(crate) async fn settled(&self) -> anyhow::Result<i64> {
        Ok(self.row(SETTLED).await?.get("n"))
    }

    /// Envelopes that a worker applies alone, or was applying when it crashed.
    pub(crate) async fn attempts(&self) -> anyhow::Result<i64> {
        Ok(self.row(ATTEMPTS).await?.get("n"))
    }

    /// The process id of a service's backend.
    pub(crate) async fn busy_backend(&self) -> anyhow::Result<Option<i32>> {
        Ok(self.rows(BUSY_BACKEND).await?.first().map(|row| row.get("pid")))
    }

    /// The totals by blog.
    pub(crate) async fn counters(&self) -> anyhow::Result<BTreeMap<i64, Totals>> {
        let rows = self.rows(COUNTERS).await?;
        let totals = |row: &Row| [row.get("total_views"), row.get("total_likes"), row.get("total_shares")];
        Ok(rows.iter().map(|row| (row.get("blog_id"), totals(row))).collect())
    }

    /// The disagreements of the tables.
    pub(crate) async fn disagreements(&self) -> anyhow::Result<Vec<String>> {
        let rows = self.rows(DISAGREEMENTS).await?;
        let sentence = |row: &Row| {
            let (what, left, right): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
            format!("{what}: {left} and {right}")
        };
        Ok(rows.iter().map(sentence).collect())
    }

    /// Counts that should be 0 (outbox, parked, discarded), the events in the ledger, and the deadlocks.
    pub(crate) async fn leftovers(&self) -> anyhow::Result<Leftovers> {
        let row = self.row(LEFTOVERS).await?;
        Ok(Leftovers {
            outbox: row.get("outbox"),
            parked: row.get("parked"),
            discarded: row.get("discarded"),
            ledger: row.get("ledger"),
            deadlocks: row.get("deadlocks"),
        })
    }

    /// Deadlocks in the server's log, because a crash resets the statistics.
    pub(crate) fn deadlocks_logged(&self) -> i64 {
        let log = std::fs::read(&self.postgres_log).unwrap_or_default();
        let found = String::from_utf8_lossy(&log).matches("deadlock detected").count();
        i64::try_from(found).unwrap_or(i64::MAX)
    }

    /// Envelopes in both queues.
    pub(crate) async fn queued(&self) -> anyhow::Result<u32> {
        let waiting = broker::queue_depth(&self.broker, broker::Queue::Engagement).await?;
        Ok(waiting + broker::queue_depth(&self.broker, broker::Queue::EngagementDead).await?)
    }
}

/// The state at the end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Leftovers {
    pub(crate) outbox: i64,
    pub(crate) parked: i64,
    pub(crate) discarded: i64,
    pub(crate) ledger: i64,
    pub(crate) deadlocks: i64,
}

pub(crate) fn lock<S>(server: &Mutex<S>) -> MutexGuard<'_, S> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ground(database: &Config, alone: i32, signing_keys: &str) -> anyhow::Result<Ground> {
    let shared = i32::try_from(SHARED_BLOGS)?;
    let mut blogs = Tables::open(database).await?.seed_blogs(alone + shared).await?;
    let own = blogs.split_off(SHARED_BLOGS);
    let session = Session::open(database).await?;
    let accounts = session.client.query(SEED_ACCOUNTS.sql, &[&ACCOUNTS]).await?;
    let keys = SigningKeys::new(signing_keys);
    let issuer = Issuer::new(Purpose::Session, &keys, "commonplace", TOKEN_LIFETIME_S)
        .map_err(|error| anyhow!(error))?;
    let token = |row: &Row| {
        let issued = issuer.issue(row.get("id"), 0);
        issued.map(|issued| issued.token).map_err(|problem| anyhow!(problem.detail().to_owned()))
    };
    let tokens = accounts.iter().map(token).collect::<Result<_, _>>()?;
    Ok(Ground { shared: blogs, alone: own, next_alone: 0.into(), tokens })
}

/// Broker settings for reading the depth of a queue.
fn broker_settings(amqp_url: &str) -> anyhow::Result<broker::Settings> {
    #[derive(serde::Deserialize)]
    struct Settings {
        broker: broker::Settings,
    }
    let loader = runtime::settings::Loader::new("").environment([]).set("broker.url", amqp_url);
    Ok(loader.load::<Settings>()?.broker)
}
