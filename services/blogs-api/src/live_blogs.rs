//! A cache of the blogs that readers can see.
//!
//! An event for a missing blog should be answered 404, and an event for a live blog should not cost a query. The cache
//! therefore keeps a limited number of live ids for a limited time. One task looks up unknown ids and combines all
//! waiting lookups into one statement: however many requests ask for made-up ids, only one query runs at a time. While
//! Postgres is down, the answer is immediately [`Presence::Unknown`], and the event is accepted; the worker that counts
//! it decides.

use std::collections::BTreeSet;
use std::time::Duration;

use database::{Error, Pool, Statement, statement};
use deadpool_postgres::Object;
use moka::future::Cache;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

const LIVE_BLOGS: Statement = statement!("live_blogs.sql");

/// The `[engagement.live_blogs]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Maximum number of cached ids.
    pub ids_max: u64,
    /// How long an id is cached, in milliseconds. Events for a blog that another process has unpublished are accepted
    /// for this long.
    pub ttl_ms: u64,
    /// Maximum wait of a request for a lookup, and of a lookup for the database, in milliseconds.
    pub lookup_timeout_ms: u64,
    /// After a failed lookup, no further lookup is made for this long, in milliseconds.
    pub away_ms: u64,
    /// Maximum number of requests that wait for a lookup; events of further ones are accepted without one.
    pub waiting_max: usize,
    /// Number of ids after which a statement takes no further request.
    pub lookup_ids_max: usize,
}

/// The result for a blog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Readers can see it.
    Live,
    /// The blog does not exist, or readers cannot see it.
    Absent,
    /// The database could not be queried.
    Unknown,
}

/// The cache, and the sender to the lookup task. Clones share both.
#[derive(Debug, Clone)]
pub struct LiveBlogs {
    known: Cache<i64, ()>,
    lookups: mpsc::Sender<Lookup>,
    lookup_timeout: Duration,
    metrics: Metrics,
}

impl LiveBlogs {
    /// Starts the lookup task. It ends when the last clone is dropped.
    pub fn start(settings: &Settings, pool: Pool, registry: &mut Registry, tasks: &TaskTracker) -> Self {
        let known = Cache::builder()
            .max_capacity(settings.ids_max)
            .time_to_live(Duration::from_millis(settings.ttl_ms))
            .build();
        let (lookups, waiting) = mpsc::channel(settings.waiting_max);
        let metrics = Metrics::register(registry);
        let lookup_timeout = Duration::from_millis(settings.lookup_timeout_ms);
        let task =
            LookupTask { settings: settings.clone(), pool, known: known.clone(), waiting, away_until: None };
        tasks.spawn(task.run());
        Self { known, lookups, lookup_timeout, metrics }
    }

    /// Whether the blog is live.
    pub async fn is_live(&self, blog_id: i64) -> Presence {
        if self.known.get(&blog_id).await.is_some() {
            self.metrics.memory.inc();
            return Presence::Live;
        }
        self.look_up(BTreeSet::from([blog_id])).await.of(blog_id)
    }

    /// Which of these blogs are live, with at most one statement.
    pub async fn among(&self, blog_ids: &[i64]) -> Found {
        let mut live = BTreeSet::new();
        let mut unknown = BTreeSet::new();
        for &id in blog_ids {
            if self.known.get(&id).await.is_some() {
                live.insert(id)
            } else {
                unknown.insert(id)
            };
        }
        if unknown.is_empty() {
            self.metrics.memory.inc();
            return Found { live, rest: Presence::Absent };
        }
        let mut found = self.look_up(unknown).await;
        found.live.append(&mut live);
        found
    }

    /// Removes a blog that this process has just unpublished or deleted.
    pub async fn forget(&self, blog_id: i64) {
        self.known.invalidate(&blog_id).await;
    }

    /// Returns when the lookup task has ended, which happens early only if it has panicked.
    pub async fn ended(&self) {
        self.lookups.closed().await;
    }

