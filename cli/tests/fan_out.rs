//! A fan-out whose worker, a separate process, is repeatedly killed by `kill -9`: at the end every follower has been
//! notified once.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its output is its report"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use database::Session;
use database::bootstrap::login_roles;
use stack::{Options, Stack};
use tokio_postgres::Config;

const PASSWORD: &str = "for-this-test-only";
const FOLLOWERS: i64 = 100_000;
const KILLS: usize = 20;
/// How long it may take from one kill to the next, and from the last one to the end: a start, and some chunks.
const DEADLINE: Duration = Duration::from_secs(180);

/// A running worker; killed at the latest when the test ends.
struct Worker(Child);

impl Worker {
    fn start(database_url: &str, amqp_url: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commonplace"));
        command
            .args(["serve", "notification-worker"])
            .env("DATABASE_URL", database_url)
            .env("AMQP_URL", amqp_url)
            .env("COMMONPLACE__HTTP__ADDRESS", "127.0.0.1:0")
            // Many small chunks give many places for a kill.
            .env("COMMONPLACE__FAN_OUT__CHUNK_ROWS_MIN", "200")
            .env("COMMONPLACE__FAN_OUT__CHUNK_ROWS_MAX", "200")
            .env("COMMONPLACE__FAN_OUT__POLL_MS", "20")
            .env("COMMONPLACE__LOG__FILTER", "warn,lapin=off")
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// `kill -9`, and waits until it is gone.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Makes an author with followers and a blog that is published now; some of the followers must not be notified.
async fn prepare(administrator: &Config) -> Session {
    let session = Session::open(administrator).await.unwrap();
    let seed = format!(
        "insert into blogs.account (handle, email, password_hash)
         select 'r' || n, 'r' || n || '@example.org', '-' from generate_series(0, {FOLLOWERS}) as n order by n;
         insert into social.follow (followee_id, follower_id)
         select (select min(id) from blogs.account), id from blogs.account
         where id > (select min(id) from blogs.account) order by id;
         update blogs.account set suspended_at = now() where handle ~ '^r[1-9]*00$';
         update blogs.account set deleted_at = now() where handle ~ '^r[1-9]*50$';
         insert into blogs.blog (author_id, title, body, published_at, first_published_at)
         select min(id), 'Told under fire', '', now(), now() from blogs.account;
         update social.follow set followed_at = (select first_published_at + interval '1 second' from blogs.blog)
         where follower_id % 1000 = 7;
         insert into notify.fan_out (blog_id, published_at, total)
         select id, first_published_at, {FOLLOWERS} from blogs.blog;"
    );
    session.client.batch_execute(&seed).await.unwrap();
    session
}

/// Makes the roles and the schema, and RabbitMQ's topology and users.
fn migrate(stack: &Stack) {
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_commonplace"));
    migrate.arg("migrate").env("DATABASE_URL", stack.postgres_url());
    migrate.env("COMMONPLACE__RABBITMQ__MANAGEMENT_URL", stack.management_url());
    for user in broker::users() {
        migrate.env(format!("COMMONPLACE__RABBITMQ__{}_PASSWORD", user.to_uppercase()), PASSWORD);
    }
    for role in login_roles() {
        migrate.env(format!("COMMONPLACE__ROLES__{}_PASSWORD", role.to_uppercase()), PASSWORD);
    }
    let migrated = migrate.output().unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeatedly_killed_worker_notifies_every_follower_once() {
    let mut options = Options::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/fan-out"));
    (options.durable, options.fresh) = (false, true);
    let stack = Stack::start(&options, &mut |step| eprintln!("{step}")).expect("private servers start");
    migrate(&stack);
    let administrator: Config = stack.postgres_url().parse().unwrap();
    let tables = prepare(&administrator).await;
    let port = administrator.get_ports().first().copied().unwrap();
    let name = administrator.get_dbname().unwrap();
    let database_url = format!("postgres://notification_worker:{PASSWORD}@127.0.0.1:{port}/{name}");
    let amqp_url =
        broker::url_of(&stack.amqp_url(), "notification_worker", &PASSWORD.to_owned().into()).unwrap();

    let looked_at = async || -> (i64, String) {
        let row = tables.client.query_one("select looked_at, state from notify.fan_out", &[]).await.unwrap();
        (row.get(0), row.get(1))
    };
    let mut deadline = Instant::now() + DEADLINE;
    let (mut kills, mut before) = (0, 0);
    let mut worker = Worker::start(&database_url, &amqp_url);
    loop {
        assert!(Instant::now() < deadline, "{:?} after {kills} kills", looked_at().await);
        assert_eq!(worker.0.try_wait().unwrap(), None, "it ended by itself, after {kills} kills");
        let (now, state) = looked_at().await;
        if state == "done" {
            break;
        }
        // The worker has made progress since the last kill. The random pause varies the place at which it is killed.
        if kills < KILLS && now > before {
            tokio::time::sleep(Duration::from_micros(rand::random_range(0..20_000))).await;
            worker.kill();
            kills += 1;
            (before, _) = looked_at().await;
            worker = Worker::start(&database_url, &amqp_url);
            deadline = Instant::now() + DEADLINE;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    worker.kill();
    assert_eq!(kills, KILLS, "the fan-out was done before it was killed often enough");

    let account = "select count(*) as rows, count(distinct recipient_id) as recipients,
                          (select notified from notify.fan_out) as notified,
                          (select count(*) from social.follow f join blogs.active_account a on a.id = f.follower_id
                           where f.followed_at <= (select first_published_at from blogs.blog)) as expected
                   from notify.notification";
    let row = tables.client.query_one(account, &[]).await.unwrap();
    let of = |name: &str| row.get::<_, i64>(name);
    eprintln!(
        "{kills} kills: {} rows, {} distinct recipients, {} expected",
        of("rows"),
        of("recipients"),
        of("expected")
    );
    assert!(
        of("expected") < FOLLOWERS && of("expected") > FOLLOWERS / 2,
        "some, and not too many, are left out"
    );
    assert_eq!(
        (of("rows"), of("recipients"), of("notified")),
        (of("expected"), of("expected"), of("expected"))
    );
    drop(tables);
    stack.stop().unwrap();
}
