//! The service: starts its parts, runs them, and stops them in order.
//!
//! Starting validates the settings and binds the listeners; it does not require any server to be reachable. The service
//! stops in order: no new connections, running requests finish, then the tasks behind them (the publisher, then the
//! spill that it hands over to), then the connections to Postgres and RabbitMQ.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use broker::Publisher;
use database::Pool;
use events::Clock;
use prometheus_client::registry::Registry;
use runtime::health::Health;
use runtime::service::{Process, Statements, UpContext};
use runtime::settings::{Defaults, Loader};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::frame::HttpMetrics;
use web::server::{self, Listeners, Routers, TASKS_MAX};

use crate::SQL;
use crate::acceptance::{Acceptance, Spill};
use crate::api::{accounts, idempotency};
use crate::auth::{Epochs, Passwords, Tries};
use crate::client_address::TrustedProxies;
use crate::clock_check::ClockCheck;
use crate::limits::Limits;
use crate::live_blogs::LiveBlogs;
use crate::outbox::Outbox;
use crate::outbox::relay::Relay;
use crate::readiness;
use crate::routes;
use crate::settings::{DEFAULTS, Settings};
use crate::state::{AppState, Parts};

const NAME: &str = "blogs-api";
/// Connections per client address; under `up` all clients share one address.
const CONNECTIONS_IN_UP: i64 = 128;
const ASKING: &str = "cannot read the address that was bound";

/// The service, ready to run.
pub struct Service {
    listeners: Listeners,
    address: SocketAddr,
    operations_address: SocketAddr,
    routers: Routers,
    state: AppState,
    health: Health,
    publisher: Publisher,
    spill: JoinHandle<()>,
    relay: Relay,
    /// The tasks that serve requests; they end when the state and the publisher do.
    tasks: TaskTracker,
    /// Stops the publisher.
    ending: CancellationToken,
}

impl Service {
    /// Starts the service with the given clock instead of this machine's.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub async fn start_with_clock(settings: Settings, clock: Clock) -> anyhow::Result<Self> {
        settings.validate()?;
        let listeners = Listeners::bind(&settings.http).await?;
        let address = listeners.address().context(ASKING)?;
        let operations_address = listeners.operations_address().context(ASKING)?;
        let mut registry = Registry::default();
        let pool = Pool::new(&settings.database, NAME)?;
        database::register_pools(&mut registry, [("all", &pool)]);
        let (tasks, ending) = (TaskTracker::new(), CancellationToken::new());
        let epochs = Epochs::new(&settings.tokens.verifying, pool.clone(), &mut registry);
        let tokens = settings.tokens.verifier(epochs).map_err(anyhow::Error::msg)?;
        let issuer = settings.tokens.issuer().map_err(anyhow::Error::msg)?;
        let passwords = Passwords::new(&settings.passwords).map_err(anyhow::Error::msg)?;
        let tries = Tries::new(&settings.passwords, &settings.rate_limits);
        let limits = Limits::new(&settings.rate_limits);
        let outbox = Outbox::new(settings.engagement.spill.outbox_envelopes_max);
        let (hand_over, overdue) = settings.engagement.spill.open();
        let (broker, ends) = (&settings.broker, ending.clone());
        let clock = ClockCheck::register(clock, settings.engagement.refuse_on_clock_skew, &mut registry);
        let stamps = clock.clock().clone();
        let publisher =
            Publisher::start_handing_over(broker, NAME, hand_over, stamps, &mut registry, &tasks, ends)?;
        let spill = Spill::new(&settings.engagement, pool.clone(), outbox.clone(), overdue, &mut registry);
        let spill = tasks.spawn(spill.run());
        let relay =
            Relay::new(&settings.relay, pool.clone(), publisher.clone(), outbox.clone(), &mut registry)?;
        let live_blogs =
            LiveBlogs::start(&settings.engagement.live_blogs, pool.clone(), &mut registry, &tasks);
        let engagement = Acceptance::start(
            &settings.engagement,
            pool.clone(),
            publisher.clone(),
            clock.clone(),
            &mut registry,
            &tasks,
        )?;
        let metrics = HttpMetrics::register(&mut registry);
        database::check_connections_at_start(&pool, &settings.database).await?;
        let state = AppState::new(Parts {
            pool,
            trusted_proxies: TrustedProxies(settings.requests.trusted_proxies.as_slice().into()),
            settings,
            issuer,
            tokens: Arc::new(tokens),
            passwords,
            tries,
            limits,
            engagement,
            live_blogs,
            outbox,
            clock,
            tasks: tasks.clone(),
        });
        let health = Health::new(readiness::RULE);
        let routers = routes::router(&state, health.clone(), registry, metrics)?;
        Ok(Self {
            listeners,
            address,
            operations_address,
            routers,
            state,
            health,
            publisher,
            spill,
            relay,
            tasks,
            ending,
        })
    }

    #[cfg(test)]
    pub(crate) fn router(&self) -> axum::Router {
        self.routers.public.clone()
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> &AppState {
        &self.state
    }
}

