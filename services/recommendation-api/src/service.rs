//! The process: what it starts and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use database::Pool;
use prometheus_client::registry::Registry;
use runtime::health::{Health, ReadyRule};
use runtime::service::{Process, Statements, UpContext};
use runtime::settings::{Defaults, Loader};
use runtime::shutdown::together;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use web::client_address::TrustedProxies;
use web::frame::{Frame, HttpMetrics};
use web::limits::Limits;
use web::server::{self, Listeners, Routers};
use web::settings::RequestSettings;
use web::tokens::{Epochs, Tokens};

use crate::answer::{self, AppState};
use crate::freshness::Freshness;
use crate::learn::Learn;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::{DEFAULTS, SQL};

const NAME: &str = "recommendation-api";
const ASKING: &str = "asking for the address that was bound";
/// The database that answers are read from. The service is ready if it can answer; if learning stops, it is only
/// degraded.
const READS: &str = "reads";
/// Maximum wait for the tasks to end after the last request.
const TASKS_MAX: Duration = Duration::from_secs(10);

const DESCRIPTION: &str = "\
Recommends blogs to readers, based on what they and others like, whom they follow, and what is popular. Times are RFC 3339 \
in UTC, and every error is a problem document (RFC 9457). Use the tokens of the Blogs API.

Each answer states the time up to which its data is complete (`as_of`) and whether the data is older than it should be \
(`stale`).";

/// The service, ready to run.
pub struct Service {
    listeners: Listeners,
    address: SocketAddr,
    operations_address: SocketAddr,
    routers: Routers,
    requests: RequestSettings,
    limits: Limits,
    freshness: Freshness,
    reads: Pool,
    learn: Learn,
    health: Health,
    metrics: Metrics,
}

impl runtime::service::Service for Service {
    type Settings = Settings;

    const NAME: &'static str = NAME;
    const ABOUT: &'static str = "Recommendations for readers; HTTP on 8081, operations endpoints on 9081";
    const ROLE: &'static str = "recommendation_api";
    const USES_RABBITMQ: bool = false;
    const DEFAULTS: Defaults = DEFAULTS;
    const STATEMENTS: &'static [Statements] = &[Statements::of(&SQL), Statements::of(&web::SQL)];
    const PORT: Option<u16> = Some(1);

    fn process(settings: &Settings) -> Process<'_> {
        Process { log: &settings.log, traces: &settings.traces, readiness: settings.http.readiness() }
    }

    fn validate(settings: &Settings) -> Result<()> {
        settings.validate()
    }

    async fn start(settings: Settings) -> Result<Self> {
        settings.validate()?;
        let listeners = Listeners::bind(&settings.http).await?;
        let address = listeners.address().context(ASKING)?;
        let operations_address = listeners.operations_address().context(ASKING)?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        // The learner has its own connection, so that it neither waits for the readers' connections nor keeps them busy.
        let learner = database::Settings { pool_max: 1, ..settings.database.clone() };
        let pool = Pool::new(&learner, NAME)?;
        let rest = settings.database.pool_max - learner.pool_max;
        let primary = Pool::new(&database::Settings { pool_max: rest, ..learner }, NAME)?;
        let replica = settings.replica().map(|replica| Pool::new(&replica, NAME));
        let replica = replica.transpose().context("recommendation.replica_url")?;
        let use_of_primary = if replica.is_some() { "tokens" } else { "reads" };
        let pools = [("learning", &pool), (use_of_primary, &primary)].into_iter();
        database::register_pools(&mut registry, pools.chain(replica.iter().map(|reads| ("reads", reads))));
        let reads = replica.unwrap_or_else(|| primary.clone());
        // A lagging replica would reject the token of a new account and accept a revoked one, so epochs come from the
        // primary.
        let epochs = Epochs::new(&settings.tokens, primary.clone(), &mut registry);
        let tokens = Tokens::new(&settings.tokens, epochs).map_err(anyhow::Error::msg)?;
        let limits = Limits::new(&settings.limits());
        let http = HttpMetrics::register(&mut registry);
        let freshness = Freshness::new(settings.recommendation.staleness_max_s);
        database::check_connections_at_start(&primary, &settings.database).await?;
        let health = Health::new(ReadyRule::AnyOf(&[READS]));
        let state = AppState {
            pool: reads.clone(),
            freshness: freshness.clone(),
            tokens: Arc::new(tokens),
            limits: limits.clone(),
            trusted_proxies: TrustedProxies(settings.requests.trusted_proxies.as_slice().into()),
        };
        let document =
            web::openapi::base("Commonplace Recommendation API", DESCRIPTION, "Requests can be answered");
        let (product, document) =
            OpenApiRouter::with_openapi(document).merge(answer::routes(&state)).split_for_parts();
        let frame = Frame {
            health: health.clone(),
            registry,
            metrics: http,
            cors: None,
            limits: limits.clone(),
            trusted_proxies: state.trusted_proxies.clone(),
            pages: None,
            has_operations_listener: settings.http.operations_address.is_some(),
            docs: settings.docs,
        };
        let routers = frame.around(product.with_state(state), document, &settings.requests);
        let learn =
            Learn { settings: settings.learning, pool, health: health.clone(), metrics: metrics.clone() };
        let requests = settings.requests;
        Ok(Self {
            listeners,
            address,
            operations_address,
            routers,
            requests,
            limits,
            freshness,
            reads,
            learn,
            health,
            metrics,
        })
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn operations_address(&self) -> SocketAddr {
        self.operations_address
    }

    async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self {
            listeners,
            address,
            operations_address,
            routers,
            requests,
            limits,
            freshness,
            reads,
            learn,
            health,
            metrics,
        } = self;
        let (serving, stop) = (shutdown.child_token(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(learn.run(stop.clone()));
        let role = database::drift::watch_own_role(
            reads.clone(),
            health.warner("role"),
            stop.clone().cancelled_owned(),
        );
        tasks.spawn(role);
        tasks.spawn(freshness.watch(READS, reads, health, metrics, stop.clone()));
        tasks.spawn(limits.sweep(stop.clone()));
        tracing::info!(%address, %operations_address, "listening");
        let serve = async {
            server::serve(listeners, routers, &requests, serving.clone()).await;
            stop.cancel();
        };
        let work = async {
            // Apart from this, it waits for nothing: an unfinished statement of the tasks is cancelled and rolled back.
            let ended = together(tasks, &stop).await;
            serving.cancel();
            ended
        };
        let both = async { tokio::join!(serve, work) };
        let after_the_end = async {
            stop.cancelled().await;
            tokio::time::sleep(TASKS_MAX).await;
        };
        tokio::select! {
            ((), ended) = both => ended.context("running the background tasks"),
            () = after_the_end => {
                tracing::warn!("tasks were still running when the time to shut down was over");
                Ok(())
            }
        }
    }

    fn settings_in_up(loader: Loader, up: &UpContext<'_>) -> Loader {
        loader
            .set("http.operations_address", "127.0.0.1:0")
            .set("docs.enabled", true)
            .set("tokens.verifying_keys", up.session_verifying_keys)
            .set("rate_limits.enabled", false)
    }

    fn links(url: &str) -> Vec<(&'static str, String)> {
        vec![("Recommendation API", format!("{url}/v1/trending  {url}/docs"))]
    }
}
