//! What a test stands on: its own database, cloned from a migrated template, and its own vhost, both on servers
//! that the whole run shares.
//!
//! The servers start with the first test that asks and end with the process (a guard sees to it, whatever ends the
//! process). Roles belong to the cluster, so they are made once; their connection limits are lifted, because many
//! tests share them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use broker::Administration;
use database::bootstrap::{LoginSettings, RoleSettings, login_roles};
use database::{Pool, Session};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use stack::{Options, Postgres, Stack};
use tokio_postgres::Config;
use tokio_postgres::types::ToSql;

const TEMPLATE: &str = "template_it";
const PASSWORD: &str = "for tests on this machine only";
/// How long a test waits for what it expects. Generous: two cores run all tests at once.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

static STACK: OnceLock<Mutex<Stack>> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// One test's database and vhost.
pub(crate) struct World {
    name: String,
    administrator: Config,
    amqp_url: OnceLock<String>,
    session: Session,
}

impl World {
    /// A database with the schema of this build and nothing in it. The vhost is made when it is asked for.
    pub(crate) async fn new() -> Self {
        Self::clone_of(TEMPLATE).await
    }

    /// A database without a schema, on the server of all tests.
    pub(crate) async fn empty() -> Self {
        Self::clone_of("template0").await
    }

    /// A world on a PostgreSQL server of its own, for what would disturb other tests on theirs. The server lives as long as
    /// the second value; `name` is that of its directory.
    pub(crate) async fn on_its_own_server(name: &str) -> (Self, Postgres) {
        let mut options = Options::new(format!("{}/it_{name}", env!("CARGO_TARGET_TMPDIR")));
        (options.durable, options.fresh, options.max_connections) = (false, true, 400);
        let start = move || Postgres::start(&options, &mut |_step| ()).expect("a private server starts");
        let postgres = tokio::task::spawn_blocking(start).await.unwrap();
        let administrator: Config = postgres.url().parse().unwrap();
        prepare_template(administrator.clone()).await;
        (Self::create(administrator, format!("it_{name}"), TEMPLATE).await, postgres)
    }

    /// Two worlds that begin as this one is now.
    pub(crate) async fn twice(self) -> (Self, Self) {
        let Self { name, mut administrator, session, .. } = self;
        drop(session);
        administrator.dbname("postgres");
        let outer = Session::open(&administrator).await.unwrap();
        // A template may have no sessions; those that have just ended are still seen for a moment.
        let gone = wait_until(async || {
            let sql = "select count(*) from pg_stat_activity where datname = $1";
            outer.client.query_one(sql, &[&name]).await.unwrap().get::<_, i64>(0) == 0
        });
        assert!(gone.await, "sessions are left");
        (Self::clone_of(&name).await, Self::clone_of(&name).await)
    }

    async fn clone_of(template: &str) -> Self {
        let postgres_url =
            tokio::task::spawn_blocking(|| servers().lock().unwrap().postgres_url()).await.unwrap();
        static PREPARED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
        let administrator: Config = postgres_url.parse().unwrap();
        PREPARED.get_or_init(|| prepare_template(administrator.clone())).await;
        let name = format!("it_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self::create(administrator, name, template).await
    }

    async fn create(mut administrator: Config, name: String, template: &str) -> Self {
        let outer = Session::open(&administrator).await.unwrap();
        let create = format!("create database {name} template {template}");
        outer.client.batch_execute(&create).await.unwrap();
        // A clone does not inherit what the database itself grants.
        let revoke = format!("revoke temporary, create on database {name} from public");
        outer.client.batch_execute(&revoke).await.unwrap();
        administrator.dbname(&name);
        let session = Session::open(&administrator).await.unwrap();
        Self { name, administrator, amqp_url: OnceLock::new(), session }
    }

    /// The database's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The database, as its administrator.
    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        &self.session.client
    }

    /// How the administrator connects to it.
    pub(crate) fn administrator(&self) -> Config {
        self.administrator.clone()
    }

    /// Where Postgres listens.
    pub(crate) fn port(&self) -> u16 {
        self.administrator.get_ports()[0]
    }

