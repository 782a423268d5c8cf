//! The process: what it starts and how it ends.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use database::Pool;
use prometheus_client::registry::Registry;
use runtime::health::{Health, ReadyRule};
use runtime::service::{Process, Statements, UpContext};
use runtime::settings::{Defaults, Loader};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use web::api::{Api, ApiState};

use crate::answer::{self, AppState};
use crate::freshness::Freshness;
use crate::learn::Learn;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::{DEFAULTS, SQL};

const NAME: &str = "recommendation-api";
/// The database that answers are read from. The service is ready if it can answer; if learning stops, it is only
/// degraded.
const READS: &str = "reads";

const DESCRIPTION: &str = "\
Recommends blogs to readers, based on what they and others like, whom they follow, and what is popular. Times are RFC 3339 \
in UTC, and every error is a problem document (RFC 9457). Use the tokens of the Blogs API.

Each answer states the time up to which its data is complete (`as_of`) and whether the data is older than it should be \
(`stale`).";

/// The service, ready to run.
pub struct Service {
    api: Api,
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
        database::check_connections_at_start(&primary, &settings.database).await?;
        let reads = replica.unwrap_or_else(|| primary.clone());
        let common = settings.api();
        let shared = ApiState::new(&common, reads.clone(), primary, &mut registry)?;
        let freshness = Freshness::new(settings.recommendation.staleness_max_s);
        let state = AppState::new(&shared, freshness.clone());
        let health = Health::new(ReadyRule::AnyOf(&[READS]));
        let document =
            web::openapi::base("Commonplace Recommendation API", DESCRIPTION, "Requests can be answered");
        let api =
            Api::bind(&common, shared, health.clone(), registry, document, answer::routes(), state).await?;
        let learn =
            Learn { settings: settings.learning, pool, health: health.clone(), metrics: metrics.clone() };
        Ok(Self { api, freshness, reads, learn, health, metrics })
    }

    fn address(&self) -> SocketAddr {
        self.api.address()
    }

    fn operations_address(&self) -> SocketAddr {
        self.api.operations_address()
    }

    async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { api, freshness, reads, learn, health, metrics } = self;
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(learn.run(stop.clone()));
        tasks.spawn(freshness.watch(READS, reads, health, metrics, stop.clone()));
        api.run_with(tasks, stop, shutdown).await.context("a background task failed")
    }

    fn settings_in_up(loader: Loader, up: &UpContext<'_>) -> Loader {
        web::api::settings_in_up(loader, up)
    }

    fn links(url: &str) -> Vec<(&'static str, String)> {
        vec![("Recommendation API", format!("{url}/v1/trending  {url}/docs"))]
    }
}
