//! `lab serve`: one service in this process. The lab runs the services that it measures by executing itself, so that one build
//! holds them with the fail points that it was built with.

use runtime::process;
use runtime::service::Service as _;
use runtime::settings::{Defaults, Loader, SettingsError};
use serde::de::DeserializeOwned;

const EXAMPLES: &str = "\
Examples:
  lab serve blogs-api

Exit codes: 0 ended by SIGINT or SIGTERM and drained, 1 it could not start or failed, 2 wrong usage.";

/// All services take one environment: each ignores what another one knows.
const SERVICES: [Defaults; 5] = [
    blogs_api::DEFAULTS,
    analytics_worker::DEFAULTS,
    notification_worker::DEFAULTS,
    recommendation_api::DEFAULTS,
    console::DEFAULTS,
];

/// Run one service until SIGINT or SIGTERM; the other commands start it by themselves
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Which service
    service: Service,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Service {
    BlogsApi,
    AnalyticsWorker,
    NotificationWorker,
    RecommendationApi,
    Console,
}

/// Runs the service with the settings in the environment.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    #[cfg(feature = "fail-points")]
    arm_fail_point()?;
    match arguments.service {
        Service::BlogsApi => {
            let settings: blogs_api::Settings = load(blogs_api::DEFAULTS)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("blogs-api", &log, &traces, async |shutdown| {
                blogs_api::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
        Service::AnalyticsWorker => {
            let settings: analytics_worker::Settings = load(analytics_worker::DEFAULTS)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("analytics-worker", &log, &traces, async |shutdown| {
                analytics_worker::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
        Service::NotificationWorker => {
            let settings: notification_worker::Settings = load(notification_worker::DEFAULTS)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("notification-worker", &log, &traces, async |shutdown| {
                notification_worker::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
        Service::RecommendationApi => {
            let settings: recommendation_api::Settings = load(recommendation_api::DEFAULTS)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("recommendation-api", &log, &traces, async |shutdown| {
                recommendation_api::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
        Service::Console => {
            let settings: console::Settings = load(console::DEFAULTS)?;
            let (log, traces) = (settings.log.clone(), settings.traces.clone());
            process::run("console", &log, &traces, async |shutdown| {
                console::Service::start(settings).await?.run(shutdown).await
            })
            .await
        }
    }
}

fn load<T: DeserializeOwned>(defaults: Defaults) -> Result<T, SettingsError> {
    Loader::new(defaults).neighbours(&SERVICES).load()
}

/// Makes this process abort, as in a crash, when it reaches the place that the environment names. What it has just sent to
/// others (a COMMIT, a frame) may have left by then, or not.
#[cfg(feature = "fail-points")]
fn arm_fail_point() -> anyhow::Result<()> {
    let Some(name) = std::env::var_os("COMMONPLACE_FAIL_POINT") else { return Ok(()) };
    let die = || {
        std::thread::sleep(std::time::Duration::from_micros(rand::random_range(0..3000)));
        std::process::abort();
    };
    fail::cfg_callback(name.to_string_lossy(), die).map_err(anyhow::Error::msg)
}