    /// Its address for one of the roles.
    pub(crate) fn url(&self, role: &str) -> String {
        let port = self.port();
        // Two cores run all tests at once: what takes longer than a reader would wait is not broken.
        let patient = match role {
            "blogs_api" => "?options=-c%20statement_timeout%3D60s%20-c%20lock_timeout%3D60s",
            _ => "",
        };
        format!("postgres://{role}:{}@127.0.0.1:{port}/{}{patient}", PASSWORD.replace(' ', "%20"), self.name)
    }

    /// Another session of the administrator, for what must not be in the transaction of the first.
    pub(crate) async fn another(&self) -> Session {
        Session::open(&self.administrator).await.unwrap()
    }

    /// A session under a role, as a service would have it.
    pub(crate) async fn session(&self, role: &str) -> Session {
        Session::open(&self.url(role).parse().unwrap()).await.unwrap()
    }

    /// A pool under a role.
    pub(crate) fn pool(&self, role: &str) -> Pool {
        Pool::new(&self.database_settings(role), "it").unwrap()
    }

    /// The `[database]` section for a role.
    pub(crate) fn database_settings(&self, role: &str) -> database::Settings {
        database::Settings {
            url: self.url(role).into(),
            pool_max: 8,
            instances_max: 1,
            connect_timeout_ms: 30_000,
            wait_timeout_ms: 30_000,
        }
    }

    /// The vhost's address as the administrator, with the topology and the services' users in it. It stays until the run
    /// ends: RabbitMQ 3.10, told to drop a quorum queue that is just being
    /// declared, can lose the supervisor of all dead-lettering, and with it every such queue of the node.
    pub(crate) async fn amqp_url(&self) -> String {
        if let Some(url) = self.amqp_url.get() {
            return url.clone();
        }
        let name = self.name.clone();
        let made =
            tokio::task::spawn_blocking(move || servers().lock().unwrap().create_vhost(&name).unwrap());
        let made = made.await.unwrap();
        self.administer().await;
        self.amqp_url.get_or_init(|| made).clone()
    }

    /// Takes the administrator's step on the vhost.
    pub(crate) async fn administer(&self) {
        let (management_url, vhost) = self.management().await;
        let administered = tokio::task::spawn_blocking(move || {
            // The lock is not held: tests are administered side by side.
            broker::administer(&administration(management_url, vhost)).unwrap()
        });
        assert_eq!(administered.await.unwrap().differences, Vec::<String>::new());
    }

    /// The vhost's address for the user of a service, as it would have it.
    pub(crate) async fn amqp_url_of(&self, user: &str) -> String {
        broker::url_of(&self.amqp_url().await, user, &PASSWORD.into()).unwrap()
    }

    /// RabbitMQ's management address with its login, and the name of the vhost.
    pub(crate) async fn management(&self) -> (String, String) {
        let url = tokio::task::spawn_blocking(|| servers().lock().unwrap().management_url()).await.unwrap();
        (url, self.name.clone())
    }

