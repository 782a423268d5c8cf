//! A Postgres of its own for a test of `account erase`, the services in the test's process, and gates that stop
//! transactions.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use database::bootstrap::{RoleSettings, login_roles};
use database::{Pool, Session};
use reqwest::{Client, Method, RequestBuilder};
use runtime::service::Service as _;
use runtime::settings::{Defaults, Loader};
use serde_json::Value;
use stack::{Options, Postgres};
use tokio::task::JoinSet;
use tokio_postgres::Config;
use tokio_postgres::types::FromSqlOwned;
use tokio_util::sync::CancellationToken;

const PASSWORD: &str = "for-this-test-only";
const DATABASE: &str = "erasing";
/// How long a test waits for what it expects. Generous: two cores run all tests at once.
const DEADLINE: Duration = Duration::from_secs(60);
/// There is no RabbitMQ: nothing here needs it.
const NO_BROKER: &str = "amqp://127.0.0.1:1/%2f";
const SECRET: &str = "for tests on this machine only, and long enough";

/// A migrated database that only this test uses.
pub(crate) struct Ground {
    administrator: Config,
    pub(crate) session: Session,
    gates: AtomicI64,
    /// The record of erased accounts.
    pub(crate) record: PathBuf,
    _postgres: Postgres,
}

/// Transactions stop here until it is opened.
pub(crate) struct Gate {
    session: Session,
    number: i64,
}

/// `account erase`, running.
pub(crate) struct Erase(Child);

/// A service in the test's process.
pub(crate) struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinSet<anyhow::Result<()>>,
    client: Client,
}

