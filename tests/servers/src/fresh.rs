//! One test's database: cloned from the migrated template, on the server that all tests of the process share.

use std::sync::atomic::{AtomicU32, Ordering};

use database::{Pool, Session};
use stack::Postgres;
use tokio_postgres::Config;
use tokio_postgres::types::ToSql;

use crate::names::name;
use crate::servers::{are_kept, own_postgres, postgres};
use crate::template::{self, PASSWORD};
use crate::time::wait_until;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One test's database.
pub struct Database {
    name: String,
    /// The prefix of account names in it.
    label: String,
    administrator: Config,
    session: Session,
}

impl Database {
    /// A database with the schema of this build and nothing in it.
    pub async fn new() -> Self {
        let administrator = administrator().await;
        let template = template::shared(&administrator).await;
        Self::clone_of(administrator, template).await
    }

    /// A database without a schema, on the server of all tests.
    pub async fn empty() -> Self {
        let administrator = administrator().await;
        // Tests of empty databases use the roles, too.
        template::shared(&administrator).await;
        Self::clone_of(administrator, "template0").await
    }

    /// A database on a PostgreSQL server of its own, for a test that would disturb others. Dropping the second value stops the
    /// server; `name` is part of the name of its directory.
    pub async fn on_its_own_server(name: &str) -> (Self, Postgres) {
        let suffix = format!("_{name}");
        let postgres = tokio::task::spawn_blocking(move || own_postgres(&suffix)).await.unwrap();
        let administrator: Config = postgres.url().parse().unwrap();
        template::prepare(administrator.clone(), "template").await;
        let name = format!("it_{name}");
        (Self::create(administrator, name.clone(), name, "template").await, postgres)
    }

    /// Two copies of this database.
    pub async fn twice(self) -> (Self, Self) {
        let Self { name, mut administrator, session, .. } = self;
        drop(session);
        administrator.dbname("postgres");
        let outer = Session::open(&administrator).await.unwrap();
        // A template may have no sessions, and sessions that have just ended are still visible for a moment.
        let gone = wait_until(async || {
            let sql = "select count(*) from pg_stat_activity where datname = $1";
            outer.client.query_one(sql, &[&name]).await.unwrap().get::<_, i64>(0) == 0
        });
        assert!(gone.await, "sessions are left");
        let one = Self::clone_of(administrator.clone(), &name).await;
        (one, Self::clone_of(administrator, &name).await)
    }

    async fn clone_of(administrator: Config, template: &str) -> Self {
        let number = Some(NEXT.fetch_add(1, Ordering::Relaxed));
        Self::create(administrator, name("it", number, are_kept()), name("it", number, false), template).await
    }

    async fn create(mut administrator: Config, name: String, label: String, template: &str) -> Self {
        let outer = Session::open(&administrator).await.unwrap();
        let create = format!("create database {name} template {template}");
        outer.client.batch_execute(&create).await.unwrap();
        // A clone does not inherit grants on the database itself.
        let revoke = format!("revoke temporary, create on database {name} from public");
        outer.client.batch_execute(&revoke).await.unwrap();
        administrator.dbname(&name);
        let session = Session::open(&administrator).await.unwrap();
        Self { name, label, administrator, session }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The database, as its administrator.
    pub fn client(&self) -> &tokio_postgres::Client {
        &self.session.client
    }

    /// The administrator's connection settings.
    pub fn administrator(&self) -> Config {
        self.administrator.clone()
    }

    /// The address of Postgres.
    pub fn port(&self) -> u16 {
        self.administrator.get_ports()[0]
    }

    /// Its address for one of the roles.
    pub fn url(&self, role: &str) -> String {
        let port = self.port();
        // Two cores run all tests at once, so a query may take longer than a reader would wait.
        let patient = match role {
            "blogs_api" => "?options=-c%20statement_timeout%3D60s%20-c%20lock_timeout%3D60s",
            _ => "",
        };
        format!("postgres://{role}:{}@127.0.0.1:{port}/{}{patient}", PASSWORD.replace(' ', "%20"), self.name)
    }

    /// Another session of the administrator, for statements outside the first session's transaction.
    pub async fn another(&self) -> Session {
        Session::open(&self.administrator).await.unwrap()
    }

    /// A session under a role, like a service's.
    pub async fn session(&self, role: &str) -> Session {
        Session::open(&self.url(role).parse().unwrap()).await.unwrap()
    }

    /// A pool under a role.
    pub fn pool(&self, role: &str) -> Pool {
        Pool::new(&self.database_settings(role), "it").unwrap()
    }

    /// The `[database]` section for a role.
    pub fn database_settings(&self, role: &str) -> database::Settings {
        database::Settings {
            url: self.url(role).into(),
            pool_max: 8,
            instances_max: 1,
            connect_timeout_ms: 30_000,
            wait_timeout_ms: 30_000,
        }
    }

    /// The only value of a query, asked as the administrator.
    pub async fn value<T>(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> T
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
    pub async fn run(&self, sql: &str) {
        self.client().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Makes an author with a number of published blogs, and returns the blogs' ids.
    pub async fn blogs(&self, count: i64) -> Vec<i64> {
        let rows =
            self.client().query(include_str!("../sql/make_blogs.sql"), &[&self.label, &count]).await.unwrap();
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// Makes a number of active accounts, and returns their ids. A second call returns the same ones.
    pub async fn accounts(&self, count: i64) -> Vec<i64> {
        let rows = self
            .client()
            .query(include_str!("../sql/make_accounts.sql"), &[&self.label, &count])
            .await
            .unwrap();
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// Makes a number of accounts that follow another, and returns their ids in order.
    pub async fn followers(&self, of: i64, count: i64) -> Vec<i64> {
        let rows =
            self.client().query(include_str!("../sql/make_followers.sql"), &[&of, &count]).await.unwrap();
        rows.iter().map(|row| row.get("id")).collect()
    }

    /// Waits until a query returns the expected value.
    pub async fn until<T>(&self, sql: &str, expected: T)
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

    /// Admits only the administrator to the database, and ends all other sessions.
    pub async fn close_database(&self) {
        self.run(&format!("alter database {} connection limit 0", self.name)).await;
        let others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        // This also ends sessions that had passed the check before the limit was set.
        let gone = wait_until(async || {
            self.run(&format!("select pg_terminate_backend(pid) {others}")).await;
            self.value::<i64>(&format!("select count(*) {others}"), &[]).await == 0
        });
        assert!(gone.await, "sessions are left");
    }

    /// Undoes [`Database::close_database`].
    pub async fn open_database(&self) {
        self.run(&format!("alter database {} connection limit -1", self.name)).await;
    }

    /// Deadlocks that Postgres had to break in this database.
    pub async fn deadlocks(&self) -> i64 {
        self.value("select deadlocks from pg_stat_database where datname = current_database()", &[]).await
    }

    /// Asserts that the tables of engagement agree: the equation of the ledger, the series and the totals, the natural keys
    /// and the totals.
    pub async fn assert_consistent(&self) {
        let rows = self.client().query(include_str!("../../sql/disagreements.sql"), &[]).await.unwrap();
        let disagreements: Vec<(String, i64, i64)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        assert!(disagreements.is_empty(), "tables disagree: {disagreements:?}");
        assert_eq!(self.deadlocks().await, 0, "deadlocks");
    }
}

async fn administrator() -> Config {
    tokio::task::spawn_blocking(|| postgres().url.parse().unwrap()).await.unwrap()
}
