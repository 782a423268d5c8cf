//! The process: what it starts and how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use broker::Queue;
use database::Pool;
use engagement::Engagement;
use prometheus_client::registry::Registry;
use runtime::health::{Health, ReadyRule};
use runtime::process;
use runtime::service::{Process, Statements, UpContext};
use runtime::settings::{Defaults, Loader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::consume::Consuming;
use crate::metrics::Metrics;
use crate::poison::Poison;
use crate::settings::Settings;
use crate::{DEFAULTS, SQL, partitions, popularity, reconcile, watch};

/// Time to close connections in an orderly way after the last batches.
const AFTER_DRAIN: Duration = Duration::from_secs(1);

/// A worker that is ready to run.
pub struct Service {
    settings: Settings,
    listener: TcpListener,
    pool: Pool,
    engagement: Engagement,
}

impl runtime::service::Service for Service {
    type Settings = Settings;

    const NAME: &'static str = "analytics-worker";
    const ABOUT: &'static str = "Adds engagement events to the shared counters; operations endpoints on 8090";
    const ROLE: &'static str = "analytics_worker";
    const USES_RABBITMQ: bool = true;
    const DEFAULTS: Defaults = DEFAULTS;
    const STATEMENTS: &'static [Statements] = &[Statements::of(&SQL), Statements::of(&engagement::SQL)];

    fn process(settings: &Settings) -> Process<'_> {
        Process { log: &settings.log, traces: &settings.traces, readiness: settings.http.address }
    }

    fn validate(settings: &Settings) -> Result<()> {
        settings.validate()
    }

    async fn start(settings: Settings) -> Result<Self> {
        settings.validate()?;
        let pool = Pool::new(&settings.database, Self::NAME)?;
        database::check_connections_at_start(&pool, &settings.database).await?;
        let engagement = Engagement::new(pool.clone(), &settings.engagement)?;
        let address = settings.http.address;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address} (http.address)"))?;
        Ok(Self { settings, listener, pool, engagement })
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.settings.http.address)
    }

    async fn run(self, shutdown: CancellationToken) -> Result<()> {
        // If one task fails, `process::work` cancels this token so that the others drain. It is a child token, so the caller's
        // stays uncancelled.
        let shutdown = shutdown.child_token();
        let mut registry = Registry::default();
        database::register_pools(&mut registry, [("all", &self.pool)]);
        let metrics = Metrics::register(&mut registry);
        let health = Health::new(ReadyRule::All(&["clock", "database", "rabbitmq", "rabbitmq-dead-letters"]));
        let consuming = Consuming {
            queue: Queue::Engagement,
            settings: self.settings.clone(),
            engagement: self.engagement.clone(),
            poison: Poison::new(self.settings.poison.clone(), self.pool.clone(), self.engagement.clone()),
            health: health.clone(),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };

        let mut tasks = JoinSet::new();
        tasks.spawn(consuming.clone().run());
        tasks.spawn(Consuming { queue: Queue::EngagementDead, ..consuming }.run());
        tasks.spawn(partitions::run(
            self.settings.clone(),
            self.pool.clone(),
            self.engagement,
            metrics.clone(),
            shutdown.clone(),
        ));
        tasks.spawn(reconcile::run(
            self.settings.reconcile,
            self.pool.clone(),
            metrics.clone(),
            shutdown.clone(),
        ));
        tasks.spawn(popularity::run(
            self.settings.popularity,
            self.pool.clone(),
            metrics.clone(),
            shutdown.clone(),
        ));
        let skew_max_s = self.settings.worker.clock_skew_max_s;
        tasks.spawn(database::drift::watch_own_role(
            self.pool.clone(),
            health.warner("role"),
            shutdown.clone().cancelled_owned(),
        ));
        tasks.spawn(watch::run(self.pool, skew_max_s, health.clone(), metrics, shutdown.clone()));

        let drain_max = Duration::from_secs(self.settings.worker.drain_timeout_s) + AFTER_DRAIN;
        let names = &self.settings.http.host_names;
        Ok(process::work(self.listener, names, health, registry, tasks, &shutdown, drain_max).await?)
    }

    fn settings_in_up(loader: Loader, _up: &UpContext<'_>) -> Loader {
        // Shows popular blogs soon after they become popular.
        loader.set("popularity.interval_s", 10)
    }
}