impl Ground {
    pub(crate) async fn prepare(name: &str) -> Self {
        let mut options = Options::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        (options.durable, options.fresh) = (false, true);
        let start = move || Postgres::start(&options, &mut |_step| ()).expect("a private server starts");
        let postgres = tokio::task::spawn_blocking(start).await.unwrap();
        let mut administrator: Config = postgres.url().parse().unwrap();

        #[derive(serde::Deserialize)]
        struct Settings {
            roles: RoleSettings,
        }
        let loader = Loader::new(include_str!("../../../config/migrate.toml")).environment([]);
        let loader =
            login_roles().fold(loader, |loader, role| loader.set(format!("roles.{role}_password"), PASSWORD));
        let settings: Settings = loader.load().unwrap();
        database::bootstrap::run(&administrator, &settings.roles).await.unwrap();
        let outer = Session::open(&administrator).await.unwrap();
        outer.client.batch_execute(&format!("create database {DATABASE}")).await.unwrap();
        // A gate may stop a transaction for as long as the test takes.
        for limit in ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"] {
            for role in login_roles() {
                let patient = format!("alter role {role} in database {DATABASE} set {limit} = '120s'");
                outer.client.batch_execute(&patient).await.unwrap();
            }
        }
        administrator.dbname(DATABASE);
        database::migrations::run(&administrator).await.unwrap();
        let session = Session::open(&administrator).await.unwrap();
        let record = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-erased-accounts"));
        let _none_yet = std::fs::remove_file(&record);
        let ground = Self { administrator, session, gates: AtomicI64::new(1), record, _postgres: postgres };
        ground
            .run(
                // Ids whose digits are unlikely to appear in any other number.
                "alter table blogs.account alter column id restart with 7700000001;
                 create function public.wait_at_gate() returns trigger language plpgsql security definer as $$
                 begin
                   perform pg_catalog.pg_advisory_xact_lock_shared(tg_argv[0]::bigint);
                   return new;
                 end $$",
            )
            .await;
        ground
    }

    /// A gate at a trigger: `before insert on … for each …`.
    pub(crate) async fn gate(&self, trigger: &str) -> Gate {
        let Gate { session, number } = self.closed_gate().await;
        let create =
            format!("create trigger gate_{number} {trigger} execute function public.wait_at_gate({number})");
        self.run(&create).await;
        Gate { session, number }
    }

    /// A gate where statements look at which accounts are active, after they have their snapshot.
    pub(crate) async fn gate_at_accounts(&self) -> Gate {
        let Gate { session, number } = self.closed_gate().await;
        self.run(&format!(
            "create function public.wait_to_look() returns boolean language plpgsql security definer as $$
             begin
               perform pg_catalog.pg_advisory_xact_lock_shared({number});
               return true;
             end $$;
             create or replace view blogs.active_account as
               select a.id from blogs.account a
               where a.deleted_at is null and a.suspended_at is null and public.wait_to_look()"
        ))
        .await;
        Gate { session, number }
    }

    async fn closed_gate(&self) -> Gate {
        let number = self.gates.fetch_add(1, Ordering::Relaxed);
        let session = self.another().await;
        session.client.query_one("select pg_advisory_lock($1)", &[&number]).await.unwrap();
        Gate { session, number }
    }

    /// Waits until a role's session waits for this kind of lock.
    pub(crate) async fn until_waiting(&self, role: &str, wait_event: &str) {
        let waits = format!(
            "select count(*) from pg_stat_activity
             where usename = '{role}' and wait_event_type = 'Lock' and wait_event = '{wait_event}'"
        );
        self.until(&waits, 1).await;
    }

    /// Waits until every follower is notified of a blog.
    pub(crate) async fn until_done(&self, blog: i64) {
        let done = format!("select count(*) from notify.fan_out where blog_id = {blog} and state = 'done'");
        self.until(&done, 1).await;
    }

    pub(crate) async fn until(&self, sql: &str, expected: i64) {
        let reached = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            while self.value::<i64>(sql).await != expected {
                ticks.tick().await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, reached).await;
        assert!(in_time.is_ok(), "{sql} should become {expected}");
    }

    /// The kinds of rows that still name the account, including its own row.
    pub(crate) async fn left(&self, account: i64) -> Vec<String> {
        let left = "select kind from (
                      select 'like' as kind, account_id as id from analytics.blog_like
                      union all select 'follow', unnest(array[followee_id, follower_id]) from social.follow
                      union all select 'follow_counter', account_id from social.follow_counter
                      union all select 'notification', recipient_id from notify.notification
                      union all select 'cursor', after_id from notify.fan_out
                      union all select 'outbox', $1::bigint from blogs.outbox
                        where convert_from(body, 'utf8') ~ $1::bigint::text
                      union all select 'account', id from blogs.account) as named
                    where id = $1 order by kind";
        let rows = self.session.client.query(left, &[&account]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(crate) async fn account(&self, handle: &str) -> i64 {
        self.value(&format!(
            "insert into blogs.account (handle, email, password_hash) values ('{handle}', '{handle}@example.org', '-')
             returning id"
        ))
        .await
    }

    pub(crate) async fn follow(&self, followee: i64, follower: i64) {
        self.run(&format!(
            "insert into social.follow (followee_id, follower_id) values ({followee}, {follower})"
        ))
        .await;
    }

    /// A blog that is published now, on a day for which notifications can be kept.
    pub(crate) async fn blog(&self, author: i64) -> i64 {
        self.run("select notify.create_day((now() at time zone 'utc')::date)").await;
        self.run(&format!(
            "with blog as (
               insert into blogs.blog (author_id, title, body, published_at)
               values ({author}, 'News', '', now()) returning id)
             insert into blogs.blog_counter (blog_id) select id from blog"
        ))
        .await;
        self.value("select max(id) from blogs.blog").await
    }

    /// Begins the fan-out of a blog. Until then the blog has no first publishing, so that workers do not find it.
    pub(crate) async fn fan_out(&self, blog: i64) {
        self.run(&format!(
            "update blogs.blog set first_published_at = now() where id = {blog};
             insert into notify.fan_out (blog_id, published_at, total)
             select id, first_published_at, 1 from blogs.blog where id = {blog}"
        ))
        .await;
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.session.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) async fn value<T: FromSqlOwned>(&self, sql: &str) -> T {
        let row = self.session.client.query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    fn url(&self, role: &str) -> String {
        let port = self.administrator.get_ports()[0];
        format!("postgres://{role}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}")
    }

    /// Another session of the administrator.
    pub(crate) async fn another(&self) -> Session {
        Session::open(&self.administrator).await.unwrap()
    }

    /// A session of the administrator in another database.
    pub(crate) async fn session_in(&self, database: &str) -> Session {
        let mut administrator = self.administrator.clone();
        administrator.dbname(database);
        Session::open(&administrator).await.unwrap()
    }

    pub(crate) fn pool(&self, role: &str) -> Pool {
        let settings = database::Settings {
            url: self.url(role).into(),
            pool_max: 2,
            instances_max: 1,
            connect_timeout_ms: 30_000,
            wait_timeout_ms: 30_000,
        };
        Pool::new(&settings, "test").unwrap()
    }

    pub(crate) fn erase(&self, account: i64) -> Erase {
        self.erase_within(account, DEADLINE.as_secs())
    }

    /// Starts the command with this number of seconds as its timeout.
    pub(crate) fn erase_within(&self, account: i64, seconds: u64) -> Erase {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commonplace"));
        command
            .args(["account", "erase", &account.to_string(), "--yes", "--wait", &seconds.to_string()])
            .arg("--record")
            .arg(&self.record)
            .env("DATABASE_URL", self.url("operator"))
            .env_remove("AMQP_URL")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Erase(command.spawn().unwrap())
    }

    /// `restore` of this server, as if it had gone back in time; what it prints.
    pub(crate) fn restore(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commonplace"));
        let (user, port) = (self.administrator.get_user().unwrap(), self.administrator.get_ports()[0]);
        let password = String::from_utf8_lossy(self.administrator.get_password().unwrap());
        let url = format!("postgres://{user}:{password}@127.0.0.1:{port}/{DATABASE}");
        command.args(["restore", "--in-place"]).args(arguments).env("DATABASE_URL", url);
        for role in login_roles() {
            command.env(format!("COMMONPLACE__ROLES__{}_PASSWORD", role.to_uppercase()), PASSWORD);
        }
        let output = command.env_remove("AMQP_URL").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    pub(crate) async fn api(&self) -> Running {
        let loader = self
            .loader(blogs_api::DEFAULTS, "blogs_api")
            .set("http.operations_address", "")
            .set("engagement.visitor_secret", SECRET)
            .set("tokens.signing_keys", "test:VGhlIHNlZWQgb2YgdGVzdCBzZXNzaW9ucyBhbG9uZSE=")
            .set("tokens.epoch_wait_max_ms", 30_000)
            .set("requests.timeout_ms", 60_000)
            .set("requests.drain_timeout_ms", 60_000)
            .set("passwords.memory_kib", 1024)
            .set("passwords.passes", 1)
            .set("rate_limits.enabled", false);
        let service = blogs_api::Service::start(loader.load().unwrap()).await.unwrap();
        Running::new(service.address(), |shutdown| service.run(shutdown))
    }

    /// A notification-worker with chunks of this size.
    pub(crate) async fn notifier(&self, rows: i64) -> Running {
        let loader = self
            .loader(notification_worker::DEFAULTS, "notification_worker")
            .set("fan_out.chunk_rows_min", rows)
            .set("fan_out.chunk_rows_max", rows)
            .set("fan_out.poll_ms", 20);
        let service = notification_worker::Service::start(loader.load().unwrap()).await.unwrap();
        Running::new(service.address(), |shutdown| service.run(shutdown))
    }

    fn loader(&self, defaults: Defaults, role: &str) -> Loader {
        Loader::new(defaults)
            .environment([])
            .set("http.address", "127.0.0.1:0")
            .set("database.url", self.url(role))
            .set("database.connect_timeout_ms", 30_000)
            .set("database.wait_timeout_ms", 30_000)
            .set("broker.url", NO_BROKER)
    }
}

impl Gate {
    pub(crate) async fn open(self) {
        let unlock = "select pg_advisory_unlock($1)";
        let unlocked = self.session.client.query_one(unlock, &[&self.number]).await.unwrap();
        assert!(unlocked.get::<_, bool>(0));
    }
}

impl Erase {
    /// Returns true once the command has asked several times whether older transactions have ended, and false if it has
    /// ended.
    pub(crate) async fn waits(&mut self, ground: &Ground) -> bool {
        let asked = "select to_char(query_start, 'HH24:MI:SS.US') from pg_stat_activity
                     where usename = 'operator' and query like '%pg_snapshot_xmin%'";
        let looked = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            let mut times = std::collections::BTreeSet::new();
            while self.0.try_wait().unwrap().is_none() {
                let rows = ground.session.client.query(asked, &[]).await.unwrap();
                times.extend(rows.iter().map(|row| row.get::<_, String>(0)));
                if times.len() > 3 {
                    return true;
                }
                ticks.tick().await;
            }
            false
        };
        tokio::time::timeout(DEADLINE, looked).await.expect("it ends or asks")
    }

    /// Ends the command as a power failure does.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Whether it succeeded, and what it said.
    pub(crate) async fn ended(self) -> (bool, String) {
        let mut child = self.0;
        let ended = tokio::task::spawn_blocking(move || {
            let (mut stdout, mut stderr) = (String::new(), String::new());
            child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            (child.wait().unwrap().success(), if stdout.is_empty() { stderr } else { stdout })
        });
        tokio::time::timeout(2 * DEADLINE, ended).await.expect("it ends in time").unwrap()
    }
}

impl Running {
    fn new<F>(address: SocketAddr, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(run(shutdown.clone()));
        Self { address, shutdown, task, client: Client::builder().no_proxy().build().unwrap() }
    }

    /// A request, to be sent.
    pub(crate) fn request(&self, method: Method, path: &str, token: Option<&str>) -> RequestBuilder {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        if let Some(token) = token { request.bearer_auth(token) } else { request }
    }

    /// The status and the body, as JSON.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut request = self.request(method, path, token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(2 * DEADLINE, self.task.join_next()).await;
        ended.expect("it ends in time").unwrap().unwrap().unwrap();
    }
}