impl runtime::service::Service for Service {
    type Settings = Settings;

    const NAME: &'static str = NAME;
    const ABOUT: &'static str =
        "Accounts, blogs and the acceptance of engagement; HTTP on 8080, operations endpoints on 9080";
    const ROLE: &'static str = "blogs_api";
    const USES_RABBITMQ: bool = true;
    const DEFAULTS: Defaults = DEFAULTS;
    const STATEMENTS: &'static [Statements] = &[
        Statements::of(&SQL),
        Statements::of(&web::SQL),
        Statements::of_members("engagement_writer", "blogs-api (direct path)", &::engagement::SQL),
    ];
    const PORT: Option<u16> = Some(0);

    fn process(settings: &Settings) -> Process<'_> {
        Process { log: &settings.log, traces: &settings.traces, readiness: settings.http.readiness() }
    }

    fn validate(settings: &Settings) -> anyhow::Result<()> {
        settings.validate()
    }

    async fn start(settings: Settings) -> anyhow::Result<Self> {
        Self::start_with_clock(settings, Clock::system()).await
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn operations_address(&self) -> SocketAddr {
        self.operations_address
    }

    async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            listeners,
            address,
            operations_address,
            routers,
            state,
            health,
            publisher,
            spill,
            relay,
            tasks,
            ending,
        } = self;
        let mut background = JoinSet::new();
        let stop = CancellationToken::new();
        background.spawn(relay.run(stop.clone()));
        background.spawn(state.limits.clone().sweep(stop.clone()));
        background.spawn(state.tries.clone().sweep(stop.clone()));
        background.spawn(idempotency::forget_old(state.pool.clone(), stop.clone()));
        let accounts = state.settings.accounts;
        background.spawn(accounts::forget_deleted(accounts, state.pool.clone(), stop.clone()));
        let (pool, outbox, clock) = (state.pool.clone(), state.outbox.clone(), state.clock.clone());
        background.spawn(database::drift::watch_own_role(
            pool.clone(),
            health.warner("role"),
            stop.clone().cancelled_owned(),
        ));
        background.spawn(readiness::watch(health, pool, outbox, clock, publisher.state(), stop.clone()));
        background.spawn(any_lost(state.clone(), spill, stop.clone()));
        tracing::info!(%address, %operations_address, "listening");
        let requests = &state.settings.requests;
        let ended = server::run(listeners, routers, requests, background, &stop, &shutdown).await;
        ending.cancel();
        drop((state, publisher));
        tasks.close();
        if timeout(TASKS_MAX, tasks.wait()).await.is_err() {
            tracing::warn!("the publisher's tasks were still running when the shutdown time ran out");
        }
        ended.context("a background task failed")
    }

    fn settings_in_up(loader: Loader, up: &UpContext<'_>) -> Loader {
        loader
            .set("http.operations_address", "127.0.0.1:0")
            .set("docs.enabled", true)
            .set("requests.connections_max", 16 * CONNECTIONS_IN_UP)
            .set("requests.connections_per_address_max", CONNECTIONS_IN_UP)
            .set("engagement.direct_path", true)
            .set("engagement.allow_write_path_header", true)
            .set("engagement.visitor_secret", up.visitor_secret)
            .set("tokens.signing_keys", up.session_signing_keys)
            .set("tokens.import_verifying_keys", up.import_verifying_keys)
            .set("pages.secure_cookies", false)
            .set("rate_limits.enabled", false)
    }

    fn links(url: &str) -> Vec<(&'static str, String)> {
        vec![
            ("to read and write", format!("{url}/")),
            ("Blogs API", url.to_owned()),
            ("its documentation", format!("{url}/docs")),
            ("its description", format!("{url}/openapi.json")),
        ]
    }
}

/// Returns when a task that requests depend on has ended before `stop`. Without it, all such requests would be refused,
/// and nothing else would show why.
async fn any_lost(state: AppState, spill: JoinHandle<()>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = state.engagement.ended() => {}
        () = state.live_blogs.ended() => {}
        // The panic has already been logged.
        _ = spill => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use runtime::service::Service as _;

    use crate::routes::tests::service;

    use super::*;

    #[tokio::test]
    async fn loss_of_a_background_task_ends_the_service() {
        let mut service = service().await;
        service.spill = service.tasks.spawn(async { panic!("as the test wants it") });
        let shutdown = CancellationToken::new();
        let ended = timeout(Duration::from_secs(60), service.run(shutdown.clone())).await.unwrap();
        assert!(ended.is_err() && !shutdown.is_cancelled(), "{ended:?}");
    }

    #[tokio::test]
    async fn service_runs_until_shutdown() {
        let service = service().await;
        let shutdown = CancellationToken::new();
        let run = service.run(shutdown.clone());
        tokio::pin!(run);
        assert!(timeout(Duration::from_millis(200), &mut run).await.is_err());
        shutdown.cancel();
        timeout(Duration::from_secs(60), run).await.unwrap().unwrap();
    }
}
