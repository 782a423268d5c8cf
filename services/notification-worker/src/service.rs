//! The process: what it starts and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use database::Pool;
use prometheus_client::registry::Registry;
use runtime::health::{Health, ReadyRule};
use runtime::process;
use runtime::service::{Process, Statements, UpContext};
use runtime::settings::{Defaults, Loader};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::consume::Consuming;
use crate::find::Finding;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::work::Work;
use crate::{DEFAULTS, SQL, partitions, watch};

/// Maximum time for work in progress at shutdown. Orchestrators kill the process after 10 s.
const DRAIN_MAX: Duration = Duration::from_secs(9);

/// A worker that is ready to run.
pub struct Service {
    settings: Settings,
    listener: TcpListener,
    pool: Pool,
}

impl runtime::service::Service for Service {
    type Settings = Settings;

    const NAME: &'static str = "notification-worker";
    const ABOUT: &'static str = "Notifies followers of new blogs; operations endpoints on 8091";
    const ROLE: &'static str = "notification_worker";
    const USES_RABBITMQ: bool = true;
    const DEFAULTS: Defaults = DEFAULTS;
    const STATEMENTS: &'static [Statements] = &[Statements::of(&SQL)];

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
        let address = settings.http.address;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address} (http.address)"))?;
        Ok(Self { settings, listener, pool })
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.settings.http.address)
    }

    async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { settings, listener, pool } = self;
        // If one task fails, `process::work` cancels this token so that the others drain. It is a child token, so the caller's
        // stays uncancelled.
        let shutdown = shutdown.child_token();
        let ending = shutdown.clone();
        let mut registry = Registry::default();
        database::register_pools(&mut registry, [("all", &pool)]);
        let metrics = Metrics::register(&mut registry);
        let health = Health::new(ReadyRule::All(&["database", "fan-outs", "rabbitmq"]));
        let bell = Arc::new(Notify::new());
        let names = settings.http.host_names.clone();

        let mut tasks = JoinSet::new();
        let consuming = Consuming {
            broker: settings.broker.clone(),
            settings: settings.events.clone(),
            pool: pool.clone(),
            bell: Arc::clone(&bell),
            health: health.clone(),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        tasks.spawn(consuming.run());
        let finding = Finding {
            interval: Duration::from_millis(settings.fan_out.find_interval_ms),
            days_kept: settings.partitions.days_kept,
            pool: pool.clone(),
            bell: Arc::clone(&bell),
            health: health.clone(),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        tasks.spawn(finding.run());
        tasks.spawn(partitions::run(settings.partitions, pool.clone(), metrics.clone(), shutdown.clone()));
        tasks.spawn(watch::run(pool.clone(), health.clone(), metrics.clone(), shutdown.clone()));
        tasks.spawn(database::drift::watch_own_role(
            pool.clone(),
            health.warner("role"),
            shutdown.clone().cancelled_owned(),
        ));
        let work = Work { settings, pool, bell, health: health.clone(), metrics, shutdown };
        tasks.spawn(work.run());

        Ok(process::work(listener, &names, health, registry, tasks, &ending, DRAIN_MAX).await?)
    }

    fn settings_in_up(loader: Loader, _up: &UpContext<'_>) -> Loader {
        loader
    }
}