    async fn look_up(&self, blog_ids: BTreeSet<i64>) -> Found {
        let deadline = Instant::now() + self.lookup_timeout;
        let (answer, answered) = oneshot::channel();
        let asked = self.lookups.try_send(Lookup { blog_ids, answer });
        // The timeout covers the time in the queue, because the request waits there too.
        let answered = if asked.is_ok() { timeout_at(deadline, answered).await.ok() } else { None };
        let live = answered.and_then(Result::ok).flatten();
        if let Some(live) = live {
            self.metrics.database.inc();
            Found { live, rest: Presence::Absent }
        } else {
            self.metrics.let_through.inc();
            Found { live: BTreeSet::new(), rest: Presence::Unknown }
        }
    }
}

/// The results for several blogs.
#[derive(Debug)]
pub struct Found {
    live: BTreeSet<i64>,
    rest: Presence,
}

impl Found {
    /// The result for one of them.
    #[must_use]
    pub fn of(&self, blog_id: i64) -> Presence {
        if self.live.contains(&blog_id) { Presence::Live } else { self.rest }
    }
}

/// The ids of one request. The answer is the set of live ones, or `None` if the database could not be queried.
struct Lookup {
    blog_ids: BTreeSet<i64>,
    answer: oneshot::Sender<Option<BTreeSet<i64>>>,
}

struct LookupTask {
    settings: Settings,
    pool: Pool,
    known: Cache<i64, ()>,
    waiting: mpsc::Receiver<Lookup>,
    away_until: Option<Instant>,
}

impl LookupTask {
    async fn run(mut self) {
        while let Some((lookups, blog_ids)) = self.next().await {
            let live = self.ask(blog_ids.into_iter().collect()).await;
            for id in live.iter().flatten() {
                self.known.insert(*id, ()).await;
            }
            for Lookup { blog_ids, answer } in lookups {
                // A request that has timed out no longer waits for the answer.
                let _ = answer.send(live.as_ref().map(|live| &blog_ids & live));
            }
        }
    }

    /// The lookups of the next statement and their ids: everything that is waiting and fits, except for requests that
    /// have given up. `None` when no further lookup can come.
    async fn next(&mut self) -> Option<(Vec<Lookup>, BTreeSet<i64>)> {
        let (mut lookups, mut blog_ids) = (Vec::new(), BTreeSet::new());
        while blog_ids.len() < self.settings.lookup_ids_max {
            let next = match self.waiting.try_recv() {
                Ok(next) => next,
                Err(_) if !lookups.is_empty() => break,
                Err(_) => self.waiting.recv().await?,
            };
            if !next.answer.is_closed() {
                blog_ids.extend(&next.blog_ids);
                lookups.push(next);
            }
        }
        Some((lookups, blog_ids))
    }

