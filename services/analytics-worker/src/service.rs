//! The process: what is started, and how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use broker::Queue;
use database::Pool;
use engagement::Engagement;
use prometheus_client::registry::Registry;
use runtime::health::{Health, ReadyRule};
use runtime::process;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::consume::Consuming;
use crate::metrics::Metrics;
use crate::poison::Poison;
use crate::settings::Settings;
use crate::{partitions, popularity, reconcile, watch};

/// Time for connections to end in order after the last batches had theirs.
const AFTER_DRAIN: Duration = Duration::from_secs(1);

/// A worker that is about to run.
pub struct Service {
    settings: Settings,
    listener: TcpListener,
    pool: Pool,
    engagement: Engagement,
}

impl Service {
    /// Checks the settings and takes the port of health and metrics. Neither server needs to be there yet.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub async fn start(settings: Settings) -> Result<Self> {
        settings.validate()?;
        let pool = Pool::new(&settings.database, "analytics-worker")?;
        database::check_connections_at_start(&pool, &settings.database).await?;
        let engagement = Engagement::new(pool.clone(), &settings.engagement)?;
        let address = settings.http.address;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {address} (http.address)"))?;
        Ok(Self { settings, listener, pool, engagement })
    }

    /// Where health and metrics are served.
    ///
    /// # Panics
    /// Never: a listener that is bound has an address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.settings.http.address)
    }

    /// Works until shutdown, then applies and acks what has arrived, and returns.
    ///
    /// # Errors
    /// That health and metrics could not be served, or that a task of the worker panicked.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        // Its own end, too: when one task fails the others drain.
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
}
