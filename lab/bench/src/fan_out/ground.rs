//! The measurements, all in the same environment.

use std::time::{Duration, Instant};

use database::{Pool, Session, Statement, statement};
use events::WritePath;
use jiff::Timestamp;
use load::{Ask, Load, Pace, Spread, Tally};
use rand::RngExt;
use tokio::task::JoinSet;
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;

use super::cost::{self, Meters, Process};
use super::middleman::{self, Endpoints, News};
use super::{DONE_WITHIN, Error, Kills, Latency, Measured, Plan, Report, Told, UnderLoad, Way};
use crate::author::Author;
use crate::process::Service;
use crate::servers::url;
use crate::tables::Tables;

const FAN_OUT_STATE: Statement = statement!("fan_out_state.sql");
const FORGET_NOTIFICATIONS: Statement = statement!("forget_notifications.sql");
const MAKE_DAY: Statement = statement!("make_day.sql");
const RAW_FAN_OUT: Statement = statement!("raw_fan_out.sql");
const SEED_BLOG: Statement = statement!("seed_blog.sql");
const TOLD: Statement = statement!("told.sql");
/// Number of blogs viewed during a fan-out.
const VIEWED_BLOGS: i32 = 1000;
/// How long after the start of the large fan-out the small author publishes.
const BESIDE_AFTER: Duration = Duration::from_millis(500);
/// Load before a measurement, to warm up connections and caches.
const WARM_UP: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(5);
/// Longest time from a worker's first chunk until it is killed.
const KILLED_WITHIN_MS: u64 = 60;

/// The environment of all measurements of a run.
pub(super) struct Ground<'a> {
    pub(super) plan: &'a Plan,
    pub(super) database: Config,
    pub(super) amqp_url: String,
    pub(super) tables: Tables,
    /// The author with a million followers.
    pub(super) star: Author,
    /// The author whose followers are used to try page sizes.
    pub(super) sample: Author,
    /// The author with ten followers.
    pub(super) small: Author,
    pub(super) stop: &'a CancellationToken,
}