    /// The only value of a query, asked as the administrator.
    pub(crate) async fn value<T>(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> T
    where
        T: for<'row> tokio_postgres::types::FromSql<'row>,
    {
        self.client()
            .query_one(sql, parameters)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
            .get(0)
    }

    /// Runs statements as the administrator.
    pub(crate) async fn run(&self, sql: &str) {
        self.client().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Makes an author with as many published blogs, and returns the blogs' ids.
    pub(crate) async fn blogs(&self, count: i64) -> Vec<i64> {
        let rows =
            self.client().query(include_str!("sql/make_blogs.sql"), &[&self.name, &count]).await.unwrap();
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// Makes so many accounts that may act, and returns their ids. A second call returns the same ones.
    pub(crate) async fn accounts(&self, count: i64) -> Vec<i64> {
        let rows =
            self.client().query(include_str!("sql/make_accounts.sql"), &[&self.name, &count]).await.unwrap();
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// Makes so many accounts that follow another, and returns their ids in order.
    pub(crate) async fn followers(&self, of: i64, count: i64) -> Vec<i64> {
        let rows = self.client().query(include_str!("sql/make_followers.sql"), &[&of, &count]).await.unwrap();
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// Waits until a query's value is what it should be.
    pub(crate) async fn until<T>(&self, sql: &str, expected: T)
    where
        T: for<'row> tokio_postgres::types::FromSql<'row> + PartialEq + std::fmt::Debug,
    {
        let mut last = None;
        let reached = wait_until(async || {
            let value: T = self.value(sql, &[]).await;
            let reached = value == expected;
            last = Some(value);
            reached
        });
        assert!(reached.await, "{sql} should become {expected:?} and stays {last:?}");
    }

    /// Lets nobody but the administrator into the database, and ends the sessions of everybody else.
    pub(crate) async fn close_database(&self) {
        self.run(&format!("alter database {} connection limit 0", self.name)).await;
        let others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        // Also those who had passed the limit already when it was set.
        let gone = wait_until(async || {
            self.run(&format!("select pg_terminate_backend(pid) {others}")).await;
            self.value::<i64>(&format!("select count(*) {others}"), &[]).await == 0
        });
        assert!(gone.await, "sessions are left");
    }

    /// Takes [`World::close_database`] back.
    pub(crate) async fn open_database(&self) {
        self.run(&format!("alter database {} connection limit -1", self.name)).await;
    }

    /// Deadlocks that Postgres had to break in this database.
    pub(crate) async fn deadlocks(&self) -> i64 {
        self.value("select deadlocks from pg_stat_database where datname = current_database()", &[]).await
    }

    /// Asserts that everything the tables say of engagement agrees: the equation of the ledger, the series and
    /// the totals, the natural keys and the totals.
    pub(crate) async fn assert_consistent(&self) {
        let rows = self.client().query(include_str!("../sql/disagreements.sql"), &[]).await.unwrap();
        let disagreements: Vec<(String, i64, i64)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        assert!(disagreements.is_empty(), "tables disagree: {disagreements:?}");
        assert_eq!(self.deadlocks().await, 0, "deadlocks");
    }
}

/// Asks again until it is so. False when the deadline passes.
pub(crate) async fn wait_until(mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let asked = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if is_so().await {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.is_ok()
}

/// Waits for midnight (UTC) to pass where it is near: for tests whose events must fall on one day, as that of a
/// visitor's number or of the longest window.
pub(crate) async fn away_from_midnight() {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let midnight = now.date().tomorrow().unwrap().to_zoned(TimeZone::UTC).unwrap();
    let left = midnight.timestamp().duration_since(now.timestamp()).unsigned_abs();
    if left < 2 * DEADLINE {
        tokio::time::sleep_until(tokio::time::Instant::now() + left).await;
    }
}

/// What Postgres has logged in this run.
pub(crate) fn server_log() -> String {
    let log = servers().lock().unwrap().postgres().log();
    String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned()
}

fn servers() -> &'static Mutex<Stack> {
    STACK.get_or_init(|| {
        let mut options = Options::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/it"));
        (options.durable, options.fresh, options.max_connections) = (false, true, 400);
        // Another RabbitMQ than the one that is installed.
        options.rabbitmq_image =
            std::env::var_os("COMMONPLACE_TEST_RABBITMQ_IMAGE").and_then(|image| image.into_string().ok());
        Mutex::new(Stack::start(&options, &mut |step| eprintln!("{step}")).expect("private servers start"))
    })
}

/// The settings of the administrator's step on RabbitMQ. Many tests share the users, so their connections are not counted.
fn administration(management_url: String, vhost: String) -> Administration {
    Administration {
        management_url: management_url.into(),
        vhost,
        passwords: broker::users().map(|user| (user.to_owned(), PASSWORD.into())).collect(),
        connections_max: 10_000,
    }
}

async fn prepare_template(mut administrator: Config) {
    let outer = Session::open(&administrator).await.unwrap();
    outer.client.batch_execute(&format!("create database {TEMPLATE}")).await.unwrap();
    administrator.dbname(TEMPLATE);
    database::bootstrap::run(&administrator, &roles()).await.unwrap();
    database::migrations::run(&administrator).await.unwrap();
    lift_connection_limits(&administrator).await;
}

/// Many tests share the roles at once.
pub(crate) async fn lift_connection_limits(administrator: &Config) {
    let session = Session::open(administrator).await.unwrap();
    // A test on the console's share needs it.
    for role in login_roles().filter(|role| *role != "console") {
        session.client.batch_execute(&format!("alter role {role} connection limit -1")).await.unwrap();
    }
}

/// What the roles of the tests' cluster are to be.
pub(crate) fn roles() -> RoleSettings {
    RoleSettings {
        logins: RoleSettings::alike(&LoginSettings { password: PASSWORD.into(), connections: 60 }),
        reserve_connections: 10,
        direct_path: true,
        owns_server: true,
    }
}
