//! The `analytics-worker` binary.

use analytics_worker::{DEFAULTS, Service, Settings};
use runtime::process::{self, About};

const ABOUT: About = About {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    about: "Takes engagement events from RabbitMQ and adds them to the shared counters",
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    process::main(
        ABOUT,
        DEFAULTS,
        |settings: &Settings| (&settings.log, &settings.traces, settings.http.address),
        async |settings, shutdown| Service::start(settings).await?.run(shutdown).await,
    )
    .await
}