impl Ground<'_> {
    pub(super) async fn measure(&self, progress: &mut (dyn FnMut(&str) + Send)) -> Result<Report, Error> {
        let mut report = Report {
            followers: self.plan.followers,
            sample: self.plan.sample,
            connections: self.plan.connections,
            think_ms: self.plan.think.as_secs_f64() * 1000.0,
            ..Report::default()
        };
        for &page in &self.plan.pages {
            progress(&format!("the middleman in pages of {page}"));
            report.pages.push(self.middleman(&self.sample, page, 0).await?);
        }
        let page = report.best_page();
        progress(&format!("the naive middleman, {} followers", self.plan.naive));
        report.naive = Some(self.naive().await?);
        for round in 1..=self.plan.rounds {
            progress(&format!("round {round} of {}: one raw statement", self.plan.rounds));
            report.rounds.push(self.raw(round).await?);
            progress(&format!("round {round} of {}: the worker", self.plan.rounds));
            report.rounds.push(self.shared(round).await?);
            if let Some(page) = page {
                progress(&format!("round {round} of {}: the middleman", self.plan.rounds));
                report.rounds.push(self.middleman(&self.star, page, round).await?);
            }
        }
        let blogs = self.tables.seed_blogs(VIEWED_BLOGS).await?;
        for round in 1..=self.plan.rounds {
            progress(&format!(
                "round {round} of {}: the worker, beside readers and a small fan-out",
                self.plan.rounds
            ));
            report.under_load.push(self.under_load(&blogs).await?);
        }
        if self.plan.kills > 0 {
            progress(&format!("the worker, killed {} times", self.plan.kills));
            report.kills = Some(self.killed().await?);
        }
        Ok(report)
    }

    /// Deletes notifications, writes out dirty pages, and makes today's partition.
    async fn begin_anew(&self) -> Result<(), Error> {
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        self.tables.session.run(FORGET_NOTIFICATIONS.file, FORGET_NOTIFICATIONS.sql).await?;
        self.tables.query_one(MAKE_DAY, &[&Timestamp::now()]).await?;
        Ok(self.tables.checkpoint().await?)
    }

    async fn worker(&self) -> Result<Service, Error> {
        let mut worker = self.plan.service("notification-worker", &self.database, &self.amqp_url)?;
        worker.ready().await?;
        Ok(worker)
    }

    async fn raw(&self, round: u32) -> Result<Measured, Error> {
        self.begin_anew().await?;
        let before = Meters::read(&self.tables, Process::None).await?;
        let session = Session::open(&self.database).await?;
        let began = Instant::now();
        let inserted = session
            .client
            .execute(RAW_FAN_OUT.sql, &[&self.star.id, &Timestamp::now(), &0_i64])
            .await
            .map_err(database::Error::statement(RAW_FAN_OUT.file))?;
        let elapsed_s = began.elapsed().as_secs_f64();
        let after = Meters::read(&self.tables, Process::None).await?;
        drop(session);
        let told = i64::try_from(inserted).unwrap_or_default();
        let database_ms = cost::database_ms(&self.tables).await?;
        let cost = before.cost(&after, database_ms, self.plan.followers, elapsed_s, 0);
        // One statement without conflicts, because each row has a different recipient.
        let told = Told { rows: told, recipients: told, expected: self.plan.followers };
        Ok(Measured { way: Way::Raw, round, page: None, cost, told })
    }

    async fn shared(&self, round: u32) -> Result<Measured, Error> {
        let worker = self.worker().await?;
        self.begin_anew().await?;
        let before = Meters::read(&self.tables, Process::Service(&worker)).await?;
        let blog = self.star.publish("For everybody").await?;
        let elapsed_s = self.done(blog).await?;
        let after = Meters::read(&self.tables, Process::Service(&worker)).await?;
        worker.stop().await?;
        let database_ms = cost::database_ms(&self.tables).await?;
        let cost = before.cost(&after, database_ms, self.plan.followers, elapsed_s, 0);
        Ok(Measured { way: Way::Shared, round, page: None, cost, told: self.told(blog).await? })
    }

    /// A published blog of an author without an event, so that no worker starts its fan-out.
    async fn news(&self, author: &Author) -> Result<News, Error> {
        let row = self.tables.query_one(SEED_BLOG, &[&author.id]).await?;
        Ok(News { author_id: author.id, blog_id: row.get("id"), published_at: row.get("first_published_at") })
    }

    async fn endpoints(&self) -> Result<Endpoints, Error> {
        let pool = |role, password| {
            let settings = database::Settings {
                url: url(&self.database, role, password).into(),
                pool_max: 4,
                instances_max: 1,
                connect_timeout_ms: 5000,
                wait_timeout_ms: 60_000,
            };
            Pool::new(&settings, "middleman")
        };
        // The role that may read followers and inactive accounts, so that both methods run the same queries.
        let pool = pool("notification_worker", self.plan.roles.password("notification_worker"))?;
        Endpoints::start(pool).await.map_err(Error::Listen)
    }

    async fn middleman(&self, author: &Author, page: u32, round: u32) -> Result<Measured, Error> {
        self.begin_anew().await?;
        let (news, endpoints) = (self.news(author).await?, self.endpoints().await?);
        let before = Meters::read(&self.tables, Process::Own).await?;
        let began = Instant::now();
        let bytes = middleman::page_by_page(endpoints.address, news, page).await?;
        let elapsed_s = began.elapsed().as_secs_f64();
        let after = Meters::read(&self.tables, Process::Own).await?;
        endpoints.stop().await;
        let told = self.told(news.blog_id).await?;
        let database_ms = cost::database_ms(&self.tables).await?;
        let cost = before.cost(&after, database_ms, told.rows, elapsed_s, bytes);
        Ok(Measured { way: Way::Middleman, round, page: Some(page), cost, told })
    }

    async fn naive(&self) -> Result<Measured, Error> {
        self.begin_anew().await?;
        let (news, endpoints) = (self.news(&self.sample).await?, self.endpoints().await?);
        let (followers, connections) = (self.plan.naive, self.plan.naive_connections);
        let before = Meters::read(&self.tables, Process::Own).await?;
        let began = Instant::now();
        let bytes = middleman::one_by_one(endpoints.address, news, followers, connections).await?;
        let elapsed_s = began.elapsed().as_secs_f64();
        let after = Meters::read(&self.tables, Process::Own).await?;
        endpoints.stop().await;
        let expected = i64::try_from(followers).unwrap_or(i64::MAX).min(self.plan.sample);
        let told = Told { expected, ..self.told(news.blog_id).await? };
        let database_ms = cost::database_ms(&self.tables).await?;
        let cost = before.cost(&after, database_ms, told.rows, elapsed_s, bytes);
        Ok(Measured { way: Way::Naive, round: 1, page: None, cost, told })
    }

    async fn under_load(&self, blogs: &[i64]) -> Result<UnderLoad, Error> {
        let mut counter = self.plan.service("analytics-worker", &self.database, &self.amqp_url)?;
        counter.ready().await?;
        let worker = self.worker().await?;
        self.begin_anew().await?;
        let load = |duration| Load {
            target: self.star.api(),
            connections: self.plan.connections,
            duration,
            ask: Ask::View(WritePath::Message),
            pace: Pace::Closed { think: self.plan.think },
            blogs: blogs.to_vec(),
            spread: Spread::Zipf(1.1),
            anywhere: false,
            answer_max: crate::ANSWER_MAX,
            refused_pause: Duration::ZERO,
            progress: None,
            keep_times: false,
        };
        load(WARM_UP).run(self.stop).await?;
        let before = load(self.plan.load).run(self.stop).await?;

        let enough = self.stop.child_token();
        let mut beside = JoinSet::new();
        let (beside_load, ends) = (load(DONE_WITHIN), enough.clone());
        beside.spawn(async move { beside_load.run(&ends).await });
        let blog = self.star.publish("For everybody, beside readers").await?;
        tokio::time::sleep(BESIDE_AFTER).await;
        let beside_blog = self.small.publish("For ten, meanwhile").await?;
        let small_s = self.done(beside_blog).await?;
        let large_was_running = self.state(blog).await?.0.as_deref() == Some("running");
        let elapsed_s = self.done(blog).await?;
        enough.cancel();
        let mut during = Tally::default();
        while let Some(tally) = beside.join_next().await {
            during = tally??;
        }
        worker.stop().await?;
        counter.stop().await?;
        Ok(UnderLoad {
            before: Latency::of(&before),
            during: Latency::of(&during),
            elapsed_s,
            followers_per_s: self.plan.followers as f64 / elapsed_s,
            small_s,
            large_was_running,
            told: self.told(blog).await?,
            small_told: self.told(beside_blog).await?,
        })
    }

    async fn killed(&self) -> Result<Kills, Error> {
        let mut worker = self.worker().await?;
        self.begin_anew().await?;
        let blog = self.star.publish("Under fire").await?;
        let (mut kills, mut before) = (0, 0);
        while kills < self.plan.kills {
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let (state, looked_at) = self.state(blog).await?;
            if state.as_deref() == Some("done") {
                break;
            }
            if looked_at > before {
                let more = rand::rng().random_range(0..KILLED_WITHIN_MS);
                tokio::time::sleep(Duration::from_millis(more)).await;
                worker.kill_9().await?;
                kills += 1;
                before = self.state(blog).await?.1;
                worker = self.worker().await?;
            }
            tokio::time::sleep(POLL).await;
        }
        let elapsed_s = self.done(blog).await?;
        worker.stop().await?;
        Ok(Kills { kills, elapsed_s, told: self.told(blog).await? })
    }

    /// Waits for the end of a fan-out: seconds from the publishing of its blog, by the database's clock.
    async fn done(&self, blog: i64) -> Result<f64, Error> {
        let began = Instant::now();
        while began.elapsed() < DONE_WITHIN {
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            let row = self.tables.query_one(FAN_OUT_STATE, &[&blog]).await?;
            if row.get::<_, Option<&str>>("state") == Some("done") {
                return Ok(row.get::<_, Option<f64>>("seconds").unwrap_or_default());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::NotDone { blog })
    }

    async fn state(&self, blog: i64) -> Result<(Option<String>, i64), Error> {
        let row = self.tables.query_one(FAN_OUT_STATE, &[&blog]).await?;
        Ok((row.get("state"), row.get::<_, Option<i64>>("looked_at").unwrap_or_default()))
    }

    async fn told(&self, blog: i64) -> Result<Told, Error> {
        let row = self.tables.query_one(TOLD, &[&blog]).await?;
        Ok(Told { rows: row.get("rows"), recipients: row.get("recipients"), expected: row.get("expected") })
    }
}
