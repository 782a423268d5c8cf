//! The `recommendation-api` binary.

use recommendation_api::{DEFAULTS, Service, Settings};
use runtime::process::{self, About};

const ABOUT: About = About {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    about: "What readers may like: recommendations, similar and trending blogs",
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    process::main(
        ABOUT,
        DEFAULTS,
        |settings: &Settings| (&settings.log, &settings.traces, settings.http.readiness()),
        async |settings, shutdown| Service::start(settings).await?.run(shutdown).await,
    )
    .await
}
