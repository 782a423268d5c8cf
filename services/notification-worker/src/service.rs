//! The process: what is started, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use database::Pool;
use prometheus_client::registry::Registry;
use runtime::health::{Health, ReadyRule};
use runtime::process;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::consume::Consuming;
use crate::find::Finding;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::work::Work;
use crate::{partitions, watch};

/// Longest time for what is in hand at shutdown. Orchestrators kill after 10 s.
const DRAIN_MAX: Duration = Duration::from_secs(9);

/// A worker that is about to run.
pub struct Service {
    settings: Settings,
    listener: TcpListener,
    pool: Pool,
}

impl Service {
    /// Checks the settings and takes the port of health and metrics. Neither server needs to be there yet.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub async fn start(settings: Settings) -> Result<Self> {
        settings.validate()?;
        let pool = Pool::new(&settings.database, "notification-worker")?;
        database::check_connections_at_start(&pool, &settings.database).await?;
        let address = settings.http.address;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address} (http.address)"))?;
        Ok(Self { settings, listener, pool })
    }

    /// Where health and metrics are served.
    ///
    /// # Panics
    /// Never: a listener that is bound has an address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.settings.http.address)
    }

    /// Works until shutdown, then finishes the chunk in hand, settles and acks what has arrived, and returns.
    ///
    /// # Errors
    /// That health and metrics could not be served, or that a task of the worker panicked.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { settings, listener, pool } = self;
        // Its own end, too: when one task fails the others drain.
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
}
