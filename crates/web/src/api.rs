//! An HTTP API that reads the shared tables: its settings, the state of its handlers, its listeners and its background tasks.
//! A service adds its routes and its statements. One pool is enough for most ([`Api::start`]); a service with other pools and
//! tasks uses [`Api::bind`] and [`Api::run_with`].
//!
//! The Blogs API, which also accepts writes and serves pages, is built in its own crate from the same parts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use database::Pool;
use prometheus_client::registry::Registry;
use runtime::health::{Health, ReadyRule};
use runtime::service::{Process, UpContext};
use runtime::settings::{Bound, Loader, LogSettings};
use runtime::shutdown::Lost;
use runtime::traces::TraceSettings;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::client_address::TrustedProxies;
use crate::frame::{Frame, HttpMetrics};
use crate::limits::{self, Limits, ReadRateSettings};
use crate::server::{self, ListenError, Listeners, Routers};
use crate::settings::{DocsSettings, HttpSettings, RequestSettings};
use crate::tokens::{Epochs, TokenSettings, Tokens};

/// Memory of an API in addition to requests and connections.
const BASE_BYTES: usize = 16 << 20;
/// The part of readiness that [`Api::run`] reports.
const DATABASE: &str = "database";

/// The settings of an API that reads; each field is a section of `config/default.toml` or of the service's own file.
#[derive(Debug, Clone, Deserialize)]
pub struct ApiSettings {
    /// The listeners.
    pub http: HttpSettings,
    /// Whether the API's documentation is served.
    pub docs: DocsSettings,
    /// Logging.
    pub log: LogSettings,
    /// Where traces are sent.
    pub traces: TraceSettings,
    /// The shared database, under the service's role.
    pub database: database::Settings,
    /// Limits of a request.
    pub requests: RequestSettings,
    /// Verification of tokens.
    pub tokens: TokenSettings,
    /// Rate limits.
    pub rate_limits: ReadRateSettings,
}

/// The bounds of these settings.
pub const BOUNDS: &[&[Bound]] = &[
    runtime::traces::BOUNDS,
    database::BOUNDS,
    crate::settings::BOUNDS,
    crate::tokens::BOUNDS,
    crate::limits::BOUNDS,
];

impl ApiSettings {
    /// The settings that the process itself needs.
    #[must_use]
    pub fn process(&self) -> Process<'_> {
        Process { log: &self.log, traces: &self.traces, readiness: self.http.readiness() }
    }

    /// Checks the rules between several settings.
    ///
    /// # Errors
    /// [`ApiError::Settings`].
    pub fn validate(&self) -> Result<(), ApiError> {
        self.requests.validate(BASE_BYTES).map_err(ApiError::Settings)
    }
}

/// The settings that `commonplace up` adds for an API that verifies tokens.
#[must_use]
pub fn settings_in_up(loader: Loader, up: &UpContext<'_>) -> Loader {
    loader
        .set("http.operations_address", "127.0.0.1:0")
        .set("docs.enabled", true)
        .set("tokens.verifying_keys", up.session_verifying_keys)
        .set("rate_limits.enabled", false)
}

