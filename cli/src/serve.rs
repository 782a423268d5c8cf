//! `commonplace serve`: one service in this process, exactly as its own binary runs it.

use std::path::{Path, PathBuf};

use runtime::process;
use runtime::service::Service as _;
use runtime::settings::{Defaults, Loader, SettingsError};
use serde::de::DeserializeOwned;

use crate::defaults::EVERY_DEFAULTS;

const EXAMPLES: &str = "\
Examples:
  commonplace serve blogs-api
  commonplace serve analytics-worker --config /etc/commonplace/analytics-worker.toml
  COMMONPLACE__HTTP__ADDRESS=127.0.0.1:8083 COMMONPLACE__HTTP__OPERATIONS_ADDRESS=127.0.0.1:9083 \\
    commonplace serve blogs-api

Exit codes: 0 ended by SIGINT or SIGTERM and drained, 1 it could not start or failed, 2 wrong usage.";

/// Run one service until SIGINT or SIGTERM, then drain it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Which service
    service: Service,
    /// A settings file, laid over the built-in defaults and under the environment
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Service {
    /// Accounts, blogs and the door for engagement; HTTP on 8080, its operations endpoints on 9080
    BlogsApi,
    /// Counts engagement; its operations endpoints on 8090
    AnalyticsWorker,
    /// Tells followers of new blogs; its operations endpoints on 8091
    NotificationWorker,
    /// What readers may like; HTTP on 8081, its operations endpoints on 9081
    RecommendationApi,
    /// The operators' live view; HTTP on 8082, its operations endpoints on 9082
    Console,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let file = arguments.config.as_deref();
    match arguments.service {
        Service::BlogsApi => {
            let settings: blogs_api::Settings = load(blogs_api::DEFAULTS, file)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("blogs-api", &log, &traces, async |shutdown| {
                blogs_api::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
        Service::AnalyticsWorker => {
            let settings: analytics_worker::Settings = load(analytics_worker::DEFAULTS, file)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("analytics-worker", &log, &traces, async |shutdown| {
                analytics_worker::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
        Service::NotificationWorker => {
            let settings: notification_worker::Settings = load(notification_worker::DEFAULTS, file)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("notification-worker", &log, &traces, async |shutdown| {
                notification_worker::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
        Service::RecommendationApi => {
            let settings: recommendation_api::Settings = load(recommendation_api::DEFAULTS, file)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("recommendation-api", &log, &traces, async |shutdown| {
                recommendation_api::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
        Service::Console => {
            let settings: console::Settings = load(console::DEFAULTS, file)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("console", &log, &traces, async |shutdown| {
                console::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
    }
}

/// The settings of one service, in an environment that may also be that of `migrate` and of the others.
fn load<T: DeserializeOwned>(defaults: Defaults, file: Option<&Path>) -> Result<T, SettingsError> {
    Loader::new(defaults).neighbours(&EVERY_DEFAULTS).file(file).load()
}
