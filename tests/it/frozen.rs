//! A database that has stopped without closing a connection, as when its disk hangs: the network still acknowledges
//! what is sent, but no statement is ever answered. Workers must report this, end when they are asked to, and count
//! nothing twice.

use std::time::Duration;

use database::Pool;
use proxy::{Mode, Proxy};
use reqwest::StatusCode;
use runtime::process::WorkError;
use runtime::service::Service as _;
use runtime::settings::{Defaults, Loader};
use serde_json::Value;
use tests::{DEADLINE, World, wait_until};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::message_path::{publish, publisher, view};

const COUNTED: &str = "select coalesce(sum(total_views), 0)::bigint from blogs.blog_counter";

/// A worker behind a proxy that can freeze its database. `Running` does not fit, because it asserts that a service ends
/// without an error.
struct Behind {
    proxy: Proxy,
    readyz: String,
    shutdown: CancellationToken,
    task: JoinSet<anyhow::Result<()>>,
}

/// A proxy to the test's Postgres that can be frozen, and the address of the test's database behind it.
async fn proxied(world: &World, role: &str) -> (Proxy, String) {
    let proxy = Proxy::start(([127, 0, 0, 1], world.port()).into(), Mode::Open).await.unwrap();
    let port = |port: u16| format!(":{port}/");
    let url = world.url(role).replace(&port(world.port()), &port(proxy.address().port()));
    (proxy, url)
}

/// The settings of a worker that reaches its database through the proxy.
async fn loader(world: &World, defaults: Defaults, role: &str, url: String) -> Loader {
    Loader::new(defaults)
        .environment([])
        .set("http.address", "127.0.0.1:0")
        .set("database.url", url)
        .set("broker.url", world.amqp_url_of(role).await)
}

/// An Analytics worker that counts every view, so that a view that is applied twice shows.
async fn worker(world: &World) -> Behind {
    let (proxy, url) = proxied(world, "analytics_worker").await;
    let loader = loader(world, analytics_worker::DEFAULTS, "analytics_worker", url).await;
    let loader = loader.set("engagement.view_window_s", 0).set("worker.drain_timeout_s", 1);
    let service = analytics_worker::Service::start(loader.load().unwrap()).await.unwrap();
    let address = service.address();
    Behind::start(proxy, address, |shutdown| service.run(shutdown))
}

async fn notifier(world: &World) -> Behind {
    let (proxy, url) = proxied(world, "notification_worker").await;
    let loader = loader(world, notification_worker::DEFAULTS, "notification_worker", url).await;
    let service = notification_worker::Service::start(loader.load().unwrap()).await.unwrap();
    let address = service.address();
    Behind::start(proxy, address, |shutdown| service.run(shutdown))
}

impl Behind {
    fn start<F>(proxy: Proxy, address: std::net::SocketAddr, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(run(shutdown.clone()));
        Self { proxy, readyz: format!("http://{address}/readyz"), shutdown, task }
    }

    async fn until(&self, status: StatusCode, is_so: impl Fn(&Value) -> bool) {
        let mut last = (StatusCode::OK, Value::Null);
        let reached = wait_until(async || {
            let answer = reqwest::get(&self.readyz).await.unwrap();
            last = (answer.status(), answer.json().await.unwrap());
            last.0 == status && is_so(&last.1)
        });
        assert!(reached.await, "{last:?}");
    }

    async fn ready(&self) {
        self.until(StatusCode::OK, |_| true).await;
    }

    /// Waits until it is not ready, because of the database.
    async fn without_database(&self) {
        self.until(StatusCode::SERVICE_UNAVAILABLE, |said| said["parts"]["database"]["works"] == false).await;
    }

    /// Asks the worker to end. It may report unfinished work, but it must end in time.
    async fn ends_within(mut self, limit: Duration) {
        let began = Instant::now();
        self.shutdown.cancel();
        let ended = timeout(DEADLINE, self.task.join_next()).await.expect("it ends");
        if let Err(error) = ended.expect("it was running").expect("it does not panic") {
            assert!(matches!(error.downcast_ref(), Some(WorkError::Late(_))), "{error:?}");
        }
        assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn batch_with_an_unanswered_commit_counts_once() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    // A transaction that counts a view waits in its COMMIT until the lock is free.
    world
        .run(
            "create function public.wait() returns trigger language plpgsql security definer as
             $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
             create constraint trigger wait after update on blogs.blog_counter
             deferrable initially deferred for each row execute function public.wait();
             select pg_advisory_lock(1)",
        )
        .await;
    let frozen = worker(&world).await;
    frozen.ready().await;
    publish(&publisher, &[view(blog, 1), view(blog, 2), view(blog, 3)]).await;
    let commits = "select count(*) from pg_stat_activity
                   where datname = current_database() and query = 'COMMIT' and wait_event = 'advisory'";
    world.until(commits, 1_i64).await;
    frozen.proxy.set(Mode::Silent);
    world.run("select pg_advisory_unlock(1)").await;
    world.until(COUNTED, 3_i64).await;
    // The transaction is committed, but the worker never gets the answer. Later events wait behind it.
    publish(&publisher, &[view(blog, 4), view(blog, 5)]).await;
    frozen.without_database().await;
    frozen.ends_within(Duration::from_secs(10)).await;

    let worker = world.worker_with(|loader| loader.set("engagement.view_window_s", 0)).await;
    world.until(COUNTED, 5_i64).await;
    world.until("select count(*) from analytics.envelope_ledger", 2_i64).await;
    worker.stop().await;
    assert_eq!(world.value::<i64>(COUNTED, &[]).await, 5);
    world.assert_consistent().await;
}

#[tokio::test]
async fn worker_resumes_when_the_database_resumes() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let publisher = publisher(&world).await;
    let frozen = worker(&world).await;
    frozen.ready().await;
    publish(&publisher, &[view(blog, 1)]).await;
    world.until(COUNTED, 1_i64).await;
    frozen.proxy.set(Mode::Silent);
    publish(&publisher, &[view(blog, 2), view(blog, 3)]).await;
    frozen.without_database().await;
    frozen.proxy.set(Mode::Open);
    world.until(COUNTED, 3_i64).await;
    frozen.ready().await;
    frozen.ends_within(DEADLINE).await;
    assert_eq!(world.value::<i64>(COUNTED, &[]).await, 3);
    world.assert_consistent().await;
}

#[tokio::test]
async fn notification_worker_reports_a_frozen_database_and_ends() {
    let world = World::new().await;
    let frozen = notifier(&world).await;
    frozen.ready().await;
    frozen.proxy.set(Mode::Silent);
    frozen.without_database().await;
    frozen.ends_within(Duration::from_secs(15)).await;
}

#[tokio::test]
async fn connection_with_a_running_statement_is_not_reused() {
    let world = World::new().await;
    let settings = database::Settings { pool_max: 1, ..world.database_settings("analytics_worker") };
    let pool = Pool::new(&settings, "it").unwrap();
    let waiting = "select pg_sleep(25)";
    let left = database::within(Duration::from_millis(1500), async {
        pool.get().await?.batch_execute(waiting).await.map_err(database::Error::statement("waiting"))
    });
    assert!(matches!(left.await, Err(database::Error::NoAnswer(_))));
    // The statement is still running, so its connection would answer nothing.
    let client = timeout(Duration::from_secs(8), pool.get()).await.unwrap().unwrap();
    timeout(Duration::from_secs(1), client.batch_execute("select 1")).await.unwrap().unwrap();
}