/// Why an API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A setting is invalid; the message says what to change.
    #[error("{0}")]
    Settings(String),
    /// A connection pool cannot be created, or the role's share of connections is too small.
    #[error("cannot prepare the connections to Postgres")]
    Database(#[from] database::Error),
    /// An address cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system does not tell which address was bound.
    #[error("cannot read the address that was bound")]
    Address(#[from] io::Error),
}

/// The state of an API's handlers.
#[derive(Clone, FromRef)]
pub struct ApiState {
    /// The pool that answers are read from.
    pub pool: Pool,
    /// Verifies bearer tokens.
    pub tokens: Arc<Tokens>,
    /// Rate limits.
    pub limits: Limits,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: TrustedProxies,
}

impl ApiState {
    /// Reads answers from `pool` and the epochs of tokens from `primary`: a replica that lags would accept a revoked token and
    /// reject a new account's.
    ///
    /// # Errors
    /// [`ApiError::Settings`].
    pub fn new(
        settings: &ApiSettings,
        pool: Pool,
        primary: Pool,
        registry: &mut Registry,
    ) -> Result<Self, ApiError> {
        let epochs = Epochs::new(&settings.tokens, primary, registry);
        let tokens = Tokens::new(&settings.tokens, epochs).map_err(ApiError::Settings)?;
        let trusted_proxies = TrustedProxies(settings.requests.trusted_proxies.as_slice().into());
        let limits = Limits::new(&settings.rate_limits.into());
        Ok(Self { pool, tokens: Arc::new(tokens), limits, trusted_proxies })
    }
}

/// An API that is ready to run.
pub struct Api {
    listeners: Listeners,
    address: SocketAddr,
    operations_address: SocketAddr,
    routers: Routers,
    requests: RequestSettings,
    state: ApiState,
    health: Health,
}

impl Api {
    /// Validates the settings, creates the pool and binds the listeners. Postgres need not be reachable yet. `about` is the title
    /// and the description in the OpenAPI document. The API is ready while the pool has a connection that answers.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn start(
        settings: &ApiSettings,
        name: &'static str,
        about: (&str, &str),
        mut registry: Registry,
        routes: OpenApiRouter<ApiState>,
    ) -> Result<Self, ApiError> {
        settings.validate()?;
        let pool = Pool::new(&settings.database, name)?;
        database::register_pools(&mut registry, [("all", &pool)]);
        database::check_connections_at_start(&pool, &settings.database).await?;
        let state = ApiState::new(settings, pool.clone(), pool, &mut registry)?;
        let health = Health::new(ReadyRule::All(&[DATABASE]));
        let document = crate::openapi::base(about.0, about.1, "Requests can be answered");
        Self::bind(settings, state.clone(), health, registry, document, routes, state).await
    }

    /// Binds the listeners and surrounds the routes with the rate limits of reads and with the [`Frame`]. `document` is the
    /// base of the OpenAPI document, to which the routes add theirs.
    ///
    /// # Errors
    /// [`ApiError::Listen`] and [`ApiError::Address`].
    pub async fn bind<S>(
        settings: &ApiSettings,
        state: ApiState,
        health: Health,
        mut registry: Registry,
        document: OpenApi,
        routes: OpenApiRouter<S>,
        handlers: S,
    ) -> Result<Self, ApiError>
    where
        S: Clone + Send + Sync + 'static,
    {
        let listeners = Listeners::bind(&settings.http).await?;
        let address = listeners.address()?;
        let operations_address = listeners.operations_address()?;
        let routes = routes.layer(from_fn_with_state(state.clone(), limits::requests::<ApiState>));
        let (product, document) = OpenApiRouter::with_openapi(document).merge(routes).split_for_parts();
        let frame = Frame {
            health: health.clone(),
            metrics: HttpMetrics::register(&mut registry),
            registry,
            cors: None,
            limits: state.limits.clone(),
            trusted_proxies: state.trusted_proxies.clone(),
            pages: None,
            has_operations_listener: settings.http.operations_address.is_some(),
            docs: settings.docs,
        };
        let routers = frame.around(product.with_state(handlers), document, &settings.requests);
        let requests = settings.requests.clone();
        Ok(Self { listeners, address, operations_address, routers, requests, state, health })
    }

    /// The address of its routes, with the actual port if 0 was requested.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of `/metrics` and `/readyz`.
    #[must_use]
    pub fn operations_address(&self) -> SocketAddr {
        self.operations_address
    }

    /// Serves until `shutdown`, and reports whether the pool has a connection that answers.
    ///
    /// # Errors
    /// A task ended early.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Lost> {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let health = self.health.clone();
        let report = move |state| health.report(DATABASE, state);
        tasks.spawn(database::watch(self.state.pool.clone(), report, stop.clone().cancelled_owned()));
        self.run_with(tasks, stop, shutdown).await
    }

    /// Serves until `shutdown`, together with the service's own tasks, which must run until `stop`. See [`server::run`].
    ///
    /// # Errors
    /// A task ended early.
    pub async fn run_with(
        self,
        mut tasks: JoinSet<()>,
        stop: CancellationToken,
        shutdown: CancellationToken,
    ) -> Result<(), Lost> {
        let Self { listeners, address, operations_address, routers, requests, state, health } = self;
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(database::drift::watch_own_role(state.pool, health.warner("role"), stopped));
        tasks.spawn(state.limits.sweep(stop.clone()));
        tracing::info!(%address, %operations_address, "listening");
        server::run(listeners, routers, &requests, tasks, &stop, &shutdown).await
    }
}
