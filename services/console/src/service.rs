//! The process: what it starts and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use database::Pool;
use prometheus_client::registry::Registry;
use runtime::health::{Health, ReadyRule};
use runtime::metrics::{liveness_router, operations_router};
use runtime::service::{Process, Statements, UpContext};
use runtime::settings::{Defaults, Loader};
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
use crate::{DEFAULTS, SQL};

const NAME: &str = "console";
/// The service that a load is sent to.
const LOADED: &str = "blogs-api";
/// Connections per client address. Under `up` all browsers share one: a browser opens about six, and one more for each
/// open page.
const CONNECTIONS_IN_UP: i64 = 64;
/// The token has at least 128 bits: ten attempts a minute are enough for people who mistype it.
const SIGN_INS_PER_MINUTE: u32 = 10;

/// A console that is ready to run.
pub struct Service {
    settings: Settings,
    listeners: Listeners,
    pool: Pool,
}

impl runtime::service::Service for Service {
    type Settings = Settings;

    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "The operators' live view; HTTP on 8082, operations endpoints on 9082";
    const ROLE: &'static str = "console";
    const USES_RABBITMQ: bool = true;
    const DEFAULTS: Defaults = DEFAULTS;
    const STATEMENTS: &'static [Statements] = &[Statements::of(&SQL)];
    const PORT: Option<u16> = Some(2);

    fn process(settings: &Settings) -> Process<'_> {
        Process { log: &settings.log, traces: &settings.traces, readiness: settings.http.readiness() }
    }

    fn validate(settings: &Settings) -> Result<()> {
        settings.validate()
    }

    async fn start(settings: Settings) -> Result<Self> {
        settings.validate()?;
        let pool = Pool::new(&settings.database, NAME)?;
        database::check_connections_at_start(&pool, &settings.database).await?;
        let listeners = Listeners::bind(&settings.http).await?;
        Ok(Self { settings, listeners, pool })
    }

    fn address(&self) -> SocketAddr {
        self.listeners.address().unwrap_or(self.settings.http.address)
    }

    fn operations_address(&self) -> SocketAddr {
        self.listeners.operations_address().unwrap_or(self.settings.http.readiness())
    }

    // A running load is stopped at the end.
    async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { settings, listeners, pool } = self;
        let mut registry = Registry::default();
        database::register_pools(&mut registry, [("all", &pool)]);
        let shutdown = shutdown.child_token();
        let health = Health::new(ReadyRule::All(&["looking"]));
        let client = reqwest::Client::builder().no_proxy().build().context("creating the HTTP client")?;
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

    fn settings_in_up(loader: Loader, up: &UpContext<'_>) -> Loader {
        let loader = loader
            .set("http.operations_address", "127.0.0.1:0")
            .set("requests.connections_max", 16 * CONNECTIONS_IN_UP)
            .set("requests.connections_per_address_max", CONNECTIONS_IN_UP)
            .set("access.secure_cookies", false)
            .set("load.enabled", true);
        up.started.iter().fold(loader, |loader, service| {
            let loader = loader.set(format!("scrape.{}", service.role), vec![service.operations_url()]);
            if service.name == LOADED { loader.set("load.api", service.url()) } else { loader }
        })
    }

    fn links(url: &str) -> Vec<(&'static str, String)> {
        vec![("to watch (console)", format!("{url}/"))]
    }
}

/// The rate limit of token attempts per address. Other requests have no limit per address: `[requests]` bounds what the
/// token protects.
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
