//! The `notification-worker` binary: settings, logs, signals, and the service.

use std::path::PathBuf;

use clap::Parser;
use notification_worker::{DEFAULTS, Service, Settings};
use runtime::{health, settings, shutdown, telemetry};

/// Tells those who follow an author of each new blog
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// A settings file, laid over the built-in defaults and under the environment
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the service that runs with these settings whether it is ready, and end; for a container's health check
    #[arg(long)]
    healthcheck: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let settings: Settings = settings::load(DEFAULTS, arguments.config.as_deref())?;
    if arguments.healthcheck {
        return Ok(health::ask(settings.http.address).await?);
    }
    telemetry::init(&settings.log)?;
    let shutdown = shutdown::on_signal();
    Service::start(settings).await?.run(shutdown).await
}
