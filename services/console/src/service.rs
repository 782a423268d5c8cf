//! The process: what is started, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use database::Pool;
use prometheus_client::registry::Registry;
use runtime::health::{Health, ReadyRule};
use runtime::metrics::{liveness_router, operations_router};
use runtime::shutdown::together;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::client_address::TrustedProxies;
use web::limits::{Limits, RateSettings};
use web::server::{Listeners, Routers};

use crate::collect;
use crate::findings::Findings;
use crate::load::Load;
use crate::picture::Picture;
use crate::routes::{self, Callers, Console};
use crate::sample::Sampler;
use crate::settings::Settings;

/// The token has 128 bits or more: ten tries a minute are for people who mistype it.
const SIGN_INS_PER_MINUTE: u32 = 10;

/// A console that is about to run.
pub struct Service {
    settings: Settings,
    listeners: Listeners,
    pool: Pool,
}

impl Service {
    /// Checks the settings and takes the port. Nothing that it looks at needs to be there yet.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub async fn start(settings: Settings) -> Result<Self> {
        settings.validate()?;
        let pool = Pool::new(&settings.database, "console")?;
        database::check_connections_at_start(&pool, &settings.database).await?;
        let listeners = Listeners::bind(&settings.http).await?;
        Ok(Self { settings, listeners, pool })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listeners.address().unwrap_or(self.settings.http.address)
    }

    /// Where `/metrics` and `/readyz` are served.
    #[must_use]
    pub fn operations_address(&self) -> SocketAddr {
        self.listeners.operations_address().unwrap_or(self.settings.http.readiness())
    }

    /// Looks and shows until shutdown. A load that is running is stopped.
    ///
    /// # Errors
    /// That a task of it panicked.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { settings, listeners, pool } = self;
        let mut registry = Registry::default();
        database::register_pools(&mut registry, [("all", &pool)]);
        let shutdown = shutdown.child_token();
        let health = Health::new(ReadyRule::All(&["looking"]));
        let client = reqwest::Client::builder().no_proxy().build().context("making an HTTP client")?;
        let sampler = Sampler::new(&settings, client.clone(), pool.clone());
        let loads = TaskTracker::new();
        let load = Load::new(&settings.load, sampler.clone(), client, loads.clone(), shutdown.clone());
        let (pictures, shown) = watch::channel(Arc::new(Picture::default()));
        let findings = Findings::default();

        let mut tasks = JoinSet::new();
        tasks.spawn(collect::pictures(
            settings.scrape.every(),
            sampler,
            findings.clone(),
            load.clone(),
            health.clone(),
            pictures,
            shutdown.clone(),
        ));
        tasks.spawn(database::drift::watch_own_role(
            pool.clone(),
            health.warner("role"),
            shutdown.clone().cancelled_owned(),
        ));
        tasks.spawn(collect::findings(pool, findings, shutdown.clone()));
        let limits = Limits::new(&sign_ins());
        tasks.spawn(limits.clone().sweep(shutdown.clone()));
        let trusted_proxies = TrustedProxies(settings.requests.trusted_proxies.as_slice().into());
        let callers = Callers { limits, trusted_proxies };
        let console = Console::new(settings.access, shown, load, callers, shutdown.clone());
        let operations = operations_router(health, Arc::new(registry));
        let of_public = match settings.http.operations_address {
            Some(_) => liveness_router(),
            None => operations.clone(),
        };
        let routers =
            Routers { public: routes::routes(console, &settings.requests).merge(of_public), operations };
        let serving = shutdown.clone();
        let serve = web::server::serve(listeners, routers, &settings.requests, serving);
        let ((), ended) = tokio::join!(serve, together(tasks, &shutdown));
        shutdown.cancel();
        loads.close();
        loads.wait().await;
        ended.context("looking")
    }
}

/// How often the token may be tried from one address. Nothing else is limited by address here: what is behind the token is
/// bounded by `[requests]`.
fn sign_ins() -> RateSettings {
    RateSettings {
        enabled: true,
        sign_in_per_minute: SIGN_INS_PER_MINUTE,
        write_per_minute: u32::MAX,
        read_per_minute: u32::MAX,
        engagement_per_minute: u32::MAX,
        buckets_max: 4096,
    }
}