    /// The live ones among these ids, or `None` while the database is down.
    async fn ask(&mut self, blog_ids: Vec<i64>) -> Option<BTreeSet<i64>> {
        if self.away_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let deadline = Instant::now() + Duration::from_millis(self.settings.lookup_timeout_ms);
        let failed = match self.query(&blog_ids, deadline).await {
            Ok(Some(found)) => {
                self.away_until = None;
                return Some(found);
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        self.away_until = Some(Instant::now() + Duration::from_millis(self.settings.away_ms));
        let error = failed.as_ref().map(|error| error as &dyn std::error::Error);
        tracing::warn!(
            error,
            "cannot look up blogs; accepting events without checking that their blogs are live"
        );
        None
    }

    /// `None` if the deadline passed first.
    async fn query(&self, blog_ids: &[i64], deadline: Instant) -> Result<Option<BTreeSet<i64>>, Error> {
        let Ok(client) = timeout_at(deadline, self.pool.get()).await else { return Ok(None) };
        let client = client?;
        let Ok(rows) = timeout_at(deadline, LIVE_BLOGS.query(&client, &[&blog_ids])).await else {
            // Do not return this connection to the pool: the statement is still running on it.
            drop(Object::take(client));
            return Ok(None);
        };
        Ok(Some(rows?.iter().map(|row| row.get("id")).collect()))
    }
}

/// Counts requests by the source of their answer.
#[derive(Debug, Clone)]
struct Metrics {
    memory: Counter,
    database: Counter,
    let_through: Counter,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let lookups = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let by = |source| lookups.get_or_create_owned(&[("source", source)]);
        let metrics = Self { memory: by("memory"), database: by("database"), let_through: by("let_through") };
        registry.register(
            "live_blog_lookups",
            "Live-blog checks by source of the answer; let_through: no answer, event accepted anyway",
            lookups,
        );
        metrics
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Lookups of a database that refuses connections, because nothing listens on port 1.
    fn away(waiting_max: usize) -> (LiveBlogs, TaskTracker) {
        let tasks = TaskTracker::new();
        let (settings, pool) = settings(waiting_max);
        (LiveBlogs::start(&settings, pool, &mut Registry::default(), &tasks), tasks)
    }

    /// The same without a running task; the caller holds it.
    fn unattended(waiting_max: usize) -> (LiveBlogs, LookupTask) {
        let (settings, pool) = settings(waiting_max);
        let known = Cache::new(settings.ids_max);
        let (lookups, waiting) = mpsc::channel(waiting_max);
        let live_blogs = LiveBlogs {
            known: known.clone(),
            lookups,
            lookup_timeout: Duration::from_millis(settings.lookup_timeout_ms),
            metrics: Metrics::register(&mut Registry::default()),
        };
        (live_blogs, LookupTask { settings, pool, known, waiting, away_until: None })
    }

    fn settings(waiting_max: usize) -> (Settings, Pool) {
        let database = database::Settings {
            url: "postgres://blogs_api@127.0.0.1:1/commonplace".into(),
            pool_max: 1,
            instances_max: 1,
            connect_timeout_ms: 1000,
            wait_timeout_ms: 1000,
        };
        let settings = Settings {
            ids_max: 10,
            ttl_ms: 60_000,
            lookup_timeout_ms: 1000,
            away_ms: 60_000,
            waiting_max,
            lookup_ids_max: 10,
        };
        (settings, Pool::new(&database, "test").unwrap())
    }

    #[tokio::test]
    async fn events_are_accepted_while_the_database_is_down() {
        let (live_blogs, tasks) = away(8);
        live_blogs.known.insert(1, ()).await;
        assert_eq!(live_blogs.is_live(1).await, Presence::Live);
        assert_eq!(live_blogs.is_live(2).await, Presence::Unknown);
        let found = live_blogs.among(&[1, 2, 3]).await;
        assert_eq!(
            [found.of(1), found.of(2), found.of(3)],
            [Presence::Live, Presence::Unknown, Presence::Unknown]
        );
        assert_eq!(live_blogs.metrics.let_through.get(), 2);

        live_blogs.forget(1).await;
        assert_eq!(live_blogs.is_live(1).await, Presence::Unknown);

        drop(live_blogs);
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn full_lookup_queue_lets_requests_through() {
        let (live_blogs, _task) = unattended(1);
        let (answer, _answered) = oneshot::channel();
        live_blogs.lookups.try_send(Lookup { blog_ids: BTreeSet::from([1]), answer }).unwrap();
        assert_eq!(live_blogs.is_live(2).now_or_never(), Some(Presence::Unknown), "at once");
    }

    #[tokio::test]
    async fn lookup_wait_is_limited_by_the_timeout() {
        let (mut live_blogs, mut task) = unattended(2);
        live_blogs.lookup_timeout = Duration::from_millis(20);
        let began = Instant::now();
        assert_eq!(live_blogs.is_live(1).await, Presence::Unknown);
        assert!(began.elapsed() >= live_blogs.lookup_timeout);

        // No request waits for it any more.
        let (answer, _answered) = oneshot::channel();
        live_blogs.lookups.try_send(Lookup { blog_ids: BTreeSet::from([2]), answer }).unwrap();
        let (lookups, blog_ids) = task.next().await.unwrap();
        assert_eq!((lookups.len(), blog_ids), (1, BTreeSet::from([2])));
        drop(live_blogs);
        assert!(task.next().await.is_none());
    }

    #[tokio::test]
    async fn loss_of_the_task_is_detected() {
        let (live_blogs, task) = unattended(1);
        assert_eq!(live_blogs.ended().now_or_never(), None);
        drop(task);
        live_blogs.ended().await;
        assert_eq!(live_blogs.is_live(1).now_or_never(), Some(Presence::Unknown));
    }
}
